"""Images whose pixels say which object they belong to: palette PNGs with ids, lines drawn in colours."""

from __future__ import annotations

import os

import numpy as np

from ..errors import UserError
from .open_image import open_image
from .sizes import check_size


MAX_OBJECTS = 254  # palette values 1 to 254; 255 is "void" in DAVIS
VOID = 255


def read_drawn_objects(path: str | os.PathLike, size: tuple[int, int]) -> dict[int, np.ndarray]:
    """The objects of an image: in a palette or grey PNG every value but 0 is one, in a colour image every colour but
    black.

    Args:
        path: of the image. What is transparent belongs to nothing; neither does the value 255 of a palette, if there
            are others.
        size: `(height, width)` it must have.

    Returns:
        Masks `[height, width]` of bool by id, ascending: the values of a palette or grey image, 1, 2, ... of colours.

    Raises:
        UserError: it cannot be read, has another size, no object or more than 254; one line.

    Example:
        >>> read_drawn_objects("first.png", (480, 854)).keys()  # doctest: +SKIP
        dict_keys([1, 2])
    """
    image = open_image(path, kind="mask", error=UserError)
    check_size(path, (image.height, image.width), size, "the frame", "draw on a copy of that", UserError)
    is_index = image.mode in ("P", "L", "1")
    values = np.asarray(image).astype(np.uint8) if is_index else _number_colours(np.asarray(image.convert("RGBA")))
    ids = [int(value) for value in np.unique(values) if value != 0]
    if image.mode == "P" and len(ids) > 1:
        ids = [value for value in ids if value != VOID]
    if not ids:
        raise UserError(f"{path}: marks no object: all is background; draw on it")
    if len(ids) > MAX_OBJECTS:
        raise UserError(
            f"{path}: has {len(ids)} values; draw each object in one colour without smoothing, on black or nothing"
        )
    return {value: values == value for value in ids}


def _number_colours(pixels: np.ndarray) -> np.ndarray:
    """Colours of `[height, width, 4]` as numbers from 1, in the order of their values; 0 is black or transparent."""
    colours = (pixels[..., :3].astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)) * (pixels[..., 3] > 0)
    _, numbers = np.unique(np.concatenate([[0], colours.ravel()]), return_inverse=True)
    return numbers[1:].reshape(colours.shape)


__all__ = ["MAX_OBJECTS", "read_drawn_objects"]
