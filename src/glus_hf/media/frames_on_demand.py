"""Frames that are read when they are asked for: a video of any length takes the memory of a few of its frames."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from .decode_limits import FRAME_OVERHEAD, DecodeLimits
from .sizes import check_size


HELD_BYTES = 256_000_000
"""Videos whose frames fit in so many bytes are read once and held."""
HELD_FRAMES = 24
"""Frames that are held of a longer video, more than a model looks at together."""
AHEAD_FRAMES, AHEAD_BYTES = 16, 64_000_000
"""Most frames that are read ahead of who asks for them, and most bytes of them beyond the first two."""


def fits(num_frames: int, height: int, width: int, limits: DecodeLimits | None = None) -> bool:
    """Whether all frames of a video may be held.

    Example:
        >>> fits(90, 720, 1280), fits(18000, 720, 1280)
        (True, False)
    """
    return num_frames * (height * width * 3 + FRAME_OVERHEAD) <= held_bytes(limits)


def held_bytes(limits: DecodeLimits | None = None) -> int:
    """Bytes of frames that are held: `HELD_BYTES`, or the limit `memory` if that is less."""
    memory = limits.memory if limits is not None else None
    return HELD_BYTES if memory is None else min(HELD_BYTES, int(memory))


class FramesOnDemand(Sequence):
    """The frames of one video, each read when it is asked for; those that were used last are held.

    Args:
        num_frames: of the video.
        frame_size: `(height, width)` of every frame.
        read: from the index of a frame to the frame, `uint8 [height, width, 3]`; called by one thread at a time.
            None where a subclass has `_read`.
        names: of the frames, for errors.

    Raises:
        UserError: a frame that was read has another size.

    Example:
        >>> frames = FramesOnDemand(1000, (4, 6), lambda index: np.full((4, 6, 3), index % 256, np.uint8))
        >>> len(frames), int(frames[-1][0, 0, 0]), len(frames[10:14])
        (1000, 231, 4)
    """

    def __init__(
        self,
        num_frames: int,
        frame_size: tuple[int, int],
        read: Callable[[int], np.ndarray] | None,
        names: Sequence[object] | None = None,
    ):
        self.frame_size, self.names = tuple(frame_size), names
        self._num_frames, self._reader = num_frames, read
        self._held: OrderedDict[int, np.ndarray] = OrderedDict()
        self._ahead: dict[int, Future] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._lock, self._reading = threading.Lock(), threading.Lock()  # of what is held, and of the reader

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, index):
        if isinstance(index, slice):
            return FrameRange(self, range(len(self))[index])
        position = range(len(self))[index]
        with self._lock:
            future = self._ahead.pop(position, None)
            if (frame := self._held.get(position)) is not None:
                self._held.move_to_end(position)
                return frame
        if future is None:
            return self._find(position, hold=True)
        self._hold(position, frame := future.result())
        return frame

    def read_ahead(self, positions: Iterable[int]) -> None:
        """Let a thread read the frames that are asked for next, while who asks for them does other work.

        Only the first of them are read, at most 16 or 64 MB. What an earlier call began is given up unless it is
        among them; `read_ahead(())` ends it. An error is raised where the frame is asked for.

        Args:
            positions: of the frames, in the order in which they are asked for.

        Example:
            >>> frames = FramesOnDemand(100, (4, 6), lambda index: np.full((4, 6, 3), index, np.uint8))
            >>> frames.read_ahead(range(1, 100))
            >>> int(frames[1].max())
            1
            >>> frames.read_ahead(())
        """
        most = max(2, min(AHEAD_FRAMES, AHEAD_BYTES // (3 * self.frame_size[0] * self.frame_size[1])))
        wanted = [position for position, _ in zip(positions, range(most), strict=False)]
        with self._lock:
            for position in [position for position in self._ahead if position not in wanted]:
                self._ahead.pop(position).cancel()
            if not wanted:
                self._end_thread()
            for position in wanted:
                if position not in self._ahead and position not in self._held:
                    self._ahead[position] = self._submit(position)

    def _submit(self, position: int) -> Future:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="frames-ahead")
        return self._thread.submit(self._find, position)

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False)  # a frame that is being read is finished first, and nobody waits
            self._thread = None

    def _read(self, position: int) -> np.ndarray:
        return self._reader(position)

    def _find(self, position: int, hold: bool = False) -> np.ndarray:
        """A frame that is held, or read now; by one thread at a time."""
        with self._reading:
            frame = self._held.get(position)
            if frame is None:
                frame = self._read(position)
                name = f"frame {position:05d}" if self.names is None else self.names[position]
                check_size(name, frame.shape[:2], self.frame_size)
            if hold:
                self._hold(position, frame)
            return frame

    def _hold(self, position: int, frame: np.ndarray) -> None:
        with self._lock:
            self._held[position] = frame
            self._held.move_to_end(position)
            while len(self._held) > HELD_FRAMES:
                self._held.popitem(last=False)


class FrameRange(Sequence):
    """Some of the frames of a video, read when they are asked for.

    Example:
        >>> frames = FramesOnDemand(8, (4, 6), lambda index: np.full((4, 6, 3), index, np.uint8))
        >>> int(frames[2:6][3][0, 0, 0])
        5
    """

    def __init__(self, frames: FramesOnDemand, indices: range):
        self.frames, self.indices, self.frame_size = frames, indices, frames.frame_size

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return FrameRange(self.frames, self.indices[index])
        return self.frames[self.indices[index]]

    def read_ahead(self, positions: Iterable[int]) -> None:
        """As [`FramesOnDemand.read_ahead`], by positions in the range."""
        self.frames.read_ahead(self.indices[position] for position in positions)


__all__ = ["FrameRange", "FramesOnDemand", "fits", "held_bytes"]
