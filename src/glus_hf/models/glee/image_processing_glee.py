"""Image processor of GLEE: resized by a side, normalised, padded; without torchvision."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.processing_utils import ImagesKwargs

from ...media.images import MAX_SIDE, as_rgb_arrays
from ..checkpoint_loading import CheckpointMixin


FULL = 255


class GLEEImageProcessorKwargs(ImagesKwargs, total=False):
    """Settings on top of transformers' own.

    size_divisor (`int`): images are padded to a multiple of it.
    pad_value (`int`): brightness of the padding, 0..255; zeros after normalisation by default.
    """

    size_divisor: int | None
    pad_value: int | None


class GLEEImageProcessor(CheckpointMixin, PilBackend):
    """Resizes images until the shorter side is `size["shortest_edge"]`, or the longer one `size["longest_edge"]` if
    that is less or the only one; normalises them; and pads them, on the right and below, to a multiple of
    `size_divisor` and to one size, at least `pad_size`.

    As in the released code, resizing is Pillow's bilinear one of `uint8`, and the padding is no mask: the model sees
    it.

    Args:
        size (`dict[str, int]`): default `{"shortest_edge": 800, "longest_edge": 1333}`.
        image_mean, image_std (`list[float]`): of channels in 0..1, ImageNet's by default.
        size_divisor (`int`): default 32.
        pad_size (`dict[str, int]`, *optional*): "height" and "width"; GLEE-Pro has 1536 of both.
        pad_value (`int`, *optional*): brightness of the padding, 0..255, GLEE-Pro's is 128; zeros after normalisation
            by default.
        kwargs: as for other image processors.

    Example:

        >>> processor = GLEEImageProcessor(size={"shortest_edge": 64, "longest_edge": 100})
        >>> batch = processor(np.zeros((96, 128, 3), np.uint8))
        >>> tuple(batch.pixel_values.shape), batch.resized_sizes
        ((1, 3, 64, 96), [(64, 85)])
    """

    valid_kwargs = GLEEImageProcessorKwargs
    model_input_names = ["pixel_values"]
    size = {"shortest_edge": 800, "longest_edge": 1333}
    image_mean = list(IMAGENET_DEFAULT_MEAN)
    image_std = list(IMAGENET_DEFAULT_STD)
    size_divisor = 32
    pad_size = None
    pad_value = None
    default_to_square = False

    def preprocess(self, images, return_tensors: str = "pt", **kwargs) -> BatchFeature:
        """Images as one batch.

        Args:
            images: one image, a list of images or an array `[N, height, width, 3]`; `uint8` RGB or PIL.
            return_tensors (`str`): "pt" or "np".
            kwargs: `size`, `image_mean`, `image_std`, `size_divisor`, `pad_size` or `pad_value` for this call;
                `do_resize=False` leaves the images at their sizes.

        Returns:
            `BatchFeature`: `pixel_values [N, 3, height, width]`, float32, and `resized_sizes`, the (height, width) of
            each image in it.
        """
        arrays = as_rgb_arrays(images)
        size = kwargs.get("size") or self.size
        is_resized = kwargs.get("do_resize") is not False
        sizes = [self.resized_size(array.shape[:2], size) if is_resized else array.shape[:2] for array in arrays]
        divisor = kwargs.get("size_divisor") or self.size_divisor
        least = dict(kwargs.get("pad_size") or self.pad_size or {})
        needed = zip(*sizes, (least.get("height") or 1, least.get("width") or 1), strict=True)
        padded = [-(-max(sides) // divisor) * divisor for sides in needed]
        mean = FULL * torch.tensor(kwargs.get("image_mean") or self.image_mean).view(3, 1, 1)
        std = FULL * torch.tensor(kwargs.get("image_std") or self.image_std).view(3, 1, 1)
        value = kwargs.get("pad_value", self.pad_value)
        border = torch.zeros_like(mean) if value is None else (value - mean) / std
        images = [(_resize(array, to) - mean) / std for array, to in zip(arrays, sizes, strict=True)]
        batch = torch.stack([_pad(image, padded, border) for image in images])
        pixels = batch.numpy() if return_tensors == "np" else batch
        return BatchFeature({"pixel_values": pixels, "resized_sizes": sizes})

    def resized_size(self, original: tuple[int, int], size: dict[str, int] | None = None) -> tuple[int, int]:
        """Height and width of an image before padding, from those it has.

        Example:

            >>> GLEEImageProcessor().resized_size((720, 1280)), GLEEImageProcessor().resized_size((10000, 50))
            ((750, 1333), (1333, 7))
        """
        size = dict(size or self.size)
        scale = (size.get("longest_edge") or MAX_SIDE) / max(original)
        if size.get("shortest_edge"):
            scale = min(scale, size["shortest_edge"] / min(original))
        return tuple(max(int(side * scale + 0.5), 1) for side in original)


def _resize(array: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    height, width = size
    if array.shape[:2] != size:
        array = np.array(Image.fromarray(array).resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(array).permute(2, 0, 1).float()


def _pad(image: torch.Tensor, size: list[int], border: torch.Tensor) -> torch.Tensor:
    padded = border.expand(-1, *size).clone()
    padded[:, : image.shape[1], : image.shape[2]] = image
    return padded


__all__ = ["GLEEImageProcessor"]
