"""Processor of the key-frame selector: its prompt, its context frames, sessions and training batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature

from ...checkpoint_files.config_bounds import check_whole_numbers
from ...errors import UserError
from ..conversation_batch import pad_conversations
from ..expressions import as_expressions, check_expression, sample_templates
from ..llama_prompts import (
    BOS_TOKEN,
    EOS_TOKEN,
    IGNORE_INDEX,
    IMAGE_TOKEN,
    SPECIAL_TOKENS,
    SYSTEM_PROMPT,
    encode_piece,
)
from ..sessions import load_frames
from .inference_glus_selector import GLUSSelectorSession
from .processing_chat_univi import ChatUniViProcessor


SCORE_TOKEN = "[SCORE]"

# The words of the original code, spelling included.
QUESTIONS = (
    "Does the Target Image provide enough information for localizing and segmenting the {x} in the Reference Video? "
    "Please respond with a confidence score.",
    "Does the Target Image provide enough information for localizing and segmenting the {x} in the Reference Video? "
    "Please output confidence score.",
)
QUESTIONS_ABOUT_QUESTIONS = (  # for an expression that ends with "?"
    "Please decide whether the Target Image provide enough information for localizing and segmenting the {x} in the "
    "Reference Video.",
)
ANSWERS = (
    "It is [SCORE].",
    "Sure, [SCORE].",
    "Sure, it is [SCORE].",
    "Sure, the prediction result is [SCORE].",
)
ROLE_OF_ANSWER = " ASSISTANT: "
CONTEXT_STRATEGIES = ("upstream", "paper")


class GLUSSelectorProcessor(ChatUniViProcessor):
    """Turns videos and referring expressions into what [`GLUSSelector`] reads.

    Args:
        image_processor (`CLIPImageProcessorPil`): makes CLIP's view of a frame.
        tokenizer: a fast tokenizer that knows `<s>`, `</s>` and `[SCORE]`.
        context_frames (`str`): default strategy of [`~GLUSSelectorProcessor.sample_context_frames`].
        max_images (`int`): most images in a prompt of the strategy "upstream", the target frame among them.
        num_context_frames (`int`): context frames of the strategy "paper".
        max_expression_tokens (`int`): longest accepted expression, in tokens.
        kwargs: as for [`ChatUniViProcessor`].

    Raises `UserError` when the tokenizer lacks a token, or there is no such strategy.

    Example:

        >>> session = processor.init_video_session(frames, "The red square")
        >>> session.texts, session.context_frame_indices(3)
        (['the red square'], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """

    def __init__(
        self,
        image_processor,
        tokenizer,
        num_image_tokens=112,
        image_token_id=-200,
        temporal_cluster_rate=1 / 16,
        legacy=True,
        context_frames="upstream",
        max_images=12,
        num_context_frames=8,
        max_expression_tokens=256,
        **kwargs,
    ):
        super().__init__(
            image_processor, tokenizer, num_image_tokens, image_token_id, temporal_cluster_rate, legacy, **kwargs
        )
        _check_strategy(context_frames)
        check_whole_numbers(
            max_images=max_images, num_context_frames=num_context_frames, max_expression_tokens=max_expression_tokens
        )
        if num_context_frames < 1:
            raise UserError(f"num_context_frames is {num_context_frames}; it must be at least 1")
        self.context_frames = context_frames
        self.max_images = max_images
        self.num_context_frames = num_context_frames
        self.max_expression_tokens = max_expression_tokens

    def _needed_tokens(self) -> tuple[str, ...]:
        return BOS_TOKEN, EOS_TOKEN, SCORE_TOKEN

    @property
    def score_token_id(self) -> int:
        return self.tokenizer.convert_tokens_to_ids(SCORE_TOKEN)

    # ---- expressions and prompts

    def clean_expression(self, text: str) -> str:
        """An expression as the prompt of inference takes it: one line, single spaces, lower case. Its last full stop
        stays, unlike in GLUS.

        Raises:
            `UserError`: not a `str`, nothing left, a protocol token inside, or over `max_expression_tokens`.

        Example:

            >>> processor.clean_expression(" The cat\\n on the left. ")
            'the cat on the left.'
        """
        return " ".join(self._checked_expression(text).lower().split())

    def _checked_expression(self, text: str) -> str:
        """The expression without blanks around it, as training takes it."""
        protocol_tokens = (IMAGE_TOKEN, *SPECIAL_TOKENS, *self._added_tokens())
        count = lambda cleaned: len(encode_piece(self.tokenizer, cleaned))
        return check_expression(text, lambda raw: raw.strip(), protocol_tokens, count, self.max_expression_tokens)

    def build_conversation(self, expression: str, num_context: int, question: int = 0, answer: int = 0) -> str:
        """The whole prompt about one (cleaned) expression with its answer ("llava_v1" style).

        Args:
            expression (`str`): put in literally; clean it first.
            num_context (`int`): context frames, at least 1.
            question (`int`): index into `QUESTIONS` (0 or 1), or for an expression that ends with "?" into
                `QUESTIONS_ABOUT_QUESTIONS` (0).
            answer (`int`): index into `ANSWERS` (0..3).

        Raises:
            `UserError`: no context frames, or no such question or answer.

        Example:

            >>> processor.build_conversation("cat", 2)[157:242]
            'USER: Reference Video: (0)<image>, (1)<image> \\nTarget Image: <image> \\nDoes the Target'
        """
        questions = _questions(expression)
        if num_context < 1 or not (0 <= question < len(questions) and 0 <= answer < len(ANSWERS)):
            raise UserError(
                f"no prompt with {num_context} context frames, question {question} and answer {answer}; there are "
                f"{len(questions)} questions and {len(ANSWERS)} answers"
            )
        context = ", ".join(f"({index}){IMAGE_TOKEN}" for index in range(num_context))
        asked = questions[question].replace("{x}", expression)
        return (
            f"{SYSTEM_PROMPT} USER: Reference Video: {context} \nTarget Image: {IMAGE_TOKEN} \n{asked}"
            f"{ROLE_OF_ANSWER}{ANSWERS[answer]}{EOS_TOKEN}"
        )

    # ---- context frames

    def sample_context_frames(self, num_frames: int, frame: int = 0, strategy: str | None = None) -> list[int]:
        """Indices of the context frames that a target frame is scored with, ascending.

        Args:
            num_frames (`int`): frames of the video.
            frame (`int`): the target frame.
            strategy (`str`, *optional*): default `context_frames`. "upstream": every `ceil(T / (max_images - 1))`th
                frame, so that the target is one of them; all frames of a short video. "paper": the middles of
                `num_context_frames` equal parts, the same for every target; all frames of a shorter video.

        Raises:
            `UserError`: no such frame or strategy.

        Example:

            >>> processor.sample_context_frames(23, frame=4)
            [1, 4, 7, 10, 13, 16, 19, 22]
            >>> processor.sample_context_frames(23, strategy="paper")
            [1, 4, 7, 10, 12, 15, 18, 21]
        """
        strategy = _check_strategy(strategy or self.context_frames)
        if not 0 <= frame < num_frames:
            raise UserError(f"there is no frame {frame} among {num_frames}")
        if strategy == "upstream":
            step = -(-num_frames // (self.max_images - 1))
            return list(range(frame % step, num_frames, step))
        if num_frames <= self.num_context_frames:
            return list(range(num_frames))
        return [
            (2 * part + 1) * num_frames // (2 * self.num_context_frames) for part in range(self.num_context_frames)
        ]

    # ---- inference

    def init_video_session(
        self, video, text: str | Sequence[str], context_frames: str | Sequence[int] | None = None
    ) -> GLUSSelectorSession:
        """A session for one video and one or more expressions.

        Args:
            video: whatever `glus_hf.load_video` takes (file, folder, list of frames, array); where the package is not
                installed, a sequence of `uint8 [height, width, 3]` arrays or PIL images.
            text (`str` or `Sequence[str]`): the expression(s).
            context_frames (`str` or `Sequence[int]`, *optional*): a strategy of
                [`~GLUSSelectorProcessor.sample_context_frames`], or indices of the context of all frames.

        Raises:
            `UserError`: no expression, an expression [`~GLUSSelectorProcessor.clean_expression`] refuses, an empty
                video, frames of different sizes, or wrong context indices.
        """
        expressions = as_expressions(text)
        expressions = [self.clean_expression(expression) for expression in expressions]
        frames = load_frames(video)
        of_frame = [
            tuple(self._context_indices(len(frames), frame_idx, context_frames)) for frame_idx in range(len(frames))
        ]
        contexts = list(dict.fromkeys(of_frame))
        prompts = [self.split_prompt(expression, len(contexts[0])) for expression in expressions]
        return GLUSSelectorSession(
            frames=frames,
            texts=expressions,
            contexts=[list(context) for context in contexts],
            context_of_frame=[contexts.index(context) for context in of_frame],
            image_processor=self.image_processor,
            num_image_tokens=self.num_image_tokens,
            prefix_input_ids=[self.split_prompt(expressions[0], len(context))[0] for context in contexts],
            target_input_ids=[target for _, target in prompts],
        )

    def _context_indices(self, num_frames: int, frame_idx: int, context_frames) -> list[int]:
        if context_frames is None or isinstance(context_frames, str):
            return self.sample_context_frames(num_frames, frame_idx, context_frames)
        indices = [int(index) for index in context_frames]
        if not indices or any(not 0 <= index < num_frames for index in indices):
            raise UserError(f"context_frames must be indices in 0..{num_frames - 1}, got {indices}")
        return indices

    def split_prompt(self, expression: str, num_context: int) -> tuple[list[int], list[int]]:
        """Expanded ids up to the target frame, and from there to the position that predicts `[SCORE]`.

        Chunks between images are encoded alone, so the first part depends only on the number of context frames, and
        the second only on the expression.
        """
        ids = self.tokenize(self.build_conversation(expression, num_context))
        ids = ids[: ids.index(self.score_token_id)]
        cut = len(ids) - 1 - ids[::-1].index(self.image_token_id)
        return self.expand_image_tokens(ids[:cut]), self.expand_image_tokens(ids[cut:])

    # ---- training

    def __call__(self, samples: Sequence[dict] | dict, rng: np.random.Generator | None = None) -> BatchFeature:
        """A training batch of B videos.

        Args:
            samples (`Sequence[dict]`): per video
                * `frames`: its context frames and then the target frame, `uint8 [height, width, 3]`; at least two;
                * `expressions` (`list[str]`): E of them, or `conversations` (`list[str]`): E full prompts;
                * `scores` (`list[float]`, *optional*): per expression, what its score should be (IoU, 0 to 1).
            rng (`np.random.Generator`, *optional*): samples a question and an answer per expression, which keeps its
                case then, as the original code does in training. Without it, the prompts are those of inference.

        Returns:
            `BatchFeature`, with N = number of expressions of all videos:
                * `input_ids`, `attention_mask`, `labels`: `int64 [N, length]`, images expanded, right padded; labels
                  are the answer and `</s>`, -100 elsewhere, and not shifted (the model shifts);
                * `pixel_values`: `float32 [all frames, 3, crop, crop]`;
                * `frames_per_video`, `expressions_per_video`: `int64 [B]`;
                * `score_labels`: `float32 [N]`, if given.

        Raises:
            `UserError`: a sample of the wrong shape, or a refused expression.
        """
        samples = [samples] if isinstance(samples, dict) else list(samples)
        if not samples:
            raise UserError("need at least one sample")
        prompts = [self._sample_prompts(sample, rng) for sample in samples]
        batch = self._pad_conversations([prompt for video in prompts for prompt in video])
        batch["pixel_values"] = torch.cat([self.clip_view(sample["frames"]) for sample in samples])
        batch["frames_per_video"] = torch.tensor([len(sample["frames"]) for sample in samples])
        batch["expressions_per_video"] = torch.tensor([len(video) for video in prompts])
        given = [sample.get("scores") is not None for sample in samples]
        if any(given):
            scores = [list(sample["scores"]) if has else [] for sample, has in zip(samples, given)]
            if [len(video) for video in scores] != [len(video) for video in prompts]:
                raise UserError("either no sample has scores, or each has one per expression")
            batch["score_labels"] = torch.tensor([score for video in scores for score in video]).float()
        return BatchFeature(batch)

    def _sample_prompts(self, sample: dict, rng: np.random.Generator | None) -> list[str]:
        num_context = len(sample["frames"]) - 1
        if num_context < 1:
            raise UserError(f"a sample needs context frames and a target frame, got {num_context + 1} frames")
        if sample.get("conversations") is not None:
            prompts = list(sample["conversations"])
        else:
            prompts = [self.sample_conversation(expression, num_context, rng) for expression in sample["expressions"]]
        if not prompts:
            raise UserError("a sample needs at least one expression")
        return prompts

    def sample_conversation(self, text: str, num_context: int, rng: np.random.Generator | None = None) -> str:
        """The whole prompt about an expression, with the question and answer of inference, or ones sampled with `rng`.

        Raises:
            `UserError`: an expression that [`~GLUSSelectorProcessor.clean_expression`] refuses.
        """
        if rng is None:
            return self.build_conversation(self.clean_expression(text), num_context)
        expression = self._checked_expression(text)
        question, answer = sample_templates(rng, len(_questions(expression))), sample_templates(rng, len(ANSWERS))
        return self.build_conversation(expression, num_context, question, answer)

    def _pad_conversations(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        rows = [torch.tensor(self.expand_image_tokens(self.tokenize(prompt))) for prompt in prompts]
        labels = [self._answer_labels(row, prompt) for row, prompt in zip(rows, prompts)]
        return pad_conversations(rows, labels, self.pad_token_id)

    def _answer_labels(self, ids: torch.Tensor, prompt: str) -> torch.Tensor:
        """Every token behind " ASSISTANT:", `</s>` included."""
        question, found, _ = prompt.rpartition(ROLE_OF_ANSWER)
        if not found:
            raise UserError(f"a conversation needs {ROLE_OF_ANSWER!r} before its answer")
        start = len(self.expand_image_tokens(self.tokenize(question + found))) - 1  # its blank is one with the answer
        return torch.where(torch.arange(len(ids)) < start, IGNORE_INDEX, ids)


def _questions(expression: str) -> tuple[str, ...]:
    return QUESTIONS_ABOUT_QUESTIONS if expression.endswith("?") else QUESTIONS


def _check_strategy(strategy: str) -> str:
    if strategy not in CONTEXT_STRATEGIES:
        raise UserError(f"unknown context_frames {strategy!r}; use one of {', '.join(CONTEXT_STRATEGIES)}")
    return strategy


__all__ = ["GLUSSelectorProcessor"]
