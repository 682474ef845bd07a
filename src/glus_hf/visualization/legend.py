"""The legend: which colour is which expression, in a box on the picture."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from .colours import FAINT, INK, STRIP, palette
from .text import find_font, shorten_lines, wrap_text


MIN_FONT, MAX_FONT = 9, 40  # pixels
MAX_SHARE = 0.45  # of the picture's height
OPACITY = 0.72


def draw_legend(picture: np.ndarray, labels: tuple[str, ...], present: tuple[bool, ...], at_top: bool = False) -> None:
    """Draw the legend onto `picture` `[height, width, 3]`, in place; nothing where the picture is too small for one.

    Args:
        picture: uint8 RGB.
        labels: texts of the objects; long ones wrap, and end in dots where the legend would fill half of the picture.
        present: whether each object is in this frame; if not, its swatch is hollow.
        at_top: in the upper corner, not the lower.
    """
    box = _legend(labels, present, picture.shape[0], picture.shape[1])
    if box is None:
        return
    pixels, weight = box
    height, width = pixels.shape[:2]
    margin = min(6, (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2)
    top = margin if at_top else picture.shape[0] - height - margin
    region = picture[top : top + height, margin : margin + width]
    region[:] = np.rint(region + weight * (pixels.astype(np.float32) - region))


@lru_cache(maxsize=64)
def _legend(
    labels: tuple[str, ...], present: tuple[bool, ...], height: int, width: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Colours `[h, w, 3]` and opacities `[h, w, 1]` of the box, no larger than its share of the picture."""
    start = int(np.clip(min(height, width) / 30, MIN_FONT, MAX_FONT))
    for size in range(start, MIN_FONT - 1, -1):
        box = _layout(labels, size, height, width)
        if box is not None:
            return _paint(box, labels, present, size)
    return None


def _layout(labels: tuple[str, ...], size: int, height: int, width: int) -> list[list[str]] | None:
    """Lines of each label in a font of this size; None where they do not fit."""
    font, line_height = find_font(size, "".join(labels)), round(size * 1.3)
    room = round(width * 0.96) - 3 * size
    rows = int(height * MAX_SHARE - size) // line_height
    if room < 5 * size or rows < len(labels) or not labels:
        return None
    lines = [wrap_text(label, font, room) for label in labels]
    if sum(map(len, lines)) <= rows:
        return lines
    return [shorten_lines(text, rows // len(labels)) for text in lines] if size == MIN_FONT else None


def _paint(
    lines: list[list[str]], labels: tuple[str, ...], present: tuple[bool, ...], size: int
) -> tuple[np.ndarray, np.ndarray]:
    font = find_font(size, "".join(labels))
    padding, swatch, line_height = size // 2, round(size * 0.8), round(size * 1.3)
    left = padding * 2 + swatch
    width = left + padding + round(max(font.getlength(line) for text in lines for line in text))
    height = padding * 2 + line_height * sum(map(len, lines))
    box = Image.new("RGB", (width, height), STRIP)
    draw, top = ImageDraw.Draw(box), padding
    for index, (text, visible) in enumerate(zip(lines, present, strict=True)):
        swatch_top = top + (line_height - swatch) // 2
        corners = (padding, swatch_top, padding + swatch, swatch_top + swatch)
        fill = palette(index) if visible else None
        draw.rounded_rectangle(corners, swatch // 4, fill=fill, outline=palette(index), width=max(2, size // 10))
        for line in text:
            draw.text((left, top + line_height // 2), line, fill=INK if visible else FAINT, font=font, anchor="lm")
            top += line_height
    pixels = np.asarray(box)
    is_text = (np.abs(pixels.astype(int) - STRIP).max(axis=-1, keepdims=True) / 120).clip(0, 1)
    return pixels, (OPACITY + (1 - OPACITY) * is_text).astype(np.float32)


def quiet_edge(masks: Sequence[np.ndarray]) -> bool:
    """Whether a legend at the top covers less of the masks, one `[T, height, width]` per object, than at the bottom.

    Objects that know their pixels by row, as `row_areas [height]`, are not looked at.

    Example:
        >>> masks = np.zeros((1, 2, 9, 9), dtype=bool)
        >>> masks[:, :, 6:] = True
        >>> quiet_edge(masks)
        True
    """
    areas = sum(_row_areas(track) for track in masks)
    third = max(1, len(areas) // 3)
    return bool(areas[:third].sum() < areas[-third:].sum())


def _row_areas(track: Sequence[np.ndarray]) -> np.ndarray:
    """Pixels of all masks of an object in each row, `[height]`."""
    known = getattr(track, "row_areas", None)
    return sum(np.count_nonzero(mask, axis=1) for mask in track) if known is None else known


__all__ = ["draw_legend", "quiet_edge"]
