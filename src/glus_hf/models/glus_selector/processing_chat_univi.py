"""Processor of Chat-UniVi: prompts with `<image>` to ids, as the slow Llama tokenizer of 2023 gave them, and images to
CLIP's view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from ...checkpoint_files.config_bounds import check_numbers, check_whole_numbers
from ...errors import UserError
from ...media.images import as_rgb_arrays, check_views, clip_view
from ..checkpoint_loading import CheckpointMixin
from ..expressions import as_expressions
from ..llama_prompts import BOS_TOKEN, EOS_TOKEN, IMAGE_TOKEN, SPECIAL_TOKENS, tokenize_prompt
from ..processor_parts import ProcessorPartsMixin
from .configuration_chat_univi import LONGEST_RUN_OF_IMAGES, num_clusters


class ChatUniViProcessor(CheckpointMixin, ProcessorPartsMixin, ProcessorMixin):
    """Turns prompts and images into what [`ChatUniViForConditionalGeneration`] reads.

    Args:
        image_processor (`CLIPImageProcessorPil`): makes CLIP's view of an image.
        tokenizer: a fast tokenizer that knows `<s>` and `</s>`.
        num_image_tokens (`int`): positions that an image takes in the language model.
        image_token_id (`int`): id written at those positions. A sentinel, not a row of the vocabulary.
        temporal_cluster_rate (`float`, *optional*): events per frame of a video, rounded up; each takes the positions
            of an image. `None` for a model that does not merge tokens: its videos take those of an image and one more
            per frame.
        legacy (`bool`): how text behind an added token is encoded: with a blank in front of it (`True`) or without.
            It is the flag of that name in the tokenizer_config.json of a released checkpoint.

    Raises `ValueError` when the tokenizer lacks a token.
    """

    _image_processor_class = CLIPImageProcessorPil

    def __init__(
        self,
        image_processor,
        tokenizer,
        num_image_tokens=112,
        image_token_id=-200,
        temporal_cluster_rate=1 / 16,
        legacy=True,
        **kwargs,
    ):
        super().__init__(image_processor, tokenizer, **kwargs)
        check_views(image_processor)
        check_whole_numbers(num_image_tokens=num_image_tokens, image_token_id=image_token_id)
        check_numbers({"temporal_cluster_rate": temporal_cluster_rate}, "the processor's settings")
        vocabulary = tokenizer.get_vocab()
        missing = [token for token in self._needed_tokens() if token not in vocabulary]
        if missing:
            raise UserError(f"the tokenizer lacks {', '.join(missing)}; add them with tokenizer.add_tokens")
        self.num_image_tokens = num_image_tokens
        self.image_token_id = image_token_id
        self.temporal_cluster_rate = temporal_cluster_rate
        self.legacy = legacy

    def _needed_tokens(self) -> tuple[str, ...]:
        return BOS_TOKEN, EOS_TOKEN

    @property
    def pad_token_id(self) -> int:
        return self.tokenizer.pad_token_id or 0

    def clip_view(self, images) -> torch.Tensor:
        """CLIP's view of N images, `float32 [N, 3, crop, crop]`. The ends of a wide image are cut off."""
        return clip_view(self.image_processor, images)

    # ---- tokens

    def tokenize(self, prompt: str, add_bos: bool = True) -> list[int]:
        """Ids of a prompt, one `image_token_id` per `<image>`.

        The prompt is cut at `<image>`, and the chunks, each encoded alone, at `<s>`, `</s>` and added tokens such as
        `[SCORE]`. White space (newlines too) next to an added token is dropped, next to `<s>` and `</s>` kept. Every
        piece of text is encoded alone, with its own dummy prefix "▁"; without `legacy`, pieces behind a token of
        their chunk have it only if they start with a space. Text is never searched for special tokens.

        Args:
            prompt (`str`): whatever it says, it is not checked.
            add_bos (`bool`): put `<s>` first.
        """
        added = self._added_tokens()
        return tokenize_prompt(self.tokenizer, prompt, self.image_token_id, added, self.legacy, add_bos)

    def _added_tokens(self) -> list[str]:
        return [token for token in self.tokenizer.get_added_vocab() if token not in SPECIAL_TOKENS]

    def expand_image_tokens(self, ids: Sequence[int], group_runs: bool = False) -> list[int]:
        """Every `image_token_id` of `ids` repeated: one id per position of the model.

        Args:
            ids (`Sequence[int]`): of [`~ChatUniViProcessor.tokenize`].
            group_runs (`bool`): more than two adjacent images are a video, which takes fewer positions.
        """
        expanded = []
        for run, is_image in _runs(ids, self.image_token_id):
            if not is_image:
                expanded += run
            elif group_runs and len(run) > LONGEST_RUN_OF_IMAGES:
                expanded += [self.image_token_id] * self._num_video_tokens(len(run))
            else:
                expanded += [self.image_token_id] * (len(run) * self.num_image_tokens)
        return expanded

    def _num_video_tokens(self, num_frames: int) -> int:
        if self.temporal_cluster_rate is None:
            return self.num_image_tokens + num_frames
        return self.num_image_tokens * num_clusters(self.temporal_cluster_rate, num_frames)

    # ---- inputs of the model

    def __call__(self, text: str | Sequence[str], images=None, group_runs: bool = True) -> BatchFeature:
        """Inputs of a batch of prompts.

        Args:
            text (`str` or `Sequence[str]`): prompts with `<image>` where an image stands. In the released model's
                style: a system prompt, then " USER: ", the question, " ASSISTANT:".
            images: the images of all prompts in their order, `uint8 [height, width, 3]` arrays or PIL images.
            group_runs (`bool`): more than two adjacent `<image>` are the frames of a video, as in the original code.

        Returns:
            `BatchFeature`: `input_ids` and `attention_mask` `int64 [batch, length]`, images expanded, padded at the
            side of the tokenizer; with images `pixel_values` `float32 [images, 3, crop, crop]` and
            `frames_per_group` `int64 [groups]`.

        Raises:
            `ValueError`: no prompt, or not one image per `<image>`.
        """
        prompts = as_expressions(text, "prompt")
        images = [] if images is None else as_rgb_arrays(images)
        rows = [self.tokenize(prompt) for prompt in prompts]
        wanted = sum(row.count(self.image_token_id) for row in rows)
        if wanted != len(images):
            raise UserError(
                f"the prompts have {wanted} {IMAGE_TOKEN}, but there are {len(images)} images; pass as many"
            )
        batch = self._pad([self.expand_image_tokens(row, group_runs) for row in rows])
        if images:
            batch["pixel_values"] = self.clip_view(images)
            batch["frames_per_group"] = torch.tensor(
                [count for row in rows for count in self._frames_per_group(row, group_runs)]
            )
        return BatchFeature(batch)

    def _frames_per_group(self, ids: Sequence[int], group_runs: bool) -> list[int]:
        runs = [len(run) for run, is_image in _runs(ids, self.image_token_id) if is_image]
        return runs if group_runs else [1] * sum(runs)

    def _pad(self, rows: list[list[int]]) -> dict[str, torch.Tensor]:
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self.pad_token_id)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            places = slice(length - len(row), None) if self.tokenizer.padding_side == "left" else slice(len(row))
            ids[index, places] = torch.tensor(row)
            mask[index, places] = 1
        return {"input_ids": ids, "attention_mask": mask}


def _runs(ids: Sequence[int], image_token_id: int) -> list[tuple[list[int], bool]]:
    """Ids cut into runs of image ids and of others, in order."""
    runs: list[tuple[list[int], bool]] = []
    for token in ids:
        is_image = token == image_token_id
        if runs and runs[-1][1] == is_image:
            runs[-1][0].append(token)
        else:
            runs.append(([token], is_image))
    return runs


__all__ = ["ChatUniViProcessor"]
