"""The memory bank of the mask branch: what is written, what is read, what is forgotten."""

from __future__ import annotations

from torch import Tensor


def memory_indices(frame: int, num_maskmem: int, stride: int) -> list[int]:
    """Positions, inside a pass, of the memories that frame `frame` reads, oldest first.

    The previous frame and up to `num_maskmem - 1` older ones on the grid of `stride` (the original code's schedule).

    Example:

        >>> memory_indices(8, num_maskmem=7, stride=3)
        [0, 3, 6, 7]
    """
    if num_maskmem < 1 or frame < 1:
        return []
    newest_on_grid = (frame - 2) // stride * stride
    strided = [newest_on_grid - age * stride for age in range(num_maskmem - 2, -1, -1)]
    return [index for index in strided if index >= 0] + [frame - 1]


class MemoryBank:
    """Memories of one pass over a video, by position in the pass.

    An entry is `(features [tokens, num_texts, dim], positions [tokens, num_texts, dim], written [num_texts] of bool)`:
    an expression whose [SEG] failed on a frame writes nothing for it.
    """

    def __init__(self, num_maskmem: int, stride: int):
        self.num_maskmem = num_maskmem
        self.stride = stride
        self.entries: dict[int, tuple[Tensor, Tensor, list[bool]]] = {}

    def write(self, frame: int, features: Tensor, positions: Tensor, written: list[bool]) -> None:
        """Store frame `frame` and drop what no later frame can read."""
        if self.num_maskmem > 0:
            self.entries[frame] = (features, positions, written)
        for index in [index for index in self.entries if not self._is_readable_after(index, frame)]:
            del self.entries[index]

    def read(self, frame: int) -> list[tuple[Tensor, Tensor, list[bool]]]:
        """Entries for frame `frame`, oldest first; entries that were never written are skipped, not replaced."""
        wanted = memory_indices(frame, self.num_maskmem, self.stride)
        return [self.entries[index] for index in wanted if index in self.entries]

    def _is_readable_after(self, index: int, frame: int) -> bool:
        if index == frame:
            return True
        newest_on_grid = (frame - 1) // self.stride * self.stride
        oldest_readable = newest_on_grid - (self.num_maskmem - 2) * self.stride
        return index % self.stride == 0 and index >= oldest_readable
