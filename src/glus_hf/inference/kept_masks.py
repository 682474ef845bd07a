"""Where the masks of a video go as they come: arrays, run lengths, logits, or a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from ..atomic_write import full_temporary_folder_named
from ..errors import UserError
from ..media.decode_limits import free_memory
from ..media.rle import decode_rle, encode_rle
from ..safe_files import readable_size
from .frame_masks import FrameMasks


class KeptMasks:
    """Masks of n texts in T frames as arrays, one `bool [T, height, width]` per text, made once.

    Args:
        num_texts, num_frames: n and T.
        size: `(height, width)`.
        threshold: logits above it are foreground.

    Raises:
        UserError: they would take more than the free memory; one line.

    Example:
        >>> kept = KeptMasks(1, 2, (2, 3))
        >>> kept.write(FrameMasks(1, [0], np.ones((1, 2, 3), bool), np.ones(1, np.float32), []))
        >>> kept.result(0)["masks"].sum(axis=(1, 2)).tolist()
        [0, 6]
    """

    name, dtype, needs_logits = "masks", np.dtype(bool), False

    def __init__(self, num_texts: int, num_frames: int, size: tuple[int, int], threshold: float = 0.0):
        self.threshold = threshold
        shape = (num_frames, *size)
        _check_room(num_texts * int(np.prod(shape)) * self.dtype.itemsize, self.name)
        self.arrays = [np.zeros(shape, self.dtype) for _ in range(num_texts)]

    def write(self, frame: FrameMasks) -> None:
        """Keep the masks of a frame."""
        for text, mask in zip(frame.text_indices, self._values(frame), strict=True):
            self.arrays[text][frame.frame_idx] = mask

    def _values(self, frame: FrameMasks) -> np.ndarray:
        return frame.masks

    def clear(self, text: int) -> None:
        """Take the masks of a text away."""
        self.arrays[text][:] = 0

    def masks(self, text: int) -> Sequence[np.ndarray]:
        """T masks of a text, `bool [height, width]`."""
        return self.arrays[text]

    def result(self, text: int) -> dict:
        """What the caller gets for a text."""
        return {self.name: self.arrays[text]}


class KeptLogits(KeptMasks):
    """As [`KeptMasks`], but `logits`, `float32 [T, height, width]`."""

    name, dtype, needs_logits = "logits", np.dtype(np.float32), True

    def _values(self, frame: FrameMasks) -> np.ndarray:
        return frame.logits

    def clear(self, text: int) -> None:
        self.arrays[text][:] = -np.inf

    def masks(self, text: int) -> Sequence[np.ndarray]:
        return ComputedMasks(self.arrays[text].shape, lambda index: self.arrays[text][index] > self.threshold)


class KeptRle:
    """As [`KeptMasks`], but a list of T run lengths, as of COCO; None where a mask is empty."""

    needs_logits = False

    def __init__(self, num_texts: int, num_frames: int, size: tuple[int, int], threshold: float = 0.0):
        self.size = tuple(size)
        self.tracks: list[list[dict | None]] = [[None] * num_frames for _ in range(num_texts)]

    def write(self, frame: FrameMasks) -> None:
        for text, mask in zip(frame.text_indices, frame.masks, strict=True):
            self.tracks[text][frame.frame_idx] = encode_rle(mask) if mask.any() else None

    def clear(self, text: int) -> None:
        self.tracks[text] = [None] * len(self.tracks[text])

    def masks(self, text: int) -> Sequence[np.ndarray]:
        track = self.tracks[text]
        return ComputedMasks((len(track), *self.size), lambda index: decode_rle(track[index], self.size))

    def result(self, text: int) -> dict:
        return {"rle": self.tracks[text]}


class MaskFile:
    """As [`KeptMasks`], but run lengths in a temporary file, and [`StoredMasks`] that read them: a text of any number
    of frames takes 16 bytes of memory for each.

    Example:
        >>> kept = MaskFile(1, 2, (2, 3))
        >>> kept.write(FrameMasks(1, [0], np.ones((1, 2, 3), bool), np.ones(1, np.float32), []))
        >>> masks = kept.result(0)["masks"]
        >>> masks.shape, bool(masks[0].any()), bool(masks[1].all()), masks.rle(0), masks.num_visible
        ((2, 2, 3), False, True, None, 1)
    """

    needs_logits = False

    def __init__(self, num_texts: int, num_frames: int, size: tuple[int, int], threshold: float = 0.0):
        self.shape = (num_frames, *size)
        self.starts = np.zeros((num_texts, num_frames), np.int64)
        self.lengths = np.zeros((num_texts, num_frames), np.int64)
        self.row_areas = np.zeros((num_texts, size[0]), np.int64)
        self._file = tempfile.TemporaryFile(prefix="glus-hf-masks-")  # noqa: SIM115 (gone with the store)
        self._end = 0

    def write(self, frame: FrameMasks) -> None:
        for text, mask in zip(frame.text_indices, frame.masks, strict=True):
            rows = np.count_nonzero(mask, axis=1)
            if not rows.any():
                continue
            counts = encode_rle(mask)["counts"].encode("ascii")
            with full_temporary_folder_named():
                self._file.seek(self._end)
                self._file.write(counts)
            self.starts[text, frame.frame_idx], self.lengths[text, frame.frame_idx] = self._end, len(counts)
            self.row_areas[text] += rows
            self._end += len(counts)

    def counts(self, text: int, index: int) -> str:
        """Run lengths of a mask; empty for an empty one."""
        with full_temporary_folder_named():  # what was written last may only be written now
            self._file.seek(int(self.starts[text, index]))
        return self._file.read(int(self.lengths[text, index])).decode("ascii")

    def clear(self, text: int) -> None:
        self.lengths[text], self.row_areas[text] = 0, 0

    def masks(self, text: int) -> StoredMasks:
        return StoredMasks(self, text)

    def result(self, text: int) -> dict:
        return {"masks": self.masks(text)}


class ComputedMasks(Sequence):
    """Masks `bool [height, width]` that are made when they are asked for.

    Example:
        >>> masks = ComputedMasks((5, 2, 3), lambda index: np.full((2, 3), index > 2))
        >>> len(masks), bool(masks[-1].all()), masks.area
        (5, True, 12)
    """

    def __init__(self, shape: tuple[int, int, int], make: Callable[[int], np.ndarray]):
        self.shape, self._make = tuple(shape), make

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        return self._make(range(len(self))[index])

    @property
    def area(self) -> int:
        """Pixels of all masks."""
        return sum(int(np.count_nonzero(mask)) for mask in self)


class StoredMasks(ComputedMasks):
    """Masks of one text in a [`MaskFile`], for as long as somebody has them.

    Attributes:
        shape: `(T, height, width)`.
        row_areas: pixels of all masks in each row, `[height]`.
    """

    def __init__(self, file: MaskFile, text: int):
        self.file, self.text = file, text
        super().__init__(file.shape, lambda index: decode_rle(self.rle(index), self.shape[1:]))

    def rle(self, index: int) -> dict | None:
        """COCO's run lengths of a mask; None for an empty one."""
        counts = self.file.counts(self.text, index)
        return {"size": list(self.shape[1:]), "counts": counts} if counts else None

    @property
    def num_visible(self) -> int:
        """Frames with a mask."""
        return int(np.count_nonzero(self.file.lengths[self.text]))

    @property
    def row_areas(self) -> np.ndarray:
        return self.file.row_areas[self.text]

    @property
    def area(self) -> int:
        return int(self.row_areas.sum())


OUTPUTS = {"mask": KeptMasks, "rle": KeptRle, "logits": KeptLogits, "file": MaskFile}


def _check_room(num_bytes: int, name: str) -> None:
    free = free_memory()
    if free is not None and num_bytes > free:
        raise UserError(
            f"the {name} take {readable_size(num_bytes)} of memory, {readable_size(max(0, free))} are free: use "
            "output='rle' or 'file', fewer expressions or max_frames"
        )


__all__ = ["OUTPUTS", "ComputedMasks", "KeptLogits", "KeptMasks", "KeptRle", "MaskFile", "StoredMasks"]
