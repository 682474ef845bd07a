"""Contact sheets, and pictures as files."""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..atomic_write import atomic_path
from ..errors import UserError
from ..media.sizes import tile_size
from .checks import checked_frame
from .colours import INK, STRIP
from .text import find_font, wrap_text


def contact_sheet(
    frames: Sequence[np.ndarray],
    columns: int = 4,
    max_frames: int = 12,
    captions: Sequence[str] | None = None,
    tile_width: int = 320,
    title: str | None = None,
) -> np.ndarray:
    """Arrange evenly spaced frames of a video in a grid, first and last frame included.

    Args:
        frames: arrays `[height, width, 3]`, uint8 RGB, of one size.
        columns: tiles per row.
        max_frames: at most this many tiles.
        captions: one short text per frame of `frames` (not per tile), drawn below its tile; None draws none.
        tile_width: width of a tile in pixels.
        title: a text above all tiles, such as the expression; wraps.

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
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), STRIP, dtype=np.uint8)
    for position, tile in enumerate(tiles):
        top, left = gap + position // columns * (height + gap), gap + position % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet if title is None else np.concatenate([_title(title, sheet.shape[1]), sheet])


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
    picture = Image.fromarray(checked_frame(image))
    with atomic_path(path) as temporary:
        picture.save(temporary, **({} if suffix == ".png" else {"quality": 92}))


def _tile(frame: np.ndarray, caption: str | None, width: int) -> np.ndarray:
    image = Image.fromarray(checked_frame(frame))
    height, drawn = tile_size((image.height, image.width), width)
    tile = np.full((height, width, 3), STRIP, dtype=np.uint8)
    left = (width - drawn) // 2
    tile[:, left : left + drawn] = np.asarray(image.resize((drawn, height), Image.Resampling.LANCZOS))
    if caption is None:
        return tile
    size = max(12, width // 20)
    font = find_font(size, caption)
    strip = Image.new("RGB", (width, round(size * 1.6)), STRIP)
    text = wrap_text(caption, font, width - size)[0]
    ImageDraw.Draw(strip).text((width // 2, round(size * 0.8)), text, fill=INK, font=font, anchor="mm")
    return np.concatenate([tile, np.asarray(strip)])


def _title(text: str, width: int) -> np.ndarray:
    """The strip `[height, width, 3]` above a sheet."""
    size = int(np.clip(width / 40, 14, 32))
    font, line_height = find_font(size, text), round(size * 1.4)
    lines = wrap_text(text, font, max(size, width - 2 * size))
    strip = Image.new("RGB", (width, line_height * len(lines) + size // 2), STRIP)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((size // 2, size // 4 + line_height * (number + 0.5)), line, fill=INK, font=font, anchor="lm")
    return np.asarray(strip)


__all__ = ["contact_sheet", "save_image"]
