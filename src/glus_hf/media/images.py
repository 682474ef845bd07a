"""Images: from what a caller has (paths, PIL images, arrays, tensors) to `uint8 [height, width, 3]` RGB."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..errors import UserError, VideoError
from .open_image import MAX_PIXELS, STARTS_A_PROGRAM, check_pixels, open_image, upright


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
VIEW_SIZES = ("size", "crop_size", "mask_size", "pad_size")
MAX_SIDE = 16384  # of an image that is resized, in pixels
MAX_VIEW_SIDE = 4096  # of a view of a model, in pixels: one takes 200 MB, and four times as much while it is made
MAX_ASPECT = 32


# --- files -----------------------------------------------------------------------------------------------------------


def existing_path(source: str | os.PathLike) -> Path:
    text = os.fspath(source)
    if isinstance(text, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        text = re.sub(r":/(?!/)", "://", text, count=1)  # pathlib takes a slash away
        raise VideoError(f"{text}: is not opened: pass an http(s) address as text, or download it and pass the file")
    path = Path(text)
    try:
        exists = bool(text) and path.exists()
    except OSError:  # such as a name that is too long
        exists = False
    if not exists:
        raise VideoError(f"{text or 'an empty path'}: no such file or folder: check the path")
    return path


def natural_order(path: Path) -> tuple[list, str]:
    # the split alternates text and number and starts with text, so two keys always compare like with like;
    # a file name has fewer than 300 letters, but a list of names may have thousands, which Python reads as no number
    parts = re.split(r"(\d+)", path.stem)
    return [int(part[-300:]) if part.isdecimal() else part.lower() for part in parts], path.name


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in natural order (`2.jpg` before `10.jpg`), without hidden ones."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."]
    return sorted(files, key=natural_order)


# --- images and arrays -----------------------------------------------------------------------------------------------


def to_frame(image, name: str) -> np.ndarray:
    """Turn a path, PIL image, array or tensor into `[height, width, 3]` uint8; `name` goes into errors."""
    if isinstance(image, (str, os.PathLike)):
        path = existing_path(image)
        return _image_to_frame(open_image(path), str(path))
    if isinstance(image, Image.Image):
        return _image_to_frame(_checked_image(image, name), name)
    if not isinstance(image, (np.ndarray, torch.Tensor)):
        raise VideoError(f"{name} is a {type(image).__name__}: pass a PIL image, an array or a tensor")
    array = _to_uint8(_to_numpy(image), name)
    if array.ndim == 2:
        array = array[..., None]
    frame = _channels_last(array) if array.ndim == 3 else None
    if frame is None or 0 in frame.shape:
        raise VideoError(f"{name} has shape {array.shape}: pass [height, width, 3] with at least one pixel")
    return np.ascontiguousarray(frame)


def array_to_frames(source: np.ndarray | torch.Tensor, max_frames: int | None) -> list[np.ndarray]:
    array = _to_numpy(source[:max_frames] if source.ndim else source)
    expected = "pass [frames, height, width, 3] with at least one pixel"
    if array.ndim not in (3, 4):
        raise VideoError(f"an array of shape {array.shape} is not a video: {expected}")
    frames = _channels_last(array[..., None] if array.ndim == 3 else array)
    if frames is None or 0 in frames.shape[1:]:
        raise VideoError(f"an array of shape {array.shape} is not a video: {expected}")
    return list(_to_uint8(np.ascontiguousarray(frames), "the array"))


def _channels_last(array: np.ndarray) -> np.ndarray | None:
    """`[..., height, width, 3]` from 1, 3 or 4 channels in the last or, failing that, third last axis; else None."""
    if array.shape[-1] not in (1, 3, 4):
        if array.shape[-3] not in (1, 3, 4):
            return None
        array = np.moveaxis(array, -3, -1)
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]


def _to_numpy(array: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        return (array.float() if array.is_floating_point() else array).numpy()
    return array


def _to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise VideoError(f"{name} is {array.dtype}: pass uint8 in 0..255 or floating point in [0, 1]")
    if not array.size:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise VideoError(f"{name} holds NaN or infinite values: replace them first")
    if low < -1e-3 or high > 1 + 1e-3:
        raise VideoError(f"{name} holds values from {low:g} to {high:g}: scale floating point to [0, 1] or pass uint8")
    return np.rint(array.clip(0, 1) * 255).astype(np.uint8)


def _checked_image(image: Image.Image, name: str) -> Image.Image:
    """A caller's own image, which may not be decoded yet."""
    if getattr(image, "format", None) in STARTS_A_PROGRAM:
        raise VideoError(f"{name}: is an {image.format} file, which another program would have to draw: pass a PNG")
    check_pixels(image, name, MAX_PIXELS)
    return image


