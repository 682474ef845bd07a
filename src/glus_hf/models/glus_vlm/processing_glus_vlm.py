"""Processor of the GLUS recipe on any vision-language model: prompts, both views of a frame, sessions and batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
from transformers import AutoImageProcessor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from ...checkpoint_files.config_bounds import check_whole_numbers
from ...errors import UserError
from ..checkpoint_loading import CheckpointMixin
from ..conversation_batch import pad_conversations
from ..expressions import as_expressions, check_expression, one_line, plain_expression
from ..llama_prompts import IGNORE_INDEX
from ..mask_images import check_statistics, mask_images
from ..processor_parts import ProcessorPartsMixin
from ..recipe_processing import CONTEXT_STRATEGIES, OVERLAPS, SEG_TOKEN, RecipeProcessor, all_have, check_choice
from ..sessions import load_frames
from ..vision_language_families import check_frame_view, family_of
from .inference_glus_vlm import GLUSVLMInferenceSession
from .prompts_glus_vlm import (
    ANSWERS,
    INFERENCE_ANSWER,
    INFERENCE_QUESTION,
    QUESTIONS,
    as_chat_frame,
    read_chat_template,
)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PilImageProcessor:
    """Loads the image processor of any vision-language model, without torchvision where transformers has one."""

    @staticmethod
    def from_pretrained(name_or_path, **kwargs):
        """The image processor of a folder or Hub name.

        Raises:
            ImportError: it needs torchvision (LFM2-VL).
        """
        trusted = bool(kwargs.pop("trust_remote_code", False))  # None would ask on the terminal
        return AutoImageProcessor.from_pretrained(name_or_path, backend="pil", trust_remote_code=trusted, **kwargs)


class GLUSVLMProcessor(CheckpointMixin, RecipeProcessor, ProcessorPartsMixin, ProcessorMixin):
    """Turns videos and referring expressions into what [`GLUSVLMForVideoSegmentation`] reads.

    Args:
        image_processor: of the vision-language model, one without torchvision where there is one.
        tokenizer: of the vision-language model, with `[SEG]` added.
        vlm_type (`str`): `model_type` of the vision-language model.
        image_token (`str`): what stands for a position of an image in its prompts.
        num_context_frames (`int`): frames that stand for the whole video, at the head of every prompt.
        num_query_frames (`int`): frames of the sliding window; the last one is segmented.
        max_frame_tokens (`int`): most positions of a frame, for models that choose it by the size of the image (Qwen
            and LFM2-VL); the others have a fixed number.
        mask_size (`int`): side of the square images of the mask model, in pixels.
        mask_image_mean, mask_image_std (`list[float]`): of its images; ImageNet's by default.
        frame_times (`bool`): write before every frame where in the video it is, as "Frame at 40%: ".
        context_frames (`str`): default strategy of [`~GLUSVLMProcessor.sample_context_frames`].
        max_expression_tokens (`int`): longest accepted expression, in tokens.
        overlap (`str`): what a training target is where several objects of one expression overlap: "union", 1, or
            "sum", their number.
        chat_template (`str`, *optional*): of the vision-language model; by default the tokenizer's.
        chat_frame (`dict[str, str]`, *optional*): what the template writes around images, questions and answers, as
            [`ChatFrame`] has it. It is saved with the processor, and the template is rendered only without it: a
            template is a program, and loading a checkpoint runs none.

    Raises `UserError` when the tokenizer lacks a token, an option has no such choice, or the image processor makes no
    images.

    Example:

        >>> from glus_hf import GLUSVLMProcessor
        >>> processor = GLUSVLMProcessor.from_pretrained("my-model")  # doctest: +SKIP
        >>> session = processor.init_video_session(frames, "The red square.")  # doctest: +SKIP
    """

    _image_processor_class = PilImageProcessor
    questions, answers = QUESTIONS, ANSWERS

    def __init__(
        self,
        image_processor,
        tokenizer,
        vlm_type="smolvlm",
        image_token="<image>",
        num_context_frames=4,
        num_query_frames=4,
        max_frame_tokens=128,
        mask_size=1024,
        mask_image_mean=IMAGENET_MEAN,
        mask_image_std=IMAGENET_STD,
        frame_times=False,
        context_frames="middle",
        max_expression_tokens=256,
        overlap="union",
        chat_template=None,
        chat_frame=None,
        **kwargs,
    ):
        super().__init__(image_processor, tokenizer, chat_template=chat_template, **kwargs)
        check_whole_numbers(
            num_context_frames=num_context_frames,
            num_query_frames=num_query_frames,
            num_image_tokens=max_frame_tokens,
            image_size=mask_size,
            max_expression_tokens=max_expression_tokens,
        )
        check_choice("context_frames", context_frames, CONTEXT_STRATEGIES)
        check_choice("overlap", overlap, OVERLAPS)
        self.vlm_type, self.image_token = vlm_type, image_token
        self.num_context_frames, self.num_query_frames = num_context_frames, num_query_frames
        self.max_frame_tokens, self.frame_times = max_frame_tokens, bool(frame_times)
        self.mask_size = mask_size
        self.mask_image_mean, self.mask_image_std = check_statistics(mask_image_mean, mask_image_std)
        self.context_frames, self.overlap = context_frames, overlap
        self.max_expression_tokens = max_expression_tokens
        family = family_of(vlm_type)
        special = _special_tokens(tokenizer)
        if SEG_TOKEN not in special or image_token not in special:
            raise UserError(f"the tokenizer lacks {SEG_TOKEN} or {image_token}; add it as a special token")
        self._image = f"{family.before}{image_token}{family.after}"
        if chat_frame is None:
            chat_frame = asdict(read_chat_template(tokenizer, chat_template, family.placeholder))
        self._frame = as_chat_frame(chat_frame, (SEG_TOKEN, image_token, family.placeholder))
        self.chat_frame = dict(chat_frame)
        check_frame_view(vlm_type, image_processor, max_frame_tokens)
        opening = tokenizer.encode(family.before, add_special_tokens=False) if family.before else []
        marks = [index for index, token in enumerate(tokenizer.convert_ids_to_tokens(opening)) if token in special]
        self._opening = len(opening) - marks[0] if marks else 0  # ids of a frame before its positions, from a mark on

    @classmethod
    def from_args_and_dict(cls, args, processor_dict: Mapping, **kwargs):
        """As in transformers, but a template is rendered only if the caller passes it.

        Raises:
            UserError: the settings have no `chat_frame`.
        """
        settings = dict(processor_dict)
        if kwargs.get("chat_template") is not None:
            settings.pop("chat_frame", None)
        elif settings.get("chat_frame") is None:
            raise UserError(
                "its processor_config.json has no chat_frame, and templates of checkpoints are not run; pass "
                "chat_template=, as the vision-language model has it, and save the processor again"
            )
        return super().from_args_and_dict(args, settings, **kwargs)

    added_tokens = (SEG_TOKEN,)
    """What the recipe adds to the tokenizer of the language model."""

    @property
    def image_token_id(self) -> int:
        return self.tokenizer.convert_tokens_to_ids(self.image_token)

    # ---- expressions and prompts

    def clean_expression(self, text: str) -> str:
        """An expression as the prompt takes it: one line, no white space at its ends, no full stop, lower case.

        Raises:
            `UserError`: not a `str`, nothing left, a special token inside, or over `max_expression_tokens`.
        """
        count = lambda cleaned: len(self.tokenizer.encode(cleaned, add_special_tokens=False))
        clean = lambda raw: plain_expression(one_line(raw))
        return check_expression(text, clean, _special_tokens(self.tokenizer), count, self.max_expression_tokens)

    def build_conversation(
        self,
        expression: str,
        num_query_frames: int,
        questions: Sequence[int] | None = None,
        answers: Sequence[int] | None = None,
    ) -> str:
        """The whole conversation about one (cleaned) expression, in the words of the model's chat template.

        Args:
            expression (`str`): put in literally; clean it first.
            num_query_frames (`int`): turns; one query frame each.
            questions, answers (`Sequence[int]`, *optional*): per turn, an index into `QUESTIONS` and `ANSWERS`.
                Without them, those of inference.
        """
        questions = [INFERENCE_QUESTION] * num_query_frames if questions is None else questions
        answers = [INFERENCE_ANSWER] * num_query_frames if answers is None else answers
        asked = [QUESTIONS[question].replace("{x}", expression) for question in questions]
        return self._frame.conversation(
            self._image, self.num_context_frames, asked, [ANSWERS[answer] for answer in answers]
        )

    # ---- tokens

    def tokenize(self, conversation: str) -> list[int]:
        """Ids of a conversation, one image position per frame."""
        return self._encode(conversation)["input_ids"]

    def _encode(self, conversation: str):
        has_start = bool(self.tokenizer.bos_token) and conversation.startswith(self.tokenizer.bos_token)
        return self.tokenizer(conversation, add_special_tokens=not has_start, return_offsets_mapping=True)

    def frame_starts(self, ids: Sequence[int]) -> list[int]:
        """Where the frames of a prompt start, marks before their positions included."""
        image = self.image_token_id
        return [index - self._opening for index, token in enumerate(ids) if token == image]

    def time_ids(self, time: float) -> list[int]:
        """What stands before a frame at `time` in 0..1 of its video; nothing without `frame_times`."""
        text = f"Frame at {100 * time:.0f}%: "
        return self.tokenizer.encode(text, add_special_tokens=False) if self.frame_times else []

    def _with_times(self, values: Sequence[int], starts: Sequence[int], times: Sequence[Sequence[int]]) -> list[int]:
        """Values by position, with others put in where frames start."""
        parts, at = [], 0
        for start, time in zip(starts, times, strict=True):
            parts += [*values[at:start], *time]
            at = start
        return [*parts, *values[at:]]

    # ---- views

    def frame_view(self, frames: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Frames as the vision-language model sees them: arguments of its `get_image_features`."""
        return family_of(self.vlm_type).pixels(self.image_processor, list(frames), self.max_frame_tokens)

    def mask_view(self, frames: Sequence[np.ndarray]) -> torch.Tensor:
        """Frames as the mask model sees them, `float32 [n, 3, S, S]`."""
        return mask_images(frames, (self.mask_size, self.mask_size), self.mask_image_mean, self.mask_image_std)

    # ---- inference

    def init_video_session(
        self, video, text: str | Sequence[str], context_frames: str | Sequence[int] | None = None
    ) -> GLUSVLMInferenceSession:
        """A session for one video and one or more expressions.

        Args:
            video: whatever `glus_hf.load_video` takes.
            text (`str` or `Sequence[str]`): the expression(s).
            context_frames (`str` or `Sequence[int]`, *optional*): a strategy of
                [`~GLUSVLMProcessor.sample_context_frames`] or `num_context_frames` indices.

        Raises:
            `UserError`: no expression, one that [`~GLUSVLMProcessor.clean_expression`] refuses, an empty video, frames
                of different sizes, or wrong context indices.
        """
        expressions = [self.clean_expression(expression) for expression in as_expressions(text)]
        frames = load_frames(video)
        context = self._context_indices(len(frames), context_frames)
        times = [self.time_ids(frame_idx / max(len(frames) - 1, 1)) for frame_idx in range(len(frames))]
        splits = [self.split_window(expression) for expression in expressions]
        prefix = splits[0][0]
        starts = self.frame_starts(prefix)
        return GLUSVLMInferenceSession(
            frames=frames,
            texts=expressions,
            processor=self,
            context_frame_indices=context,
            prefix_input_ids=self._with_times(prefix, starts, [times[index] for index in context]),
            turn_input_ids=[turn for _, turn, _ in splits],
            last_turn_input_ids=[last for _, _, last in splits],
            time_input_ids=times,
        )

    def split_window(self, expression: str) -> tuple[list[int], list[int], list[int]]:
        """Ids of (prefix, one earlier turn, last turn) without times: a window of q frames is
        prefix + turn * (q - 1) + last. Cut at marks that the tokenizer never joins with what is before them."""
        ids = self.tokenize(self.build_conversation(expression, 2))
        first, second = self.frame_starts(ids)[-2:]
        end = len(ids) - 1 - ids[::-1].index(self.seg_token_id)
        return ids[:first], ids[first:second], ids[second:end]

    # ---- training

    def __call__(
        self, samples: Sequence[dict], labels: str = "seg", rng: np.random.Generator | None = None
    ) -> BatchFeature:
        """A training batch of B videos.

        Args:
            samples (`Sequence[dict]`): per video, as [`GLUSProcessor`] takes them: `frames`, `expressions` or
                `conversations`, `masks` (*optional*), and with `frame_times` also `frame_times`.
            labels (`str`): "seg" supervises [SEG] only, "answer" the whole answers.
            rng (`np.random.Generator`, *optional*): samples a question and an answer per expression and query frame.
                Without it, the templates of inference.

        Returns:
            `BatchFeature`, with N = number of expressions of all videos:
                * `input_ids`, `attention_mask`, `labels`: `int64 [N, length]`, one image position per frame, right
                  padded; labels are -100 where nothing is asked and not shifted (the model shifts);
                * `frame_pixels`: list of B dicts, arguments of `get_image_features` for context and query frames;
                * `mask_pixel_values`: `float32 [B, query frames, 3, S, S]`;
                * `expressions_per_video`: `int64 [B]`;
                * `mask_labels`: list of B tensors `float32 [E, query frames, height, width]`, if given.

        Raises:
            `UserError`: a sample of the wrong shape, or a refused expression.
        """
        samples = [samples] if isinstance(samples, dict) else list(samples)
        if not samples or labels not in ("seg", "answer"):
            raise UserError("need at least one sample, and labels 'seg' or 'answer'")
        prompts = [self._sample_prompts(sample, rng) for sample in samples]
        rows, targets = [], []
        for sample, conversations in zip(samples, prompts, strict=True):
            for ids, target in (self._training_row(text, sample, labels) for text in conversations):
                rows.append(torch.tensor(ids))
                targets.append(torch.tensor(target))
        batch = pad_conversations(rows, targets, self.pad_token_id)
        batch.update(self._views([sample["frames"] for sample in samples]))
        batch["expressions_per_video"] = torch.tensor([len(video) for video in prompts])
        if all_have(samples, "masks"):
            batch["mask_labels"] = [self._mask_labels(s["masks"], len(p)) for s, p in zip(samples, prompts)]
        return BatchFeature(batch)

    def _training_row(self, conversation: str, sample: dict, labels: str) -> tuple[list[int], list[int]]:
        encoded = self._encode(conversation)
        ids, seg = encoded["input_ids"], self.seg_token_id
        target = [token if token == seg else IGNORE_INDEX for token in ids]
        if labels == "answer":
            target = self._answer_labels(conversation, ids, encoded["offset_mapping"])
        if self.frame_times and sample.get("frame_times") is None:
            raise UserError("a processor with frame_times needs samples with frame_times")
        starts = self.frame_starts(ids)
        times = [self.time_ids(time) for time in (sample["frame_times"] if self.frame_times else [0] * len(starts))]
        ignored = [[IGNORE_INDEX] * len(time) for time in times]
        return self._with_times(ids, starts, times), self._with_times(target, starts, ignored)

    def _answer_labels(self, conversation: str, ids: list[int], offsets: Sequence[tuple[int, int]]) -> list[int]:
        """Every token of an answer, and the token that ends it."""
        labels, at = [IGNORE_INDEX] * len(ids), 0
        while (begin := conversation.find(self._frame.middle, at)) >= 0:
            begin += len(self._frame.middle)
            at = conversation.index(self._frame.between, begin)
            inside = [
                index for index, (start, end) in enumerate(offsets) if begin <= start and start <= at and end > start
            ]
            for index in inside:
                labels[index] = ids[index]
        return labels

    def _views(self, videos: list[Sequence]) -> dict:
        """Both views of B videos; the mask model never sees a context frame."""
        count = self.num_context_frames + self.num_query_frames
        for frames in videos:
            if len(frames) != count:
                raise UserError(f"a sample needs {count} frames (context, then query), got {len(frames)}")
        queries = [frames[self.num_context_frames :] for frames in videos]
        return {
            "frame_pixels": [self.frame_view(frames) for frames in videos],
            "mask_pixel_values": torch.stack([self.mask_view(frames) for frames in queries]),
        }


def _special_tokens(tokenizer) -> set[str]:
    """Tokens that are never part of a text."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)


__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "GLUSVLMProcessor", "PilImageProcessor"]
