"""Image processor of GLEE: resized by the shorter side, normalised, padded; without torchvision."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
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
    """

    size_divisor: int | None


class GLEEImageProcessor(CheckpointMixin, PilBackend):
    """Resizes images until the shorter side is `size["shortest_edge"]`, or the longer one `size["longest_edge"]` if
    that is less; normalises them; and pads them with zeros, on the right and below, to a multiple of `size_divisor`
    and to one size.

    As in the released code, resizing is Pillow's bilinear one of `uint8`, and the padding is no mask: the model sees
    it.

    Args:
        size (`dict[str, int]`): default `{"shortest_edge": 800, "longest_edge": 1333}`.
        image_mean, image_std (`list[float]`): of channels in 0..1, ImageNet's by default.
        size_divisor (`int`): default 32.
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
    default_to_square = False

    def preprocess(self, images, return_tensors: str = "pt", **kwargs) -> BatchFeature:
        """Images as one batch.

        Args:
            images: one image, a list of images or an array `[N, height, width, 3]`; `uint8` RGB or PIL.
            return_tensors (`str`): "pt" or "np".
            kwargs: `size`, `image_mean`, `image_std` or `size_divisor` for this call; `do_resize=False` leaves the
                images at their sizes.

        Returns:
            `BatchFeature`: `pixel_values [N, 3, height, width]`, float32, and `resized_sizes`, the (height, width) of
                each
            image in it.
        """
        arrays = as_rgb_arrays(images)
        size = kwargs.get("size") or self.size
        is_resized = kwargs.get("do_resize") is not False
        sizes = [self.resized_size(array.shape[:2], size) if is_resized else array.shape[:2] for array in arrays]
        divisor = kwargs.get("size_divisor") or self.size_divisor
        padded = [-(-max(sides) // divisor) * divisor for sides in zip(*sizes, strict=True)]
        mean = FULL * torch.tensor(kwargs.get("image_mean") or self.image_mean).view(3, 1, 1)
        std = FULL * torch.tensor(kwargs.get("image_std") or self.image_std).view(3, 1, 1)
        batch = torch.stack(
            [_pad((_resize(array, to) - mean) / std, padded) for array, to in zip(arrays, sizes, strict=True)]
        )
        pixels = batch.numpy() if return_tensors == "np" else batch
        return BatchFeature({"pixel_values": pixels, "resized_sizes": sizes})

    def resized_size(self, original: tuple[int, int], size: dict[str, int] | None = None) -> tuple[int, int]:
        """Height and width of an image before padding, from those it has.

        Example:

            >>> GLEEImageProcessor().resized_size((720, 1280)), GLEEImageProcessor().resized_size((10000, 50))
            ((750, 1333), (1333, 7))
        """
        size = size or self.size
        scale = size["shortest_edge"] / min(original)
        scale = min(scale, (size.get("longest_edge") or MAX_SIDE) / max(original))
        return tuple(max(int(side * scale + 0.5), 1) for side in original)


def _resize(array: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    height, width = size
    if array.shape[:2] != size:
        array = np.array(Image.fromarray(array).resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(array).permute(2, 0, 1).float()


def _pad(image: torch.Tensor, size: list[int]) -> torch.Tensor:
    return F.pad(image, (0, size[1] - image.shape[2], 0, size[0] - image.shape[1]))


__all__ = ["GLEEImageProcessor"]
