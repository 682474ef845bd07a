"""Binary masks as bits, 64 pixels to a word: contours, dilation and areas without approximation.

A mask of 480x854 is 400 KB as booleans and 57 KB as bits. Dilating by a disk of radius `r` takes a handful of shifts
of whole words to widen every row to the chords of the disk, then one OR per row of the disk, where a dense dilation
visits every pixel of the disk, about `3 r²`, for every pixel of the image.
"""

import math

import numpy as np


WORD = np.dtype("<u8")  # pixel x of a row is bit x % 64 of word x // 64, on every machine


def pack_mask(mask: np.ndarray, padding: int) -> np.ndarray:
    """Pack a mask row by row and leave at least `padding` zero bits behind each row.

    With a padding of the dilation's radius, rows laid end to end cannot run into each other.

    Args:
        mask: `[height, width]`, bool.
        padding: number of pixels, at least 1.

    Returns:
        `[height, words]`, uint64 in little-endian order.

    Example:
        >>> pack_mask(np.array([[True, False, True], [False, True, True]]), padding=1).tolist()
        [[5], [6]]
    """
    height, width = mask.shape
    packed = np.packbits(mask, axis=1, bitorder="little")
    words = np.zeros((height, -(-(width + padding) // 64)), dtype=WORD)
    words.view(np.uint8)[:, : packed.shape[1]] = packed
    return words


def count_pixels(bits: np.ndarray) -> int:
    """Number of pixels in a packed mask.

    Example:
        >>> count_pixels(pack_mask(np.eye(5, dtype=bool), padding=1))
        5
    """
    return int(np.bitwise_count(bits).sum())


def contour_pixels(bits: np.ndarray, width: int) -> np.ndarray:
    """One-pixel contour: pixels that differ from their right, lower or lower-right neighbour.

    The last column looks down only, the last row right only, the last corner nowhere, as in the DAVIS evaluation.

    Args:
        bits: `[height, words]`, from [`pack_mask`].
        width: of the mask, in pixels.

    Returns:
        `[height, words]`, packed.

    Example:
        >>> contour_pixels(pack_mask(np.array([[0, 1, 1], [0, 1, 1]], dtype=bool), padding=1), width=3).tolist()
        [[1], [1]]
    """
    right = _shift_left_in_image(bits.reshape(-1), 1).reshape(bits.shape)
    contour = bits ^ right
    contour[:-1] |= bits[:-1] ^ right[1:]
    has_right_neighbour = np.ones((1, width), dtype=bool)
    has_right_neighbour[0, -1] = False
    contour &= pack_mask(has_right_neighbour, padding=64 * bits.shape[1] - width)
    contour[:-1] |= bits[:-1] ^ bits[1:]
    return contour


def dilate(bits: np.ndarray, radius: int) -> np.ndarray:
    """All pixels within `radius` (Euclidean) of a pixel of the mask.

    Bits behind the end of a row may be set in the result; they stand for no pixel.

    Args:
        bits: `[height, words]`, packed with a padding of at least `radius`.
        radius: in pixels.

    Returns:
        `[height, words]`, packed.

    Example:
        >>> dilate(pack_mask(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool), padding=1), radius=1).tolist()
        [[2], [7], [2]]
    """
    height = len(bits)
    widened, half_chord = bits.reshape(-1), 0
    result = np.zeros_like(bits)
    for distance in range(radius, -1, -1):  # from the disk's shortest chord to its longest
        while half_chord < math.isqrt(radius**2 - distance**2):
            step = min(math.isqrt(radius**2 - distance**2) - half_chord, max(half_chord, 1))
            shifted = _shift_left_in_image(widened, step) | _shift_right_in_image(widened, step)
            # a single pixel leaves a gap between its two shifted copies, a longer run does not
            widened = shifted if half_chord else shifted | widened
            half_chord += step
        rows = widened.reshape(bits.shape)
        if distance == 0:
            result |= rows
        elif distance < height:
            result[distance:] |= rows[:-distance]
            result[:-distance] |= rows[distance:]
    return result


def _shift_left_in_image(words: np.ndarray, pixels: int) -> np.ndarray:
    """Move every pixel `pixels` to the left: towards lower bits. Vacated bits are zero."""
    whole, bits = divmod(pixels, 64)
    shifted = np.zeros_like(words)
    kept = len(words) - whole
    if kept <= 0:
        return shifted
    shifted[:kept] = words[whole:] >> np.uint64(bits)
    if bits:
        shifted[: kept - 1] |= words[whole + 1 :] << np.uint64(64 - bits)
    return shifted


def _shift_right_in_image(words: np.ndarray, pixels: int) -> np.ndarray:
    """Move every pixel `pixels` to the right: towards higher bits. Vacated bits are zero."""
    whole, bits = divmod(pixels, 64)
    shifted = np.zeros_like(words)
    kept = len(words) - whole
    if kept <= 0:
        return shifted
    shifted[whole:] = words[:kept] << np.uint64(bits)
    if bits:
        shifted[whole + 1 :] |= words[: kept - 1] >> np.uint64(64 - bits)
    return shifted
