"""Masks drawn over frames."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from ..errors import UserError
from ..media.sizes import enlargement
from .checks import checked_overlay
from .colours import OUTLINE, palette
from .legend import draw_legend


STRIPE = 1 / 60  # width of a stripe, of the shorter side
EDGE_GAIN, EDGE_WIDTH = 4, 1 / 90  # the tint is stronger at the outline; width of that, of the shorter side


def draw_overlay(
    frame: np.ndarray,
    masks: np.ndarray,
    labels: Sequence[str] | None = None,
    alpha: float = 0.1,
    min_side: int = 0,
    legend_at_top: bool = False,
) -> np.ndarray:
    """Draw masks over one frame: a light tint, stronger at the outline, a contour, and a legend of the labels.

    The tint leaves the colours of the object to be seen. Where masks share pixels, their colours take turns in
    diagonal stripes, in the tint and in the contours, so none hides another. The legend is a box in a corner of the
    picture; a hollow swatch says that the object is not in this frame. A picture that is too small gets no legend.

    Args:
        frame: `[height, width, 3]`, uint8 RGB.
        masks: `[num_masks, height, width]` or `[height, width]`, bool.
        labels: one text per mask; None draws no legend. Long texts wrap.
        alpha: opacity of the tint inside, 0 to 1.
        min_side: a frame with a shorter side than this many pixels is enlarged, to 4096 pixels of the longer
            side at most; 0 keeps the size.
        legend_at_top: the legend is in the upper corner, not the lower; see [`~legend.quiet_edge`].

    Returns:
        `[height', width', 3]`, uint8 RGB, of the frame's size or enlarged.

    Raises:
        ValueError: shapes, dtypes or the number of labels do not fit.

    Example:
        >>> frame, mask = np.zeros((64, 96, 3), dtype=np.uint8), np.zeros((1, 64, 96), dtype=bool)
        >>> draw_overlay(frame, mask).shape, draw_overlay(frame, mask, min_side=128).shape
        ((64, 96, 3), (128, 192, 3))
    """
    frame, masks = checked_overlay(frame, masks, labels)
    present = tuple(bool(mask.any()) for mask in masks)
    picture = enlarge_frame(frame, enlargement(frame.shape[:2], min_side))
    if any(present):
        shown = [index for index, visible in enumerate(present) if visible]
        large = np.stack([enlarge_mask(masks[index], picture.shape[:2]) for index in shown])
        draw_masks(picture, large, [palette(index) for index in shown], alpha)
    if labels is not None:
        draw_legend(picture, tuple(labels), present, legend_at_top)
    return picture


def overlay_video(
    frames: Sequence[np.ndarray],
    masks: np.ndarray,
    labels: Sequence[str] | None = None,
    alpha: float = 0.1,
    min_side: int = 0,
    legend_at_top: bool = False,
) -> list[np.ndarray]:
    """Draw masks over every frame of a video; see [`draw_overlay`].

    Args:
        frames: `frames` arrays `[height, width, 3]`, uint8 RGB.
        masks: `[num_masks, frames, height, width]`, bool.
        labels: one text per mask, or None.
        alpha: opacity of the tint inside, 0 to 1.
        min_side: frames with a shorter side than this many pixels are enlarged; 0 keeps the size.
        legend_at_top: the legend is in the upper corner, not the lower.

    Returns:
        `frames` arrays `[height', width', 3]`, uint8 RGB, all of one size.

    Raises:
        ValueError: shapes, dtypes or counts do not fit.

    Example:
        >>> frames, masks = np.zeros((2, 48, 64, 3), dtype=np.uint8), np.zeros((1, 2, 48, 64), dtype=bool)
        >>> [frame.shape for frame in overlay_video(frames, masks)]
        [(48, 64, 3), (48, 64, 3)]
    """
    masks = np.asarray(masks)
    if masks.ndim != 4 or masks.shape[1] != len(frames):
        raise UserError(f"masks must be [num_masks, {len(frames)} frames, height, width], got shape {masks.shape}")
    return list(OverlayFrames(frames, masks, labels, alpha, min_side, legend_at_top))


class OverlayFrames(Sequence):
    """The frames of [`overlay_video`], each drawn when it is asked for.

    Args: those of [`overlay_video`]; `masks` may be a list of `[frames, height, width]` arrays.

    Example:
        >>> frames = OverlayFrames(np.zeros((2, 48, 64, 3), dtype=np.uint8), [np.zeros((2, 48, 64), dtype=bool)])
        >>> len(frames), frames[1].shape
        (2, (48, 64, 3))
    """

    def __init__(self, frames, masks, labels=None, alpha=0.1, min_side=0, legend_at_top=False):
        self.frames, self.masks, self.labels = frames, masks, labels
        self.settings = (alpha, min_side, legend_at_top)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        frame = self.frames[index]  # the end of the frames ends an iteration
        masks = (
            np.stack([track[index] for track in self.masks])
            if len(self.masks)
            else np.zeros((0, *frame.shape[:2]), bool)
        )
        return draw_overlay(frame, masks, self.labels, *self.settings)


# --- frames and masks ------------------------------------------------------------------------------------------------


def enlarge_frame(frame: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return frame.copy()
    height, width = (round(side * scale) for side in frame.shape[:2])
    return np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))


def enlarge_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if mask.shape == size:
        return mask
    # the level set of an interpolated mask has no staircase
    return cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR) > 0.5


def draw_masks(picture: np.ndarray, masks: np.ndarray, colours: list, alpha: float) -> None:
    """Tints, then dark outlines, then contours; masks `[n, height, width]` have the size of the picture."""
    turns = _turns(masks)
    for mask, turn, colour in zip(masks, turns, colours, strict=True):
        _blend(picture, _tint_opacity(mask, alpha) * turn, colour)
    side = min(picture.shape[:2])
    thickness = max(1 if side < 48 else 2, round(side / 240))
    contours = [_find_contours(mask) for mask in masks]
    for found in contours:
        cv2.drawContours(picture, found, -1, OUTLINE, thickness + 2, cv2.LINE_AA)
    if len(masks) == 1:
        cv2.drawContours(picture, contours[0], -1, colours[0], thickness, cv2.LINE_AA)
        return
    lines = [_line_opacity(found, picture.shape[:2], thickness) for found in contours]
    for line, turn, colour in zip(lines, _turns(np.stack(lines) > 0), colours, strict=True):
        _blend(picture, line * turn, colour)


def _turns(masks: np.ndarray) -> np.ndarray:
    """`[n, height, width]` bool: which mask has the turn in a pixel. One alone always has; several take turns by
    diagonal stripes."""
    if len(masks) == 1:
        return masks
    count = masks.sum(axis=0, dtype=np.uint8)
    rows, columns = np.flatnonzero((count > 1).any(axis=1)), np.flatnonzero((count > 1).any(axis=0))
    if not len(rows):
        return masks
    height, width = count.shape
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    stripe = max(2, round(min(height, width) * STRIPE))
    diagonal = (np.arange(height)[:, None] + np.arange(width)[None])[box] // stripe
    turn = (diagonal % np.maximum(count[box], 1)).astype(np.uint8)
    turns, rank = masks.copy(), np.zeros_like(turn)
    for index, mask in enumerate(masks[:, *box]):
        turns[index, *box] = mask & (rank == turn)
        rank += mask
    return turns


def _tint_opacity(mask: np.ndarray, alpha: float) -> np.ndarray:
    """`[height, width]` float32: `alpha` inside, more towards the outline."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    inside = np.pad(mask[top : top + height, left : left + width], 1).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    reach = max(1.5, min(mask.shape) * EDGE_WIDTH)
    edge = min(1.0, alpha * EDGE_GAIN)
    opacity = np.zeros(mask.shape, dtype=np.float32)
    opacity[top : top + height, left : left + width] = alpha + (edge - alpha) * np.exp(-depth / reach)
    return opacity * mask


def _blend(picture: np.ndarray, opacity: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Mix a colour into the picture, in place, where the opacity `[height, width]` is not 0."""
    where = opacity > 0
    pixels, weight = picture[where].astype(np.float32), opacity[where][:, None]
    picture[where] = np.rint(pixels + weight * (np.float32(colour) - pixels)).astype(np.uint8)


def _find_contours(mask: np.ndarray) -> Sequence[np.ndarray]:
    return cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]


def _line_opacity(contours: Sequence[np.ndarray], size: tuple[int, int], thickness: int) -> np.ndarray:
    """`[height, width]` float32 in 0..1: the contour, smooth at its sides."""
    line = np.zeros(size, dtype=np.uint8)
    cv2.drawContours(line, contours, -1, 255, thickness, cv2.LINE_AA)
    return line.astype(np.float32) / 255


__all__ = ["OverlayFrames", "draw_masks", "draw_overlay", "enlarge_frame", "enlarge_mask", "overlay_video"]
