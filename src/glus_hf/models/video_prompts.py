"""What a user marks on frames of a video: masks, boxes, points and lines of objects."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from ..errors import UserError


MASK, BOX, POINTS, SCRIBBLE = "mask", "box", "points", "scribble"


@dataclass(frozen=True)
class VideoPrompt:
    """An object on a frame.

    Args:
        frame_idx: of the frame.
        object_id: of the object.
        kind: "mask", "box", "points" or "scribble".
        values: a mask or lines `[height, width]` of bool, a box `[4]` (x0, y0, x1, y1 in pixels), or points `[n, 2]`
            (x and y).
    """

    frame_idx: int
    object_id: int
    kind: str
    values: np.ndarray


class TakesPrompts:
    """A session with `prompts: list[VideoPrompt]`."""

    takes_empty_masks = False

    def add_prompt(self, frame_idx: int, object_id: int, *, mask=None, box=None, points=None, scribble=None) -> None:
        """Say where an object is on a frame; the next propagation takes it. A second prompt of the object on the same
        frame replaces the first.

        Args:
            frame_idx: 0..T-1.
            object_id: a number of yours, 1 or more.
            mask: `[height, width]`, bool, of the object.
            box: x0, y0, x1, y1 in pixels of the frame.
            points: x and y of a point on the object, or `[n, 2]` of several.
            scribble: `[height, width]`, bool, lines on the object.

        Raises:
            UserError: not one of the four, no such frame, or values that are no such prompt; one line.

        Example:

            >>> session.add_prompt(0, 1, box=[10, 10, 60, 40])  # doctest: +SKIP
        """
        given = {MASK: mask, BOX: box, POINTS: points, SCRIBBLE: scribble}
        given = {kind: values for kind, values in given.items() if values is not None}
        if len(given) != 1:
            raise UserError(f"pass one of mask, box, points and scribble, got {', '.join(given) or 'none'}")
        ((kind, values),) = given.items()
        self._check_numbers(frame_idx, object_id)
        read = {BOX: _read_box, POINTS: _read_points}.get(kind, _read_map)
        prompt = VideoPrompt(int(frame_idx), int(object_id), kind, read(values, (self.height, self.width), kind))
        if not prompt.values.any() and kind in (MASK, SCRIBBLE) and not self.takes_empty_masks:
            raise UserError(f"the {kind} marks nothing; mark the object on a frame that shows it")
        self.check_prompt(prompt)
        key = prompt.frame_idx, prompt.object_id
        self.prompts[:] = [each for each in self.prompts if (each.frame_idx, each.object_id) != key] + [prompt]

    def check_prompt(self, prompt: VideoPrompt) -> None:
        """Refuse a prompt that the family does not take."""

    def _check_numbers(self, frame_idx, object_id) -> None:
        if not _is_whole(frame_idx) or not 0 <= frame_idx < self.num_frames:
            raise UserError(f"frame_idx must be an integer in 0..{self.num_frames - 1}, got {frame_idx!r}")
        if not _is_whole(object_id):
            raise UserError(f"object_id must be an integer, got {object_id!r}")


class TakesCorrections(TakesPrompts):
    """A session with expressions, whose prompts are corrections: a mask for a frame takes the place of the model's
    own, in the result and in the memory. `object_id` is the number of the expression. An empty mask says that the
    frame does not show what the expression means.

    Example:

        >>> session.add_prompt(12, 0, mask=mask)  # doctest: +SKIP
    """

    takes_empty_masks = True

    def check_prompt(self, prompt: VideoPrompt) -> None:
        if prompt.kind != MASK:
            raise UserError(f"a session with expressions is corrected by masks; pass mask=, not {prompt.kind}=")
        if not 0 <= prompt.object_id < len(self.texts):
            raise UserError(f"object_id is the number of an expression, 0..{len(self.texts) - 1}")

    def given_masks(self, frame_idx: int) -> dict[int, np.ndarray]:
        """By number of the expression, the masks that were given for a frame."""
        return {prompt.object_id: prompt.values for prompt in self.prompts if prompt.frame_idx == frame_idx}


def _is_whole(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _read_map(values, size: tuple[int, int], kind: str) -> np.ndarray:
    """A copy, so that what the caller draws next is not in it; of a tensor on any device."""
    mask = np.asarray(values.cpu() if hasattr(values, "cpu") else values).copy()
    if mask.dtype != np.bool_ or mask.shape != size:
        raise UserError(f"the {kind} must be bool {list(size)}, like the frames, got {mask.dtype} {list(mask.shape)}")
    return mask


def _read_box(values, size: tuple[int, int], kind: str) -> np.ndarray:
    box = _numbers(values, kind)
    if box.shape != (4,):
        raise UserError(f"the box must have the four numbers x0, y0, x1, y1, got {list(box.shape)}")
    x0, y0, x1, y1 = box
    if min(x1, size[1]) <= max(x0, 0) or min(y1, size[0]) <= max(y0, 0):
        raise UserError(f"the box {box.tolist()} has no area inside the frame of {size[1]} x {size[0]} pixels")
    return box


def _read_points(values, size: tuple[int, int], kind: str) -> np.ndarray:
    points = np.atleast_2d(_numbers(values, kind))
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise UserError(f"points must be [n, 2], x and y, got {list(points.shape)}")
    if not ((points >= 0) & (points < (size[1], size[0]))).all():
        raise UserError(f"a point lies outside the frame of {size[1]} x {size[0]} pixels")
    return points


def _numbers(values, kind: str) -> np.ndarray:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{kind} must be numbers of pixels") from None
    if not np.isfinite(numbers).all():
        raise UserError(f"{kind} must be finite numbers of pixels")
    return numbers


__all__ = ["TakesCorrections", "TakesPrompts", "VideoPrompt"]
