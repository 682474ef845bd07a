"""A temporary file of frames: what was decoded on the way to a frame, for those who go back from it."""

from __future__ import annotations

import shutil
import tempfile

import numpy as np

from ..atomic_write import full_temporary_folder_named


STORE_BYTES = 1_000_000_000
"""A second or two of 4K, a quarter of a minute of 1280x720: more than most files have from one key picture to the
next."""
FREE_SHARE = 4


class FrameStore:
    """Neighbouring frames in a temporary file without a name, which is gone when the store or the process is.

    Args:
        frame_size: `(height, width)`.

    Example:
        >>> store = FrameStore((4, 6))
        >>> store.begin(7)
        >>> store.append(np.full((4, 6, 3), 9, np.uint8))
        >>> 7 in store, 8 in store, int(store.read(7).max())
        (True, False, 9)
    """

    def __init__(self, frame_size: tuple[int, int]):
        self.shape = (*frame_size, 3)
        self.frame_bytes = frame_size[0] * frame_size[1] * 3
        self._file, self._first, self._count = None, 0, 0

    @property
    def capacity(self) -> int:
        """How many frames it takes: 1 GB of them, or a quarter of the free space if that is less; at least 24."""
        free = shutil.disk_usage(tempfile.gettempdir()).free
        return max(24, min(STORE_BYTES, free // FREE_SHARE) // self.frame_bytes)

    def __contains__(self, index: int) -> bool:
        return self._first <= index < self._first + self._count

    def begin(self, first: int) -> None:
        """Forget all frames; the next is number `first`."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="glus-hf-frames-")  # noqa: SIM115 (gone with the store)
        self._first, self._count = first, 0

    def append(self, frame: np.ndarray) -> None:
        """Keep the next frame.

        Raises:
            UserError: there is no room for it; one line.
        """
        with full_temporary_folder_named():
            self._file.seek(self._count * self.frame_bytes)
            self._file.write(np.ascontiguousarray(frame).data)
        self._count += 1

    def read(self, index: int) -> np.ndarray:
        """A frame that is in the store."""
        frame = np.empty(self.shape, np.uint8)
        self._file.seek((index - self._first) * self.frame_bytes)
        self._file.readinto(frame.data)
        return frame


__all__ = ["FrameStore"]
