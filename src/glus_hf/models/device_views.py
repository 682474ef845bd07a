"""Both views of a frame, made on the device of a model: a frame travels as uint8, and once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..media.images import as_rgb_arrays, without_far_ends
from .host_copies import to_device


VIEWS = ("auto", "pil", "device")
"""Where views are made: by PIL and on the CPU, as in the original code; on the device of the model; or, as "auto",
on the device where that is a GPU."""
GPUS = ("cuda", "mps")
HELD_BYTES = 128_000_000
BICUBIC = 3  # of PIL
PRECISION = 2**22  # to which PIL rounds its weights: ties of grey levels go the same way


def check_where(views) -> str:
    """A choice of [`VIEWS`] that is one.

    Raises:
        UserError: it is none; one line.
    """
    if views not in VIEWS:
        raise UserError(f"views must be one of {', '.join(VIEWS)}, got {views!r:.60}")
    return views


def makes_on_device(views: str, device: torch.device) -> bool:
    """Whether views are made on a device.

    Example:

        >>> makes_on_device("auto", torch.device("cpu")), makes_on_device("auto", torch.device("cuda"))
        (False, True)
    """
    return device.type != "meta" and (views == "device" or (views == "auto" and device.type in GPUS))


def where_made(processor, device: torch.device) -> str:
    """Where a processor has the views of a model on a device made: "device" or "pil"."""
    settings = getattr(processor, "image_processor", None)
    on_device = hasattr(settings, "device_views") and settings.device_views(device) is not None
    return "device" if on_device else "pil"


class FrameUploads:
    """Frames of one video on a device, `uint8 [height, width, 3]`; those that were used last are held.

    Args:
        device: where to.

    Example:

        >>> uploads = FrameUploads(torch.device("cpu"))
        >>> uploads.take([np.zeros((4, 6, 3), np.uint8)], 0).shape
        torch.Size([4, 6, 3])
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._held: OrderedDict[int, Tensor] = OrderedDict()

    def take(self, frames: Sequence[np.ndarray], index: int) -> Tensor:
        """A frame by its index."""
        if index not in self._held:
            self._held[index] = upload(frames[index], self.device)
        self._held.move_to_end(index)
        while len(self._held) > 1 and len(self._held) * self._held[index].numel() > HELD_BYTES:
            self._held.popitem(last=False)
        return self._held[index]

    def drop(self, index: int) -> None:
        """Forget a frame."""
        self._held.pop(index, None)


def upload(frame: np.ndarray, device: torch.device) -> Tensor:
    """A frame on a device; to CUDA from pinned memory, so that the host does not wait."""
    return to_device(torch.from_numpy(as_rgb_arrays([frame])[0]), device)


def clip_view(frame: Tensor, side: int, crop: tuple[int, int]) -> Tensor:
    """CLIP's view of a frame before it is normalized: shortest edge resized as PIL does (bicubic with antialiasing,
    rounded to grey levels after each direction), centre crop with black where it is larger.

    Args:
        frame: `uint8 [height, width, 3]`.
        side: of the shortest edge.
        crop: height and width of the result.

    Returns:
        `float32 [3, *crop]` of whole numbers in 0..255.
    """
    frame = without_far_ends(frame)
    height, width = frame.shape[:2]
    long = int(side * max(height, width) / min(height, width))
    new_height, new_width = (long, side) if width <= height else (side, long)
    pixels = frame.permute(2, 0, 1).float()
    pixels = _whole(pixels @ resize_weights(width, new_width, "bicubic", frame.device))
    pixels = _whole(resize_weights(height, new_height, "bicubic", frame.device).T @ pixels)
    return _centre(pixels, crop)


