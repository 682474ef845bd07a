"""Which window the language model reads for a frame, and where in it the frame's [SEG] is predicted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Protocol

from ..errors import UserError
from .sessions import WINDOWS


class WindowSchedule(Protocol):
    """A window is a tuple of frames; its ids are earlier turns about an expression, and the last turn.

    `turns` are the ids of a turn about each of its frames, `last` those of the last turn, up to what predicts [SEG].
    """

    def source(self, each, frame_idx: int) -> tuple[tuple[int, ...], int]:
        """The window in which a pass reads a frame, and which of the window's [SEG]s is the frame's."""

    def ids(self, turns: list[list[int]], last: list[int]) -> list[int]:
        """Ids of a window behind the prefix."""

    def places(self, turns: list[list[int]], last: list[int]) -> list[int]:
        """Where in these ids the [SEG]s are predicted."""


@dataclass(frozen=True)
class SlidingWindows:
    """Each frame is the last of its own window, as in the original code.

    Args:
        size: most frames of a window.
        stride: only every so many frames of a pass have a window; the others take the [SEG] of the last one.
    """

    size: int
    stride: int = 1

    def source(self, each, frame_idx: int) -> tuple[tuple[int, ...], int]:
        position = each.position(frame_idx) // self.stride * self.stride
        first = max(position - self.size + 1, 0)
        return tuple(each.start + each.step * at for at in range(first, position + 1)), 0

    def ids(self, turns: list[list[int]], last: list[int]) -> list[int]:
        return [*chain(*turns[:-1]), *last]

    def places(self, turns: list[list[int]], last: list[int]) -> list[int]:
        return [sum(map(len, turns[:-1])) + len(last) - 1]


@dataclass(frozen=True)
class WholeWindows:
    """Windows that follow each other; every frame's [SEG] is read from the one pass over its window, as in training.

    Args:
        size: frames of a window; the last one of a pass may have fewer.
        num_frames: of the video.
        seg_token_id: of [SEG], which ends the last turn.
    """

    size: int
    num_frames: int
    seg_token_id: int

    def source(self, each, frame_idx: int) -> tuple[tuple[int, ...], int]:
        position = each.position(frame_idx)
        first = position // self.size * self.size
        frames = [each.start + each.step * at for at in range(first, first + self.size)]
        return tuple(frame for frame in frames if 0 <= frame < self.num_frames), position - first

    def ids(self, turns: list[list[int]], last: list[int]) -> list[int]:
        return [*chain(*turns[:-1]), *turns[-1][: turns[-1].index(self.seg_token_id)]]

    def places(self, turns: list[list[int]], last: list[int]) -> list[int]:
        begins = accumulate(map(len, turns[:-1]), initial=0)
        return [begin + turn.index(self.seg_token_id) - 1 for begin, turn in zip(begins, turns, strict=True)]


def make_schedule(window: str, frame_stride: int, config, num_frames: int) -> WindowSchedule:
    """The schedule that the arguments of `propagate_in_video_iterator` name.

    Raises:
        UserError: no such window, or a stride that cannot be.

    Example:

        >>> make_schedule("sliding", 2, GLUSConfig(num_query_frames=4), num_frames=10)  # doctest: +SKIP
        SlidingWindows(size=4, stride=2)
    """
    if window not in WINDOWS:
        raise UserError(f"window must be one of {', '.join(WINDOWS)}, got {window!r}")
    if isinstance(frame_stride, bool) or not isinstance(frame_stride, int) or frame_stride < 1:
        raise UserError(f"frame_stride must be a whole number of at least 1, got {frame_stride!r}")
    if window == "whole" and frame_stride > 1:
        raise UserError('window="whole" reads every frame; leave frame_stride at 1')
    size = config.num_query_frames
    if window == "whole":
        return WholeWindows(size, num_frames, config.seg_token_id)
    return SlidingWindows(size, frame_stride)


__all__ = ["SlidingWindows", "WholeWindows", "WindowSchedule", "make_schedule"]