def _image_to_frame(image: Image.Image, name: str) -> np.ndarray:
    try:
        image = upright(image)
        if image.mode == "F":
            return to_frame(np.asarray(image), name)
        if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip at 255
            grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=-1)
        return np.array(image.convert("RGBA" if "transparency" in image.info else "RGB"))[..., :3]
    except VideoError:
        raise
    except Exception as error:  # a damaged file leads Pillow to anything
        reason = str(error) or type(error).__name__
        raise VideoError(f"{name}: cannot be read as an image ({reason}): remove or replace it") from None


# --- what models take ------------------------------------------------------------------------------------------------


def as_rgb_arrays(images) -> list[np.ndarray]:
    """One image or a sequence of images as a list of contiguous `uint8 [height, width, 3]` arrays."""
    if hasattr(images, "convert") or getattr(images, "ndim", 4) == 3:
        images = [images]
    arrays = [_as_rgb_array(image) for image in images]
    if not arrays:
        raise UserError("no images given; pass one or more")
    return arrays


def _as_rgb_array(image) -> np.ndarray:
    """One image (PIL, numpy, torch; channels first or last) as a contiguous `uint8 [height, width, 3]` array."""
    if hasattr(image, "convert"):
        image = image.convert("RGB")
    array = image.cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if array.ndim == 3 and array.shape[2] != 3 and array.shape[0] == 3:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise UserError(f"an image must be uint8 RGB [height, width, 3], got {array.dtype} {list(array.shape)}")
    # torch.from_numpy warns on read-only memory (PIL's) and refuses negative strides
    return array if array.flags.writeable and array.flags.c_contiguous else array.copy()


def clip_view(image_processor, images) -> torch.Tensor:
    """CLIP's view of N images, `float32 [N, 3, crop, crop]`: shortest edge resized, centre cropped, normalised.

    The left and right ends of a wide video are cut off, as the original code does.
    """
    images = [without_far_ends(image) for image in as_rgb_arrays(images)]
    return image_processor.preprocess(images, input_data_format="channels_last", return_tensors="pt").pixel_values


def without_far_ends(image: np.ndarray) -> np.ndarray:
    """The middle of an image that is more than 32 times as long as it is wide; any other as it is.

    CLIP's view is a square of the middle, but its processor resizes all of the image first: one of 1 x 65535 pixels to
    224 x 14679840.

    Example:
        >>> without_far_ends(np.zeros((2, 1000, 3), np.uint8)).shape
        (2, 64, 3)
    """
    height, width = image.shape[:2]
    top, left = max(0, height - MAX_ASPECT * width + 1) // 2, max(0, width - MAX_ASPECT * height + 1) // 2
    return image[top : height - top, left : width - left]


def check_views(image_processor) -> None:
    """Try an image processor on a small image, before a video is read.

    Args:
        image_processor: makes `pixel_values`, and perhaps other views, of an image.

    Raises:
        UserError: its settings make no images, images that are too large, or not finite; one line.
    """
    check_sides(image_processor, VIEW_SIZES)
    try_views(lambda image: image_processor(image, return_tensors="pt"))


def check_sides(image_processor, names: Sequence[str]) -> None:
    """Refuse sizes of images that could take all memory.

    Args:
        image_processor: has all or some of the settings.
        names: of settings that are sides in pixels, or lists or objects of them.

    Raises:
        UserError: one line that names the setting.
    """
    for name in names:
        sides = [side for side in _values(getattr(image_processor, name, None)) if side is not None]
        if not all(type(side) is int and 0 < side <= MAX_VIEW_SIDE for side in sides):
            message = f"the image processor's {name} is {sides!r:.60}; use whole numbers from 1 to {MAX_VIEW_SIDE}"
            raise UserError(message)


def _values(setting) -> list:
    """Of nested lists and objects, or of a size of transformers."""
    if isinstance(setting, Mapping) or is_dataclass(setting):
        setting = list(dict(setting).values())
    if not isinstance(setting, (list, tuple)):
        return [setting]
    return [value for entry in setting for value in _values(entry)]


def try_views(make: Callable[[np.ndarray], Mapping]) -> None:
    """Make the views of a small image.

    Args:
        make: from `uint8 [8, 8, 3]` to views by name.

    Raises:
        UserError: it fails, or makes values that are not finite; one line.
    """
    try:
        with np.errstate(all="ignore"):  # what is not finite is told below
            views = make(np.full((8, 8, 3), 128, np.uint8))
        tensors = [view for view in views.values() if isinstance(view, torch.Tensor)]
        is_finite = all(bool(torch.isfinite(view).all()) for view in tensors)
    except Exception as error:  # libraries raise anything for settings that do not go together
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"the image processor makes no image ({reason}); correct its settings") from error
    if not is_finite:
        raise UserError("the image processor makes values that are not finite; correct its mean and std")


__all__ = [
    "IMAGE_SUFFIXES",
    "array_to_frames",
    "as_rgb_arrays",
    "check_sides",
    "check_views",
    "clip_view",
    "existing_path",
    "list_images",
    "natural_order",
    "open_image",
    "to_frame",
    "try_views",
    "without_far_ends",
]