def mask_view(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask branch's view of a frame before it is normalized: `float32 [3, *size]` in 0..255, resized with
    antialiasing (bilinear, aspect ratio not kept), as `mask_images` does."""
    height, width = frame.shape[:2]
    pixels = frame.permute(2, 0, 1).float() @ resize_weights(width, size[1], "bilinear", frame.device)
    return resize_weights(height, size[0], "bilinear", frame.device).T @ pixels


@lru_cache(maxsize=8)  # a video needs four
def resize_weights(size: int, new_size: int, kernel: str, device: torch.device) -> Tensor:
    """What each of `new_size` pixels takes of each of `size`, `float32 [size, new_size]`: resizing with antialiasing
    as a product of matrices, which every device has and which no size is too large for.

    Example:

        >>> resize_weights(4, 2, "bilinear", torch.device("cpu")).sum(0)
        tensor([1., 1.])
    """
    scale = size / new_size
    centres = (torch.arange(new_size, dtype=torch.float64) + 0.5) * scale
    distances = (torch.arange(size, dtype=torch.float64)[:, None] + 0.5 - centres).abs() / max(scale, 1.0)
    weights = KERNELS[kernel](distances)
    weights = weights / weights.sum(0)
    return to_device((weights.mul(PRECISION).round() / PRECISION).float(), device)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5, as PIL and torch have it where they antialias."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


KERNELS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": _triangle, "bicubic": _cubic}


def normalize(pixels: Tensor, mean: Sequence[float], std: Sequence[float], factor: float = 1 / 255) -> Tensor:
    """Grey levels `[n, 3, height, width]` times `factor`, minus mean, by deviation, per colour."""
    scales = [factor / deviation for deviation in std]
    for colour, scale in enumerate(scales):
        pixels[:, colour].mul_(scale).sub_(mean[colour] / std[colour])
    return pixels


def _whole(pixels: Tensor) -> Tensor:
    return pixels.add_(0.5).floor_().clamp_(0, 255)


def _centre(pixels: Tensor, crop: tuple[int, int]) -> Tensor:
    """The middle of `[3, height, width]`, with zeros around it where it is smaller than `crop`."""
    for axis, wanted in ((1, crop[0]), (2, crop[1])):
        found = pixels.shape[axis]
        if found >= wanted:
            pixels = pixels.narrow(axis, (found - wanted) // 2, wanted)
        else:
            before = (wanted - found + 1) // 2
            around = (before, wanted - found - before)
            pixels = F.pad(pixels, (*around, 0, 0) if axis == 2 else (0, 0, *around))
    return pixels


class DeviceViews:
    """Both views of the frames of a video, made on a device; see `GLUSImageProcessor`.

    They equal those of the processor within one grey level (1/255 before they are normalized).

    Args:
        image_processor: its settings; one of CLIP with `mask_size`, `mask_image_mean` and `mask_image_std`.
        device: where.

    Raises:
        UserError: the settings ask for what is only made by PIL; one line.
    """

    def __init__(self, image_processor, device: torch.device):
        if not is_plain(image_processor):
            raise UserError('the image processor has settings that only PIL knows; use views="pil"')
        self.settings, self.uploads = image_processor, FrameUploads(device)

    def clip_view(self, frames: Sequence[np.ndarray], indices: Sequence[int]) -> Tensor:
        """CLIP's view of some frames, `float32 [n, 3, crop, crop]`."""
        own = self.settings
        side, crop = own.size["shortest_edge"], (own.crop_size["height"], own.crop_size["width"])
        pixels = torch.stack([clip_view(self.uploads.take(frames, index), side, crop) for index in indices])
        return normalize(pixels, own.image_mean, own.image_std, own.rescale_factor)

    def mask_view(self, frames: Sequence[np.ndarray], index: int) -> Tensor:
        """The mask branch's view of a frame, `float32 [1, 3, S, S]`; the frame is forgotten."""
        own = self.settings
        size = own.mask_size["height"], own.mask_size["width"]
        pixels = mask_view(self.uploads.take(frames, index), size)[None]
        self.uploads.drop(index)
        return normalize(pixels, own.mask_image_mean, own.mask_image_std)


def is_plain(image_processor) -> bool:
    """Whether a processor of CLIP does nothing but resize the shortest edge, crop, scale and normalize."""
    steps = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
    return (
        all(getattr(image_processor, step, False) for step in steps)
        and not getattr(image_processor, "do_pad", False)
        and image_processor.resample == BICUBIC
        and {name for name, value in dict(image_processor.size).items() if value} == {"shortest_edge"}
    )


__all__ = ["VIEWS", "DeviceViews", "FrameUploads", "check_where", "is_plain", "makes_on_device", "where_made"]
