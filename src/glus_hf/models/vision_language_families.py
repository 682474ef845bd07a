"""What differs among the vision-language models of transformers, for one reader of all of them.

Everything else of a backbone is asked of the model itself: whether it has multimodal positions, a cache with windows
or states, marks for images, features for several layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..checkpoint_files.config_bounds import check_whole_numbers
from ..errors import UserError
from ..media.images import check_sides, try_views


Frames = Sequence[np.ndarray]
SIDES = ("size", "crop_size", "max_image_size", "tile_size", "image_grid_pinpoints")
MAX_FRAME_PIXELS = 4096**2


@dataclass(frozen=True)
class VisionLanguageFamily:
    """One row of the table.

    Args:
        pixels: from an image processor, n frames and the most positions a frame may take to the arguments of
            `get_image_features`, with the frames along the first dimension; images are not cut into tiles.
        placeholder: what a chat template writes for an image.
        before, after: what the processor of the model writes around the positions of an image, in its place.
        stacks_features: the model takes the features of several images as one tensor, not as a list.
    """

    pixels: Callable[[object, Frames, int], dict[str, Tensor]]
    placeholder: str = "<image>"
    before: str = ""
    after: str = ""
    stacks_features: bool = False


def _pixels(**options) -> Callable[[object, Frames, int], dict[str, Tensor]]:
    """Images of one size, `[n, 3, height, width]`."""
    return lambda processor, frames, most: {"pixel_values": _process(processor, frames, **options)["pixel_values"]}


def _process(processor, frames: Frames, **options):
    return processor(list(frames), return_tensors="pt", **options)


def _idefics_pixels(processor, frames: Frames, most: int) -> dict[str, Tensor]:
    """`[n, 1, 3, height, width]`: images of one sample would have one list of features."""
    pixels = _process(processor, frames, do_image_splitting=False)["pixel_values"]
    return {"pixel_values": pixels.flatten(0, 1)[:, None]}


def _onevision_pixels(processor, frames: Frames, most: int) -> dict[str, Tensor]:
    """The whole frame without its tiles; `batch_num_images` says that these are several images of one sample."""
    found = _process(processor, frames)
    whole = {"pixel_values": found["pixel_values"][:, :1], "image_sizes": found["image_sizes"]}
    return {**whole, "batch_num_images": torch.tensor([len(frames)])}


def _qwen_pixels(processor, frames: Frames, most: int) -> dict[str, Tensor]:
    """Patches of all frames in a row; a frame is made smaller until it takes `most` positions."""
    side = processor.patch_size * processor.merge_size
    least = min(int(processor.size["shortest_edge"]), most * side**2)
    found = _process(processor, frames, size={"shortest_edge": least, "longest_edge": most * side**2})
    return {name: found[name] for name in ("pixel_values", "image_grid_thw")}


def _lfm_pixels(processor, frames: Frames, most: int) -> dict[str, Tensor]:
    options = {"do_image_splitting": False, "max_image_tokens": most}
    found = _process(processor, frames, min_image_tokens=min(most, processor.min_image_tokens), **options)
    return {name: found[name] for name in ("pixel_values", "spatial_shapes", "pixel_attention_mask")}


_QWEN = VisionLanguageFamily(
    _qwen_pixels, "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|>", "<|vision_end|>"
)
_IDEFICS_MARK = "<fake_token_around_image>"
_IDEFICS = VisionLanguageFamily(_idefics_pixels, "<image>", f"{_IDEFICS_MARK}<global-img>", _IDEFICS_MARK)

VISION_LANGUAGE_FAMILIES = {
    "llava": VisionLanguageFamily(_pixels()),
    "smolvlm": _IDEFICS,
    "idefics3": _IDEFICS,
    "llava_onevision": VisionLanguageFamily(_onevision_pixels),
    "internvl": VisionLanguageFamily(
        _pixels(crop_to_patches=False), "<IMG_CONTEXT>", "<img>", "</img>", stacks_features=True
    ),
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "qwen3_5": _QWEN,
    "gemma3": VisionLanguageFamily(
        _pixels(do_pan_and_scan=False),
        "<start_of_image>",
        "\n\n<start_of_image>",
        "<end_of_image>\n\n",
        stacks_features=True,
    ),
    "lfm2_vl": VisionLanguageFamily(_lfm_pixels, "<image>", "<|image_start|>", "<|image_end|>"),
}
"""By `model_type` of the vision-language model."""


def family_of(model_type: str) -> VisionLanguageFamily:
    """The row of a model.

    Raises:
        UserError: there is none; one line.

    Example:

        >>> family_of("qwen3_vl").before
        '<|vision_start|>'
    """
    if model_type not in VISION_LANGUAGE_FAMILIES:
        known = ", ".join(VISION_LANGUAGE_FAMILIES)
        raise UserError(f"{model_type!r} is no vision-language model that can be read here; use one of {known}")
    return VISION_LANGUAGE_FAMILIES[model_type]


def check_frame_view(model_type: str, image_processor, most: int) -> None:
    """Try an image processor on a small frame, before a video is read.

    Args:
        model_type: of its vision-language model.
        image_processor: what [`VisionLanguageFamily.pixels`] takes.
        most: positions a frame may take.

    Raises:
        UserError: its settings make no images, images that are too large, or not finite; one line.
    """
    family = family_of(model_type)
    if family is _QWEN:  # whose size is a number of pixels, and follows from `most`
        patch, merge = (getattr(image_processor, name, None) for name in ("patch_size", "merge_size"))
        times = getattr(image_processor, "temporal_patch_size", None)
        check_whole_numbers(patch_size=patch, spatial_merge_size=merge, temporal_patch_size=times)
        if most * (patch * merge) ** 2 * times > MAX_FRAME_PIXELS:
            message = f"patches of {patch} x {patch} pixels, {merge} x {merge} of them at each of {most} positions"
            raise UserError(f"a frame of {message}, is larger than {MAX_FRAME_PIXELS} pixels; lower max_frame_tokens")
    else:
        check_sides(image_processor, SIDES)
    try_views(lambda frame: family.pixels(image_processor, [frame], most))


__all__ = ["VISION_LANGUAGE_FAMILIES", "VisionLanguageFamily", "check_frame_view", "family_of"]
