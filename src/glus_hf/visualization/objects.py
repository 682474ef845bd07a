"""Found objects drawn over an image: boxes, masks, names and scores."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import UserError
from ..media.sizes import enlargement
from .checks import checked_overlay
from .colours import OUTLINE, palette
from .overlay import draw_masks, enlarge_frame, enlarge_mask
from .text import find_font


MIN_FONT, MAX_FONT = 10, 30  # pixels
DARK = 140  # of 255: text on a lighter colour is black

Corners = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels."""


def draw_objects(
    frame: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[str],
    masks: np.ndarray | None = None,
    colours: Sequence[int] | None = None,
    alpha: float = 0.25,
    min_side: int = 0,
) -> np.ndarray:
    """Draw objects: a tint and a contour of the mask, the box, and the text at a corner of the box where there is
    room.

    Args:
        frame: `[height, width, 3]`, uint8 RGB.
        boxes: `[n, 4]`, x0, y0, x1, y1 in pixels, the most important object first.
        texts: one per object, such as "dog 0.92".
        masks: `[n, height, width]`, bool.
        colours: numbers for [`palette`], one per object; objects of one number have one colour. By default each has
            its own.
        alpha: opacity of the tint inside a mask, 0 to 1.
        min_side: a frame with a shorter side than this many pixels is enlarged; 0 keeps the size.

    Returns:
        `[height', width', 3]`, uint8 RGB, of the frame's size or enlarged.

    Raises:
        UserError: shapes, dtypes or counts do not fit.

    Example:
        >>> frame = np.zeros((64, 96, 3), dtype=np.uint8)
        >>> draw_objects(frame, np.array([[8, 8, 40, 40]]), ["dog 0.92"]).shape
        (64, 96, 3)
    """
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    if len(texts) != len(boxes) or (colours is not None and len(colours) != len(boxes)):
        raise UserError(f"there are {len(boxes)} boxes but {len(texts)} texts; pass a text and a colour for each")
    frame, masks = checked_overlay(frame, _no_masks(frame) if masks is None else masks, None)
    rgb = [palette(number) for number in (range(len(boxes)) if colours is None else colours)]
    scale = enlargement(frame.shape[:2], min_side)
    picture = enlarge_frame(frame, scale)
    seen = [index for index, mask in enumerate(masks) if mask.any()]
    if seen:
        large = np.stack([enlarge_mask(masks[index], picture.shape[:2]) for index in seen])
        draw_masks(picture, large, [rgb[index] for index in seen], alpha)
    corners = [_pixels(box, scale, picture.shape) for box in boxes]
    for box, colour in zip(reversed(corners), reversed(rgb), strict=True):
        _draw_box(picture, box, colour)
    return _draw_texts(picture, corners, texts, rgb)


def _no_masks(frame: np.ndarray) -> np.ndarray:
    return np.zeros((0, *np.asarray(frame).shape[:2]), bool)


def _pixels(box: np.ndarray, scale: float, shape: Sequence[int]) -> Corners:
    height, width = shape[:2]
    x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
    return max(x0, 0), max(y0, 0), min(x1, width) - 1, min(y1, height) - 1


def _draw_box(picture: np.ndarray, box: Corners, colour: tuple[int, int, int]) -> None:
    thickness = max(1, round(min(picture.shape[:2]) / 240))
    for line, width in ((OUTLINE, thickness + 2), (colour, thickness)):
        cv2.rectangle(picture, box[:2], box[2:], line, width)


def _draw_texts(picture: np.ndarray, boxes: list[Corners], texts: Sequence[str], colours: list) -> np.ndarray:
    """Texts on their colours, the most important first; none hides another where there is another corner for it."""
    height, width = picture.shape[:2]
    size = int(np.clip(min(height, width) / 32, MIN_FONT, MAX_FONT))
    if min(height, width) < 2 * size:
        return picture
    font = find_font(size, "".join(texts))
    image = Image.fromarray(picture)
    draw, taken = ImageDraw.Draw(image), []
    for box, text, colour in zip(boxes, texts, colours, strict=True):
        text = _shorten(text, font, width // 2 - size)
        place = _place(box, round(font.getlength(text)) + size // 2, round(size * 1.25), (width, height), taken)
        taken.append(place)
        ink = (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > DARK else (255, 255, 255)
        draw.rectangle(place, fill=colour)
        draw.text((place[0] + size // 4, (place[1] + place[3]) // 2), text, fill=ink, font=font, anchor="lm")
    return np.array(image)


def _shorten(text: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    """A text that is too wide, with dots before its last word, the score."""
    name, _, score = text.rpartition(" ")
    while len(name) > 1 and font.getlength(text) > room:
        name = name[:-1]
        text = f"{name}… {score}"
    return text


def _place(box: Corners, width: int, height: int, limits: tuple[int, int], taken: list[Corners]) -> Corners:
    """Where a text of this size goes: above its box, else in it, below it, or at its right; in the picture anyway."""
    x0, y0, x1, y1 = box
    wishes = ((x0, y0 - height), (x0, y0), (x0, y1), (x0, y1 - height), (x1 - width, y0 - height), (x1 - width, y1))
    places = [_inside(wish, width, height, limits) for wish in wishes]
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    return (free or places)[0]


def _inside(start: tuple[int, int], width: int, height: int, limits: tuple[int, int]) -> Corners:
    left, top = (max(0, min(at, limit - side)) for at, limit, side in zip(start, limits, (width, height), strict=True))
    return left, top, left + width, top + height


def _overlap(first: Corners, second: Corners) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


__all__ = ["draw_objects"]
