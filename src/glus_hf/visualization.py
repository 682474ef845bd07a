"""Pictures of results: masks drawn over frames, contact sheets, videos and image files."""

import colorsys
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .atomic_write import atomic_path
from .errors import UserError
from .media.sizes import enlargement, tile_size
from .media.video import write_video


# Okabe and Ito's palette without black, ordered so that neighbours differ for every kind of colour vision
_OKABE_ITO = (
    (70, 170, 240),
    (230, 90, 0),
    (240, 215, 50),
    (0, 158, 115),
    (215, 120, 175),
    (0, 100, 190),
    (240, 165, 0),
)
_STRIP, _INK, _FAINT, _OUTLINE = (24, 26, 30), (245, 245, 245), (150, 153, 160), (15, 15, 18)


def palette(index: int) -> tuple[int, int, int]:
    """Colour of the object `index`: a fixed RGB triple in 0..255, the first seven safe for colour-blind readers.

    Args:
        index: 0, 1, 2, ... Beyond 6 the hues continue by the golden angle.

    Returns:
        `(red, green, blue)`.

    Example:
        >>> palette(0)
        (70, 170, 240)
    """
    if index < len(_OKABE_ITO):
        return _OKABE_ITO[index]
    red, green, blue = colorsys.hsv_to_rgb(
        index * 0.61803398875 % 1, 0.6 + 0.3 * (index % 2), 0.95 - 0.2 * (index % 3)
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_overlay(
    frame: np.ndarray,
    masks: np.ndarray,
    labels: Sequence[str] | None = None,
    alpha: float = 0.45,
    min_side: int = 384,
) -> np.ndarray:
    """Draw masks over one frame: a tint, a contour, and the labels in a strip below the picture.

    The strip lists every label with its colour and never covers the frame. A hollow swatch means that the object is
    not in this frame. A small frame is enlarged first, so that contours and text stay crisp.

    Args:
        frame: `[height, width, 3]`, uint8 RGB.
        masks: `[num_masks, height, width]` or `[height, width]`, bool.
        labels: one text per mask; None draws no strip. Long texts wrap.
        alpha: opacity of the tint, 0 to 1.
        min_side: the shorter side of the drawn frame is at least this many pixels, unless the longer would grow beyond
            4096; 0 keeps the size.

    Returns:
        `[height', width', 3]`, uint8 RGB: the frame's size times the enlargement, plus the strip's height.

    Raises:
        ValueError: shapes, dtypes or the number of labels do not fit.

    Example:
        >>> frame, mask = np.zeros((64, 96, 3), dtype=np.uint8), np.zeros((1, 64, 96), dtype=bool)
        >>> draw_overlay(frame, mask, min_side=128).shape
        (128, 192, 3)
    """
    frame, masks = _checked(frame, masks, labels)
    present = [bool(mask.any()) for mask in masks]
    scale = enlargement(frame.shape[:2], min_side)
    picture = _enlarge_frame(frame, scale)
    masks = [_enlarge_mask(mask, picture.shape[:2]) for mask in masks]

    tinted = picture.astype(np.float32)
    for index, mask in enumerate(masks):
        tinted[mask] += alpha * (np.float32(palette(index)) - tinted[mask])
    picture = np.ascontiguousarray(np.rint(tinted).astype(np.uint8))
    for index, mask in enumerate(masks):
        _draw_contour(picture, mask, palette(index))
    if labels is None:
        return picture
    return np.concatenate([picture, _legend(tuple(labels), tuple(present), picture.shape[1], _font_size(picture))])


def overlay_video(
    frames: Sequence[np.ndarray],
    masks: np.ndarray,
    labels: Sequence[str] | None = None,
    alpha: float = 0.45,
    min_side: int = 384,
) -> list[np.ndarray]:
    """Draw masks over every frame of a video; see [`draw_overlay`].

    Args:
        frames: `frames` arrays `[height, width, 3]`, uint8 RGB.
        masks: `[num_masks, frames, height, width]`, bool.
        labels: one text per mask, or None.
        alpha: opacity of the tint, 0 to 1.
        min_side: the shorter side of the drawn frames is at least this many pixels.

    Returns:
        `frames` arrays `[height', width', 3]`, uint8 RGB, all of one size.

    Raises:
        ValueError: shapes, dtypes or counts do not fit.

    Example:
        >>> frames, masks = np.zeros((2, 48, 64, 3), dtype=np.uint8), np.zeros((1, 2, 48, 64), dtype=bool)
        >>> [frame.shape for frame in overlay_video(frames, masks, min_side=0)]
        [(48, 64, 3), (48, 64, 3)]
    """
    masks = np.asarray(masks)
    if masks.ndim != 4 or masks.shape[1] != len(frames):
        raise UserError(f"masks must be [num_masks, {len(frames)} frames, height, width], got shape {masks.shape}")
    return [draw_overlay(frame, masks[:, t], labels, alpha, min_side) for t, frame in enumerate(frames)]


def contact_sheet(
    frames: Sequence[np.ndarray],
    columns: int = 4,
    max_frames: int = 12,
    captions: Sequence[str] | None = None,
    tile_width: int = 320,
) -> np.ndarray:
    """Arrange evenly spaced frames of a video in a grid, first and last frame included.

    Args:
        frames: arrays `[height, width, 3]`, uint8 RGB, of one size.
        columns: tiles per row.
        max_frames: at most this many tiles.
        captions: one short text per frame of `frames` (not per tile), drawn below its tile; None draws none.
        tile_width: width of a tile in pixels.

    Returns:
        `[height', width', 3]`, uint8 RGB.

    Raises:
        ValueError: no frames, a bad count, or as many captions as tiles instead of frames.

    Example:
        >>> contact_sheet(np.zeros((20, 45, 80, 3), dtype=np.uint8), columns=2, max_frames=4, tile_width=160).shape
        (192, 332, 3)
    """
    if not len(frames) or columns < 1 or max_frames < 1:
        raise UserError("a contact sheet needs at least one frame, one column and one tile")
    if captions is not None and len(captions) != len(frames):
        raise UserError(f"there are {len(frames)} frames but {len(captions)} captions: give one per frame")
    chosen = np.linspace(0, len(frames) - 1, min(max_frames, len(frames))).round().astype(int)
    tiles = [_tile(frames[i], None if captions is None else captions[i], tile_width) for i in chosen]
    columns = min(columns, len(tiles))
    gap, rows = 4, -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2]
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), _STRIP, dtype=np.uint8)
    for position, tile in enumerate(tiles):
        top, left = gap + position // columns * (height + gap), gap + position % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def save_overlay(path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float = 12) -> None:
    """Save drawn frames as `.mp4`, `.mov`, `.webm` or `.gif`; see [`~glus_hf.media.video.write_video`].

    Args:
        path: where to write; the suffix chooses the format.
        frames: arrays `[height, width, 3]`, uint8 RGB, of one size; a generator is consumed lazily.
        fps: frames per second.

    Raises:
        VideoError: the frames cannot be written; one line.

    Example:
        >>> save_overlay("dog.gif", overlay_video(frames, masks, ["the dog"]), fps=12)  # doctest: +SKIP
    """
    write_video(path, frames, fps)


