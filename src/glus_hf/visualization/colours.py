"""Colours of objects, and of what is written about them."""

import colorsys


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
STRIP, INK, FAINT, OUTLINE = (24, 26, 30), (245, 245, 245), (150, 153, 160), (15, 15, 18)


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


__all__ = ["FAINT", "INK", "OUTLINE", "STRIP", "palette"]
