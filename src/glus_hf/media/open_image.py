"""The one place that opens image files: by a fixed list of formats, none of which starts another program."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ..errors import UserError, VideoError
from ..safe_files import open_file


FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
STARTS_A_PROGRAM = ("EPS", "WMF")  # Pillow hands the first to Ghostscript
MAX_PIXELS = 100_000_000  # of an image: 300 MB of RGB
ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(
    source: str | os.PathLike | BinaryIO,
    name: str | None = None,
    *,
    formats: Sequence[str] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    kind: str = "image",
    remedy: str = "remove or replace it",
    error: type[UserError] = VideoError,
    decode: bool = True,
) -> Image.Image:
    """Open an image and decode it whole.

    Args:
        source: path of a regular file, or a binary file.
        name: of the image in errors; by default the path.
        formats: which of `FORMATS` it may have. What the file says counts, not its suffix.
        max_pixels: width x height it may have, known from its header before anything is decoded.
        kind: its limit in bytes, a key of `glus_hf.safe_files.KINDS`.
        remedy: what to do about an image that cannot be read.
        error: what to raise.
        decode: False reads the header alone, of a `source` that is a file.

    Returns:
        The image as stored; see [`upright`]. It needs its file no more, if it was decoded.

    Raises:
        VideoError: the file is missing, no regular one, too large, of another format or damaged; or `error`. One line.

    Example:
        >>> open_image("frames/00000.jpg").size  # doctest: +SKIP
        (640, 480)
    """
    if isinstance(source, (str, os.PathLike)):
        with open_file(source, kind, error) as file:
            return open_image(
                file,
                str(source) if name is None else name,
                formats=formats,
                max_pixels=max_pixels,
                remedy=remedy,
                error=error,
            )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # about large images and damaged EXIF
            image = Image.open(source, formats=formats)
            check_pixels(image, name, max_pixels, error)
            if decode:
                image.load()
        return image
    except UserError:
        raise
    except MemoryError:
        raise error(f"{name}: memory ran out while it was decoded: make it smaller, or free memory") from None
    except Image.DecompressionBombError:
        raise error(f"{name}: has too many pixels, an image may have {max_pixels}: make it smaller") from None
    except Exception as reason:  # a damaged file leads Pillow's readers to anything
        raise error(f"{name}: cannot be read as an image ({_reason(reason, formats)}): {remedy}") from None


def _reason(reason: Exception, formats: Sequence[str]) -> str:
    if isinstance(reason, UnidentifiedImageError):
        return f"not a {' or '.join(filter(None, [', '.join(formats[:-1]), formats[-1]]))}"
    return " ".join(str(reason).split())[:200] or type(reason).__name__


def check_pixels(image: Image.Image, name: str | None, max_pixels: int, error: type[UserError] = VideoError) -> None:
    """Refuse an image that has too many pixels or none, before it is decoded."""
    width, height = image.size
    if width * height > max_pixels:
        raise error(f"{name}: has {width} x {height} pixels, an image may have {max_pixels}: make it smaller")
    if not width * height:
        raise error(f"{name}: has {width} x {height} pixels: replace it")


def orientation(image: Image.Image) -> int:
    """EXIF's number of how the image is turned, 1 to 8; 1, not at all, where it says nothing sensible."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF that cannot be read says nothing
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def upright(image: Image.Image) -> Image.Image:
    """The image turned and mirrored as its EXIF orientation asks for.

    Example:
        >>> upright(Image.new("L", (4, 2))).size
        (4, 2)
    """
    image.load()  # Pillow turns a TIFF itself then
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


__all__ = ["FORMATS", "MAX_PIXELS", "check_pixels", "open_image", "orientation", "upright"]
