"""Any vision-language model of transformers as a reader of frames and words: images once, beginnings once, then many
windows behind them.

Prompts have one `image_token_id` for every frame; the reader makes as many positions of it as the frame's features
take. Places in a prompt are counted before that.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..errors import UserError
from .prefix_cache import CACHE
from .vision_language_families import family_of


@dataclass
class FrameFeatures:
    """What the language model reads of a frame.

    Args:
        tokens (`[positions, hidden]`): in the place of the image.
        deep: the same for some of its layers (Qwen3-VL), `[positions, hidden]` each.
        grid: time, height and width in patches, for multimodal positions.
    """

    tokens: Tensor
    deep: tuple[Tensor, ...] = ()
    grid: tuple[int, ...] | None = None


@dataclass
class CachedPrefix:
    """Beginnings of prompts, read: m of one length.

    Args:
        cache: of transformers.
        length: positions of each.
        next_position: of what comes next.
        is_image (`[m, length]`): where its images are.
        rows (`[n]`, *optional*): which beginning each of n prompts has; by default every prompt the only one.
    """

    cache: DynamicCache
    length: int
    next_position: int
    is_image: Tensor
    rows: Tensor | None = None

    def select(self, rows: Sequence[int]) -> CachedPrefix:
        """The same beginnings for other prompts; nothing is copied yet."""
        return replace(self, rows=torch.tensor(rows, device=self.is_image.device))

    def cache_for(self, count: int) -> DynamicCache:
        """A cache for `count` prompts, which may grow."""
        rows = torch.zeros(count, dtype=torch.long, device=self.is_image.device) if self.rows is None else self.rows
        return repeat_cache(self.cache, rows)


class VisionLanguageReader:
    """Drives a vision-language model at its public seams; keeps nothing, so it can be made anew at any time.

    Args:
        model: for image-text-to-text, one of [`VISION_LANGUAGE_FAMILIES`].

    Example:

        >>> reader = VisionLanguageReader(model)  # doctest: +SKIP
        >>> frames = reader.encode_frames(pixels)  # doctest: +SKIP
        >>> prefix = reader.read_prefix([1, reader.image_token_id], frames[:1])  # doctest: +SKIP
        >>> reader.read_windows(prefix, [[reader.image_token_id, 5]], [frames[1:]], [[1]]).shape  # doctest: +SKIP
        torch.Size([1, 1, 2048])
    """

    def __init__(self, model: nn.Module):
        self.model, self.body = model, model.model
        self.family = family_of(model.config.model_type)
        self.image_token_id = model.config.image_token_id
        arguments = inspect.signature(self.body.forward).parameters
        if "mm_encoder_outputs" not in arguments:
            raise UserError("reading frames that are encoded already needs transformers 5.23 or newer; update it")
        self.marks_images = "token_type_ids" in arguments

    # encode -----------------------------------------------------------------------------------------------------

    def encode_frames(self, pixels: Mapping[str, Tensor]) -> list[FrameFeatures]:
        """Features of n frames, each as if it were alone.

        Args:
            pixels: arguments of `get_image_features`; see [`VisionLanguageFamily`].
        """
        pixels, is_alone = _as_several(pixels)
        pixels = {name: self._to_model(values) for name, values in pixels.items()}
        output = self.body.get_image_features(**pixels, return_dict=True)
        rows = list(output.pooler_output)[: 1 if is_alone else None]
        deep = getattr(output, "deepstack_features", None) or ()
        grids = [None] * len(rows) if "image_grid_thw" not in pixels else pixels["image_grid_thw"].tolist()
        return [
            FrameFeatures(tokens, tuple(layer[index] for layer in deep), grid and tuple(grid))
            for index, (tokens, grid) in enumerate(zip(rows, grids, strict=True))
        ]

    def _to_model(self, values: Tensor) -> Tensor:
        return values.to(self.model.device, self.model.dtype if values.is_floating_point() else None)

    # prompts ----------------------------------------------------------------------------------------------------

    def expand(self, ids: Sequence[int], frames: Sequence[FrameFeatures]) -> list[int]:
        """Ids with as many positions for every image as its frame takes.

        Raises:
            ValueError: not one frame for every image.
        """
        sizes = self._sizes(ids, frames)
        return [token for token, size in zip(ids, sizes, strict=True) for _ in range(size)]

    def expanded_places(self, ids: Sequence[int], frames: Sequence[FrameFeatures], places: Sequence[int]) -> list[int]:
        """Where places of `ids` are after `expand`; of an image its last position."""
        ends = torch.tensor(self._sizes(ids, frames)).cumsum(0) - 1
        return ends[list(places)].tolist()

    def _sizes(self, ids: Sequence[int], frames: Sequence[FrameFeatures]) -> list[int]:
        found = sum(token == self.image_token_id for token in ids)
        if found != len(frames):
            raise ValueError(f"The prompt has {found} images but there are {len(frames)} frames.")
        lengths = iter([len(frame.tokens) for frame in frames])
        return [next(lengths) if token == self.image_token_id else 1 for token in ids]

    # read -------------------------------------------------------------------------------------------------------

    def read_states(self, input_ids: Tensor, attention_mask: Tensor, frames: Sequence[FrameFeatures]) -> Tensor:
        """Last states of right-padded prompts with gradients, `[n, length, hidden]`; frames row by row."""
        return self._read(input_ids, attention_mask, frames)

    @torch.no_grad()
    def read_prefix(self, ids: list[int], frames: Sequence[FrameFeatures]) -> CachedPrefix:
        """Read what all windows begin with."""
        row = torch.tensor([self.expand(ids, frames)], device=self.model.device)
        cache = DynamicCache(config=self.model.config.get_text_config())
        self._read(row, torch.ones_like(row), frames, cache=cache)
        positions = self._positions(row, torch.ones_like(row), frames)
        return CachedPrefix(cache, row.shape[1], int(positions.max()) + 1, row == self.image_token_id)

    @torch.no_grad()
    def read_leads(self, prefix: CachedPrefix, ids: list[int], frames: Sequence[FrameFeatures]) -> CachedPrefix:
        """Read ids with one image behind a prefix, for n frames of one size: n longer beginnings."""
        rows = torch.tensor([self.expand(ids, [frame]) for frame in frames], device=self.model.device)
        cache = prefix.cache_for(len(rows))
        mask = torch.ones_like(rows)
        self._read(rows, mask, frames, cache, prefix)
        is_image = torch.cat([prefix.is_image.expand(len(rows), -1), rows == self.image_token_id], dim=1)
        moved = int(self._positions(rows, mask, frames).max()) + 1
        return CachedPrefix(cache, prefix.length + rows.shape[1], prefix.next_position + moved, is_image)

    @torch.no_grad()
    def read_windows(
        self,
        prefix: CachedPrefix,
        ids: Sequence[list[int]],
        frames: Sequence[Sequence[FrameFeatures]],
        places: Sequence[Sequence[int]],
    ) -> Tensor:
        """Last states of n prompts behind a prefix, at k places each: `[n, k, hidden]`. The prefix stays as it is."""
        rows = [torch.tensor(self.expand(*pair)) for pair in zip(ids, frames, strict=True)]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.model.device)
        lengths = torch.tensor([len(row) for row in rows], device=padded.device)
        mask = (torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]).long()
        flat = [frame for window in frames for frame in window]
        states = self._read(padded, mask, flat, prefix.cache_for(len(rows)), prefix)
        at = [self.expanded_places(*each) for each in zip(ids, frames, places, strict=True)]
        return states[torch.arange(len(rows), device=states.device)[:, None], torch.tensor(at, device=states.device)]

    def _read(
        self,
        ids: Tensor,
        mask: Tensor,
        frames: Sequence[FrameFeatures],
        cache: DynamicCache | None = None,
        prefix: CachedPrefix | None = None,
    ) -> Tensor:
        positions = self._positions(ids, mask, frames)
        options = {}
        if frames:
            options["mm_encoder_outputs"] = {"image": self._pack(frames)}
        if cache is not None:
            options[CACHE] = cache
        is_image = ids == self.image_token_id
        if prefix is not None:
            positions = positions + prefix.next_position
            mask = torch.cat([mask.new_ones(len(mask), prefix.length), mask], dim=1)
            before = prefix.is_image if prefix.rows is None else prefix.is_image[prefix.rows]
            is_image = torch.cat([before.expand(len(ids), -1), is_image], dim=1)
        if self.marks_images:  # of prefix and prompts: transformers pads marks on the right, Gemma 3's images would
            options["token_type_ids"] = is_image.long()  # not see themselves behind a cache
        return self.body(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=cache is not None, **options
        ).last_hidden_state

    def _positions(self, ids: Tensor, mask: Tensor, frames: Sequence[FrameFeatures]) -> Tensor:
        """Positions of prompts alone, from 0: `[n, length]`, of models with multimodal ones `[3, n, length]`."""
        if not hasattr(self.body, "get_rope_index"):
            return torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
        grids = torch.tensor([frame.grid for frame in frames], device=ids.device) if frames else None
        kinds = (ids == self.image_token_id).int()
        return self.body.get_rope_index(ids, kinds, image_grid_thw=grids, attention_mask=mask)[0]

    def _pack(self, frames: Sequence[FrameFeatures]) -> BaseModelOutputWithPooling:
        """Features of these frames as `get_image_features` would have given them."""
        tokens = [frame.tokens for frame in frames]
        output = BaseModelOutputWithPooling()
        if frames[0].deep:
            from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

            output = BaseModelOutputWithDeepstackFeatures()
            output.deepstack_features = [list(layer) for layer in zip(*(frame.deep for frame in frames), strict=True)]
        output.pooler_output = torch.stack(tokens) if self.family.stacks_features else tokens
        return output


def _as_several(pixels: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """LLaVA-OneVision would cut a single image into tiles: it is given twice."""
    counts = pixels.get("batch_num_images")
    if counts is None or int(counts.sum()) > 1:
        return dict(pixels), False
    return {
        name: torch.tensor([2]) if values is counts else values.repeat_interleave(2, 0)
        for name, values in pixels.items()
    }, True


def repeat_cache(cache: DynamicCache, rows: Tensor) -> DynamicCache:
    """A copy of a cache with these rows of it.

    In this way for every kind of layer: windows and recurrent states have no keys to be expanded.
    """
    cache = copy.deepcopy(cache)
    cache.reorder_cache(rows)
    return cache


__all__ = ["CachedPrefix", "FrameFeatures", "VisionLanguageReader", "repeat_cache"]
