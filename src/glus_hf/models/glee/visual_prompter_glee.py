"""The visual prompter of GLEE: a mask, box, scribble or point says which object is meant.

It is read twice. *Crop tokens* are the features of a square around the prompt; early fusion reads them beside the
words. *Fine tokens* are the encoded features at points of the prompt; the decoder's queries see them beside each
other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .configuration_glee import GLEEConfig
from .draws_glee import GLEEDraws
from .float32_glee import Float32Module


KINDS = ("mask", "box", "point", "scribble")
MARKED = ("point", "scribble")  # too thin to be seen by their place alone: they are added to the pixels
NUM_CROP_MAPS = 3  # the coarsest of the backbone
INDICATORS = 2  # of objects that are meant, and of such that are not, which are not used


@dataclass
class VisualPrompt:
    """What the model has read of a prompt.

    Args:
        crop (`FloatTensor [images, n, dim]`): tokens for early fusion; None to leave them out.
        fine (`list[FloatTensor [images, k, dim]]`): tokens for the decoder, one list entry per level; None to leave
            them out.
        padding (`BoolTensor [images, k]`): True where `fine` is no token.
    """

    crop: Tensor | None
    fine: list[Tensor] | None
    padding: Tensor | None

    def expand(self, count: int) -> VisualPrompt:
        """The prompt of one image for several."""
        wide = lambda tensor: None if tensor is None else tensor.expand(count, *tensor.shape[1:])
        fine = None if self.fine is None else [wide(level) for level in self.fine]
        return VisualPrompt(wide(self.crop), fine, wide(self.padding))

    def select(self, indices: Tensor) -> VisualPrompt:
        """Prompts by index, also several times."""
        take = lambda tensor: None if tensor is None else tensor[indices]
        fine = None if self.fine is None else [take(level) for level in self.fine]
        return VisualPrompt(take(self.crop), fine, take(self.padding))

    def __len__(self) -> int:
        return len(self.padding)

    def beside(self, other: VisualPrompt) -> VisualPrompt:
        """The tokens of both, for the same images."""
        crop = None if self.crop is None else torch.cat([self.crop, other.crop], 1)
        fine = [torch.cat(pair, 1) for pair in zip(self.fine, other.fine, strict=True)]
        return VisualPrompt(crop, fine, torch.cat([self.padding, other.padding], 1))

    @classmethod
    def stack(cls, prompts: Sequence[VisualPrompt]) -> VisualPrompt:
        """Prompts of several images or objects as one batch; all must have equally many crop tokens."""
        missing = [max(len(each.padding[0]) for each in prompts) - len(each.padding[0]) for each in prompts]
        levels = zip(*(prompt.fine for prompt in prompts), strict=True)
        wide = [[F.pad(each, (0, 0, 0, n)) for each, n in zip(level, missing, strict=True)] for level in levels]
        padding = [F.pad(each.padding, (0, n), value=True) for each, n in zip(prompts, missing, strict=True)]
        crop = None if prompts[0].crop is None else torch.cat([prompt.crop for prompt in prompts])
        return cls(crop, [torch.cat(level) for level in wide], torch.cat(padding))

    @property
    def num_crop_tokens(self) -> int:
        return 0 if self.crop is None else self.crop.shape[1]

    def without_crop(self) -> VisualPrompt:
        return replace(self, crop=None)


class GLEEVisualPrompter(Float32Module):
    """Masks -> crop tokens and fine tokens."""

    def __init__(self, config: GLEEConfig, channels: list[int]):
        super().__init__()
        dim = config.d_model
        self.crop_size, self.crop_factor = config.prompt_crop_size, config.prompt_crop_factor
        self.num_points, self.features = config.prompt_num_points, config.prompt_features
        crop_channels = channels[-NUM_CROP_MAPS:] if config.visual_prompter == "full" else []
        self.crop_projections = nn.ModuleList(nn.Conv2d(count, dim, 3, padding=1) for count in crop_channels)
        self.level_projections = nn.ModuleList(
            nn.Linear(dim, dim, bias=False) for _ in range(config.num_feature_levels)
        )
        self.indicator = nn.Embedding(INDICATORS, dim)

    # ---- crops

    def cut(self, pixel_values: Tensor, masks: Tensor, kinds: Sequence[str]) -> Tensor:
        """Squares around the prompts, `[images, 3, size, size]`, of images `[images, 3, height, width]` and masks
        `[images, height, width]` of bool."""
        crops = []
        for image, mask, kind in zip(pixel_values, masks, kinds, strict=True):
            if kind in MARKED:
                image = image + mask.to(image)
            rows, columns = crop_area(mask, self.crop_factor)
            part = image[None, :, rows, columns]
            crops.append(F.interpolate(part, (self.crop_size,) * 2, mode="bilinear", align_corners=False))
        return torch.cat(crops)

    def join_maps(self, maps: list[Tensor]) -> Tensor:
        """Crop tokens `[images, n, dim]`, from the backbone's maps of crops: the coarser are enlarged and added to the
        finest of the last three."""
        finest, *coarser = (
            project(values.float())
            for project, values in zip(self.crop_projections, maps[-NUM_CROP_MAPS:], strict=True)
        )
        for values in coarser:
            finest = finest + enlarge(values, finest.shape[-1] // values.shape[-1])
        return finest.flatten(2).transpose(1, 2)

    # ---- points

    def choose_points(self, masks: Tensor, draws: GLEEDraws | None = None) -> tuple[Tensor, Tensor]:
        """Up to `num_points` pixels of each mask, as x and y `[images, k, 2]` in 0..1, and which of them are none
        `[images, k]`.

        Args:
            masks: `[images, height, width]` of bool.
            draws: "prompt_order.<image>", by which pixels are chosen at random, as in the release; without, they are
                spread evenly over the pixels in reading order.
        """
        size = masks.new_tensor(masks.shape[-1:-3:-1], dtype=torch.float32)
        found = []
        for image, mask in enumerate(masks):
            pixels = mask.nonzero().flip(1)
            if len(pixels) > self.num_points:
                pixels = pixels[self._choose(len(pixels), image, pixels.device, draws)]
            found.append(pixels / size)
        points = nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=-1.0)
        return points, points[..., 0] < 0

    def _choose(self, count: int, image: int, device, draws: GLEEDraws | None) -> Tensor:
        if draws is None:
            return torch.arange(self.num_points, device=device) * count // self.num_points
        order = draws.uniform(f"prompt_order.{image}", (count,), device).argsort()
        return order[: self.num_points]

    def sample(self, encoded: list[Tensor], mask_features: Tensor, points: Tensor) -> list[Tensor]:
        """Fine tokens `[images, k, dim]` of each level at points `[images, k, 2]`.

        Args:
            encoded: levels of the encoder, finest first, `[images, dim, height, width]`.
            mask_features: `[images, dim, height / 4, width / 4]`; read instead with `prompt_features="pixel"`.
            points: x and y, 0..1.
        """
        maps = encoded if self.features == "encoder" else [mask_features] * len(encoded)
        grid = (2 * points - 1)[:, :, None]
        return [
            project(F.grid_sample(values, grid, align_corners=True)[..., 0].transpose(1, 2)) + self.indicator.weight[0]
            for project, values in zip(self.level_projections, maps, strict=True)
        ]


def crop_area(mask: Tensor, factor: float) -> tuple[slice, slice]:
    """Rows and columns of a square around a mask `[height, width]`, whose side is `factor` times the root of the area
    of its box. As in the release, it ends at the image, and starts where it would without an end.

    Example:

        >>> mask = torch.zeros(100, 100, dtype=torch.bool)
        >>> mask[20:41, 30:71] = True
        >>> crop_area(mask, 2)
        (slice(2, 59, None), slice(22, 79, None))
    """
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if len(rows) == 0:
        return slice(None), slice(None)
    (top, bottom), (left, right) = ((int(at[0]), int(at[-1])) for at in (rows, columns))
    side = math.ceil(factor * math.sqrt((bottom - top) * (right - left)))
    starts = [round((first + last) / 2 - side / 2) for first, last in ((top, bottom), (left, right))]
    found = tuple(slice(max(start, 0), start + side) for start in starts)
    is_empty = any(part.stop <= part.start for part in found)
    return (slice(None), slice(None)) if is_empty else found


def enlarge(values: Tensor, factor: int) -> Tensor:
    """Maps `[images, dim, height, width]` `factor` times as large, linear between old cells, each of which lies on the
    middle of its new ones.

    Example:

        >>> enlarge(torch.tensor([[[[0.0, 2.0]]]]), 2)[0, 0, 0].tolist()
        [0.0, 0.0, 1.0, 2.0]
    """
    for axis in (2, 3):
        length = values.shape[axis]
        places = (torch.arange(factor * length, device=values.device) - factor // 2).clamp(min=0) / factor
        before = places.floor().long()
        share = (places - before).view([-1, 1] if axis == 2 else [-1])
        after = (before + 1).clamp(max=length - 1)
        values = values.index_select(axis, before) * (1 - share) + values.index_select(axis, after) * share
    return values


__all__ = ["GLEEVisualPrompter", "VisualPrompt"]
