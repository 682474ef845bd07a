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
    black. JPEG is refused: it blurs one value into many.

    Args:
        path: of the image. What is transparent belongs to nothing; neither does the value 255 of a palette, if there
            are others.
        size: `(height, width)` it must have.

    Returns:
        Masks `[height, width]` of bool by id, ascending: the values of a palette or grey image of 8 bits, otherwise 1,
            2, ...

    Raises:
        UserError: it cannot be read, is a JPEG or holds fractions, has another size, no object or more than 254; one
            line.

    Example:
        >>> read_drawn_objects("first.png", (480, 854)).keys()  # doctest: +SKIP
        dict_keys([1, 2])
    """
    image = open_image(path, kind="mask", error=UserError)
    check_size(path, (image.height, image.width), size, "the frame", "draw on a copy of that", UserError)
    if image.format == "JPEG" or image.mode == "F":
        raise UserError(f"{path}: does not hold one exact value for each object; draw it again and save it as PNG")
    values = _values(image)
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


def _values(image) -> np.ndarray:
    """A number for each pixel; 0 is black or transparent."""
    if image.mode in ("P", "L", "1"):
        return np.asarray(image).astype(np.uint8)
    if image.mode.startswith("I"):  # of more than 8 bits
        return _numbered(np.asarray(image))
    pixels = np.asarray(image.convert("RGBA"))
    colours = pixels[..., :3].astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    return _numbered(colours * (pixels[..., 3] > 0))


def _numbered(values: np.ndarray) -> np.ndarray:
    """Numbers from 1 for what is not 0, in the order of the values."""
    _, numbers = np.unique(np.concatenate([[0], values.ravel()]), return_inverse=True)
    return numbers[1:].reshape(values.shape)


__all__ = ["MAX_OBJECTS", "read_drawn_objects"]
