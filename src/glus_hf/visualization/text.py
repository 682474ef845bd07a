"""Fonts that have the letters of a text, and lines that fit a width."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont
from transformers.utils import logging

from ..control_characters import is_unseen


logger = logging.get_logger(__name__)

WIDE_FONTS = ("notosanscjk", "sourcehansans", "wqy", "droidsansfallback", "arialuni", "pingfang", "msyh", "unifont")
"""Starts of the file names of fonts with many scripts, where a system has them."""


def find_font(size: int, text: str) -> ImageFont.FreeTypeFont:
    """A font with the letters of a text: DejaVu Sans (Latin, Greek, Cyrillic, Arabic, Hebrew and others), else one of
    the system. Where none has them, a warning says so and they are drawn as boxes.

    Args:
        size: height of a line in pixels, about.
        text: what will be drawn.

    Example:
        >>> find_font(12, "der Hund, собака").getname()
        ('DejaVu Sans', 'Book')
    """
    letters = {letter for letter in _seen(text) if not letter.isspace()}
    return ImageFont.truetype(_font_file("".join(sorted(letters))), size)


def _seen(text: str) -> str:
    """The text without control characters and the like; white space stays."""
    return "".join(letter for letter in text if letter.isspace() or not is_unseen(letter))


@lru_cache(maxsize=64)
def _font_file(letters: str) -> str:
    library = Path(find_spec("matplotlib").origin).parent  # its import takes a third of a second
    default = str(library / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")
    missing = "" if letters.isascii() else _missing(default, letters)
    if not missing:
        return default
    for file in _system_fonts():
        if not _missing(file, letters):
            return file
    logger.warning(f"no font here has {missing[:20]!r}: drawn as boxes; install one, such as Noto Sans CJK")
    return default


def _missing(file: str, letters: str) -> str:
    """Those letters that a font does not have."""
    known = _letters_of(file)
    return "".join(letter for letter in letters if ord(letter) not in known)


@lru_cache(maxsize=16)
def _letters_of(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    from matplotlib.font_manager import findSystemFonts

    files = sorted(findSystemFonts(fontext="ttf"))
    return tuple(file for file in files if Path(file).name.lower().replace("-", "").startswith(WIDE_FONTS))


def wrap_text(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break `text` into lines of at most `width` pixels, inside a word only where the word alone is too long. Control
    characters are left out."""
    lines, line = [], ""
    for word in _seen(text).split():
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


def shorten_lines(lines: list[str], count: int) -> list[str]:
    """At most `count` lines; dots at the end of the last say that there were more.

    Example:
        >>> shorten_lines(["the dog", "that jumps", "high"], 2)
        ['the dog', 'that jump…']
    """
    return lines if len(lines) <= count else [*lines[: count - 1], f"{lines[count - 1][:-1]}…"]


__all__ = ["find_font", "shorten_lines", "wrap_text"]