def save_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Save one picture as `.png`, `.jpg` or `.webp`, complete or not at all.

    Args:
        path: where to write; the suffix chooses the format, parent folders are created.
        image: `[height, width, 3]`, uint8 RGB.

    Raises:
        ValueError: the suffix is unknown or `image` is not a uint8 RGB array.

    Example:
        >>> save_image("sheet.png", contact_sheet(frames))  # doctest: +SKIP
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UserError(f"{path}: cannot write '{suffix}' images: use .png, .jpg or .webp")
    picture = Image.fromarray(_checked_frame(image))
    with atomic_path(path) as temporary:
        picture.save(temporary, **({} if suffix == ".png" else {"quality": 92}))


# --- checks --------------------------------------------------------------------------------------------------------


def _checked_frame(frame: np.ndarray) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or not frame.size:
        raise UserError(f"a frame must be uint8 [height, width, 3], got {frame.dtype} of shape {frame.shape}")
    return frame


def _checked(frame: np.ndarray, masks: np.ndarray, labels: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    frame, masks = _checked_frame(frame), np.asarray(masks)
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.dtype != np.bool_:
        raise UserError(f"masks must be boolean, got {masks.dtype}: threshold them first, as in `masks > 0`")
    if masks.ndim != 3 or masks.shape[1:] != frame.shape[:2]:
        raise UserError(f"masks of shape {masks.shape} do not fit a frame of {frame.shape[:2]} (height, width)")
    if isinstance(labels, str) or (labels is not None and len(labels) != len(masks)):
        raise UserError(f"labels must be a list of {len(masks)} texts, one per mask")
    return frame, masks


# --- frames and masks ----------------------------------------------------------------------------------------------


def _enlarge_frame(frame: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return frame
    height, width = (round(side * scale) for side in frame.shape[:2])
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))


