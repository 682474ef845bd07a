"""GIFs: one palette for all frames, and a dither that does not flicker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


_PATTERN = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=np.int16) // 2 - 4  # Bayer's


def write_gif(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write frames `[height, width, 3]` uint8 as a GIF that repeats for ever."""
    frames = list(frames)
    palette = _common_palette(frames)
    nearest = _nearest_colours(palette)
    images = [_with_palette(frame, palette, nearest) for frame in frames]
    milliseconds = max(20, round(100 / fps) * 10)  # browsers slow down anything faster than 20 ms
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0, optimize=False)


def _common_palette(frames: Sequence[np.ndarray]) -> np.ndarray:
    """256 colours `[256, 3]` fitted to up to 8 evenly spaced frames: one palette for all keeps still regions from
    flickering."""
    chosen = np.linspace(0, len(frames) - 1, min(8, len(frames))).astype(int)
    strip = Image.fromarray(np.concatenate([frames[index] for index in chosen]))
    colours = np.array(strip.quantize(256, method=Image.Quantize.MEDIANCUT).getpalette(), dtype=np.uint8)
    return np.resize(colours.reshape(-1, 3), (256, 3))  # a picture of few colours has a shorter palette


def _nearest_colours(palette: np.ndarray) -> np.ndarray:
    """`[32768]` uint8: the palette's nearest colour for the middle of every cube of 8 x 8 x 8 colours."""
    from scipy.spatial import KDTree  # slow to import

    levels = np.arange(32) * 8 + 4
    cubes = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    return KDTree(palette.astype(np.float32)).query(cubes)[1].astype(np.uint8)


def _with_palette(frame: np.ndarray, palette: np.ndarray, nearest: np.ndarray) -> Image.Image:
    """The frame in the palette's colours. What lies between two is mixed by a fixed pattern: what stands still stays
    equal from frame to frame, which keeps files small."""
    height, width = frame.shape[:2]
    pattern = np.tile(_PATTERN, (-(-height // 4), -(-width // 4)))[:height, :width, None]
    cubes = (frame.astype(np.int16) + pattern).clip(0, 255).astype(np.int32) >> 3
    indices = nearest[(cubes[..., 0] << 10) | (cubes[..., 1] << 5) | cubes[..., 2]]
    image = Image.fromarray(indices)
    image.putpalette(palette.ravel().tolist())
    return image


__all__ = ["write_gif"]