def _enlarge_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if mask.shape == size:
        return mask
    # the level set of an interpolated mask has no staircase
    return cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR) > 0.5


def _draw_contour(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(2, round(min(picture.shape[:2]) / 240))
    cv2.drawContours(picture, contours, -1, _OUTLINE, thickness + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, colour, thickness, cv2.LINE_AA)


# --- text ----------------------------------------------------------------------------------------------------------


def _font_size(picture: np.ndarray) -> int:
    return int(np.clip(min(picture.shape[0], picture.shape[1]) / 24, 12, 40))


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _wrap(text: str, font: ImageFont.ImageFont, width: int) -> list[str]:
    """Break `text` into lines of at most `width` pixels, inside a word only where the word alone is too long."""
    lines, line = [], ""
    for word in text.split():
        while word:
            candidate = f"{line} {word}" if line else word
            if font.getlength(candidate) <= width:
                line, word = candidate, ""
            elif line:
                lines, line = [*lines, line], ""
            else:
                fit = max(1, sum(font.getlength(word[: n + 1]) <= width for n in range(len(word))))
                lines, word = [*lines, word[:fit]], word[fit:]
    return [*lines, line] if line or not lines else lines


@lru_cache(maxsize=64)
def _legend(labels: tuple[str, ...], present: tuple[bool, ...], width: int, size: int) -> np.ndarray:
    """The strip `[height, width, 3]` below a frame: one swatch and one wrapped text per label."""
    font = _font(size)
    padding, swatch, line_height = size // 2, round(size * 0.8), round(size * 1.3)
    left = padding * 2 + swatch
    texts = [_wrap(label, font, max(size, width - left - padding)) for label in labels]
    height = padding * 2 + sum(len(text) for text in texts) * line_height + max(0, len(texts) - 1) * (size // 4)
    strip = Image.new("RGB", (width, height), _STRIP)
    draw, top = ImageDraw.Draw(strip), padding
    for index, (lines, visible) in enumerate(zip(texts, present, strict=True)):
        box_top = top + (line_height - swatch) // 2
        box = (padding, box_top, padding + swatch, box_top + swatch)
        draw.rounded_rectangle(
            box,
            swatch // 4,
            fill=palette(index) if visible else None,
            outline=palette(index),
            width=max(2, size // 10),
        )
        for line in lines:
            draw.text((left, top + line_height // 2), line, fill=_INK if visible else _FAINT, font=font, anchor="lm")
            top += line_height
        top += size // 4
    return np.asarray(strip)


def _tile(frame: np.ndarray, caption: str | None, width: int) -> np.ndarray:
    image = Image.fromarray(_checked_frame(frame))
    height, drawn = tile_size((image.height, image.width), width)
    tile = np.full((height, width, 3), _STRIP, dtype=np.uint8)
    left = (width - drawn) // 2
    tile[:, left : left + drawn] = np.asarray(image.resize((drawn, height), Image.Resampling.LANCZOS))
    if caption is None:
        return tile
    size = max(12, width // 20)
    font = _font(size)
    strip = Image.new("RGB", (width, round(size * 1.6)), _STRIP)
    text = _wrap(caption, font, width - size)[0]
    ImageDraw.Draw(strip).text((width // 2, round(size * 0.8)), text, fill=_INK, font=font, anchor="mm")
    return np.concatenate([tile, np.asarray(strip)])
