"""Processor of GLUS: the prompt protocol, context frames, sessions for inference and batches for training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from ...checkpoint_files.config_bounds import check_whole_numbers
from ...errors import UserError
from ...media.images import check_views, to_frame
from ..checkpoint_loading import CheckpointMixin
from ..conversation_batch import pad_conversations
from ..expressions import as_expressions, check_expression, one_line, plain_expression
from ..llama_prompts import (
    BOS_TOKEN,
    EOS_TOKEN,
    IGNORE_INDEX,
    IMAGE_TOKEN,
    SYSTEM_PROMPT,
    encode_piece,
    tokenize_prompt,
)
from ..processor_parts import ProcessorPartsMixin
from ..recipe_processing import CONTEXT_STRATEGIES, OVERLAPS, SEG_TOKEN, RecipeProcessor, all_have, check_choice
from ..sessions import load_frames
from .image_processing_glus import GLUSImageProcessor
from .inference_glus import GLUSInferenceSession
from .live_glus import GLUSLiveSession, LiveFrames
from .presets_glus import PROCESSOR_OPTIONS, select_options


IM_START_TOKEN = "<im_start>"
IM_END_TOKEN = "<im_end>"
IMAGE_BLOCK = IM_START_TOKEN + IMAGE_TOKEN + IM_END_TOKEN
ADDED_TOKENS = (SEG_TOKEN, IM_START_TOKEN, IM_END_TOKEN)
PROTOCOL_TOKENS = (BOS_TOKEN, EOS_TOKEN, IMAGE_TOKEN) + ADDED_TOKENS

# The words the released weights were trained with, spelling included.
CONTEXT_SENTENCE = "Please finished the following tasks on the context frames above."
QUESTIONS = (
    "Can you segment the {x} in this frame?",
    "Please segment the {x} in this frame.",
    "What is {x} in this frame? Please respond with segmentation mask.",
    "What is {x} in this frame? Please output segmentation mask.",
)
ANSWERS = (
    "It is [SEG].",
    "Sure, [SEG].",
    "Sure, it is [SEG].",
    "Sure, the segmentation result is [SEG].",
    "[SEG].",
)
INFERENCE_QUESTION = 0
INFERENCE_ANSWER = 3


class GLUSProcessor(CheckpointMixin, RecipeProcessor, ProcessorPartsMixin, ProcessorMixin):
    """Turns videos and referring expressions into what [`GLUSForVideoSegmentation`] reads, and its logits into masks.

    Args:
        image_processor ([`GLUSImageProcessor`]): makes both views of a frame.
        tokenizer: a fast tokenizer that knows `<s>`, `</s>`, `[SEG]`, `<im_start>` and `<im_end>`.
        num_context_frames (`int`): frames that stand for the whole video, at the head of every prompt.
        num_query_frames (`int`): frames of the sliding window; the last one is segmented.
        num_image_tokens (`int`): positions a frame takes in the language model.
        image_token_id (`int`): id written at those positions. A sentinel, not a row of the vocabulary.
        context_frames (`str`): default strategy of [`~GLUSProcessor.sample_context_frames`].
        max_expression_tokens (`int`): longest accepted expression, in tokens.
        overlap (`str`): what a training target is where several objects of one expression overlap: "union", 1, or
            "sum", their number, as the original code's targets are.

    Raises `UserError` when the tokenizer lacks a protocol token, or an option has no such choice.

    Example:

        >>> processor = GLUSProcessor(GLUSImageProcessor(), build_word_tokenizer(["red square"]))
        >>> session = processor.init_video_session(frames, "The red square.")
        >>> session.texts, session.context_frame_indices
        (['the red square'], [1, 3, 6, 8])
    """

    _image_processor_class = GLUSImageProcessor
    questions, answers = QUESTIONS, ANSWERS

    def __init__(
        self,
        image_processor,
        tokenizer,
        num_context_frames=4,
        num_query_frames=4,
        num_image_tokens=64,
        image_token_id=-200,
        context_frames="middle",
        max_expression_tokens=256,
        overlap="union",
        **kwargs,
    ):
        super().__init__(image_processor, tokenizer, **kwargs)
        check_views(image_processor)
        check_whole_numbers(
            num_context_frames=num_context_frames,
            num_query_frames=num_query_frames,
            num_image_tokens=num_image_tokens,
            image_token_id=image_token_id,
            max_expression_tokens=max_expression_tokens,
        )
        check_choice("context_frames", context_frames, CONTEXT_STRATEGIES)
        check_choice("overlap", overlap, OVERLAPS)
        vocabulary = tokenizer.get_vocab()
        missing = [token for token in (BOS_TOKEN, EOS_TOKEN) + ADDED_TOKENS if token not in vocabulary]
        if missing:
            raise UserError(f"the tokenizer lacks {', '.join(missing)}; add them with tokenizer.add_tokens")
        self.num_context_frames = num_context_frames
        self.num_query_frames = num_query_frames
        self.num_image_tokens = num_image_tokens
        self.image_token_id = image_token_id
        self.context_frames = context_frames
        self.max_expression_tokens = max_expression_tokens
        self.overlap = overlap

    @classmethod
    def _loading_options(cls, kwargs: dict) -> dict:
        """`compat="released"`, `"evaluation-script"` or `"paper"` sets `context_frames` and `overlap`
        (`presets_glus.COMPAT`); give the model the same name. Single options go before it."""
        return {**select_options(kwargs.pop("compat", None), PROCESSOR_OPTIONS), **kwargs}

    added_tokens = ADDED_TOKENS
    """What the recipe adds to the tokenizer of the language model."""

    # ---- expressions and prompts

    def clean_expression(self, text: str) -> str:
        """An expression as the prompt takes it: one line, no white space at its ends, no full stop, lower case.

        Raises:
            `UserError`: not a `str`, nothing left, a protocol token inside, or over `max_expression_tokens`.

        Example:

            >>> processor.clean_expression(" The cat\\n on the left. ")
            'the cat on the left'
        """
        protocol_tokens = PROTOCOL_TOKENS + tuple(self.tokenizer.get_added_vocab())
        count = lambda cleaned: len(encode_piece(self.tokenizer, cleaned))
        clean = lambda raw: plain_expression(one_line(raw))
        return check_expression(text, clean, protocol_tokens, count, self.max_expression_tokens)

    def build_conversation(
        self,
        expression: str,
        num_query_frames: int,
        questions: Sequence[int] | None = None,
        answers: Sequence[int] | None = None,
    ) -> str:
        """The whole conversation about one (cleaned) expression, every turn answered ("llava_v1" style).

        Args:
            expression (`str`): put in literally; clean it first.
            num_query_frames (`int`): turns; one query frame each, at least 1.
            questions, answers (`Sequence[int]`, *optional*): per turn, an index into `QUESTIONS` (0..3) and `ANSWERS`
                (0..4). Without them, those of inference: 0 and 3.

        Raises:
            `UserError`: no turns, or not one question and answer per turn.

        Example:

            >>> processor.build_conversation("cat", 1)[-69:]
            'in this frame? ASSISTANT: Sure, the segmentation result is [SEG].</s>'
        """
        questions = [INFERENCE_QUESTION] * num_query_frames if questions is None else questions
        answers = [INFERENCE_ANSWER] * num_query_frames if answers is None else answers
        if num_query_frames < 1 or not len(questions) == len(answers) == num_query_frames:
            raise UserError(f"expected {num_query_frames} (at least 1) questions and answers; pass that many")
        context = IMAGE_BLOCK * self.num_context_frames + f"\n{CONTEXT_SENTENCE}\n" if self.num_context_frames else ""
        turns = [
            f"USER: {context if turn == 0 else ''}{IMAGE_BLOCK}\n{QUESTIONS[question].replace('{x}', expression)} "
            f"ASSISTANT: {ANSWERS[answer]}{EOS_TOKEN}"
            for turn, (question, answer) in enumerate(zip(questions, answers))
        ]
        return f"{SYSTEM_PROMPT} {''.join(turns)}"

    def build_window_prompt(self, expression: str, num_query_frames: int) -> str:
        """The prompt of an inference window: as a conversation, cut before the last [SEG], trailing space kept."""
        conversation = self.build_conversation(expression, num_query_frames)
        return conversation[: conversation.rindex(SEG_TOKEN)]

    # ---- tokens

    def tokenize(self, prompt: str, add_bos: bool = True) -> list[int]:
        """Ids of a prompt as the slow Llama tokenizer of 2023 gave them to GLUS, one `image_token_id` per `<image>`.

        The prompt is cut at `<image>`, at the added tokens and at `<s>`, `</s>`. White space (newlines too) next to
        `[SEG]`, `<im_start>`, `<im_end>` is dropped, next to `</s>` kept. Every piece of text is encoded alone, with
        its own dummy prefix "▁". A text piece is never searched for special tokens.

        Args:
            prompt (`str`): for instance of [`~GLUSProcessor.build_conversation`].
            add_bos (`bool`): put `<s>` first.
        """
        return tokenize_prompt(self.tokenizer, prompt, self.image_token_id, ADDED_TOKENS, add_bos=add_bos)

    def expand_image_tokens(self, ids: Sequence[int]) -> list[int]:
        """Every `image_token_id` of `ids` repeated `num_image_tokens` times: one id per position of the model."""
        image, count = self.image_token_id, self.num_image_tokens
        return [token for token in ids for _ in range(count if token == image else 1)]

    def seg_positions(self, expanded_ids: Sequence[int]) -> list[int]:
        """Positions whose next token is [SEG], and the last one if the ids are an inference window (no `</s>` at its
        end). Their hidden states are the [SEG] embeddings."""
        seg = self.seg_token_id
        positions = [p - 1 for p, token in enumerate(expanded_ids) if token == seg and p > 0]
        finished = (self.tokenizer.convert_tokens_to_ids(EOS_TOKEN), self.pad_token_id)
        return positions if expanded_ids[-1] in finished else positions + [len(expanded_ids) - 1]

    # ---- inference

    def init_video_session(
        self, video, text: str | Sequence[str], context_frames: str | Sequence[int] | None = None
    ) -> GLUSInferenceSession:
        """A session for one video and one or more expressions.

        Args:
            video: whatever `glus_hf.load_video` takes (file, folder, list of frames, array); where the package is not
                installed, a sequence of `uint8 [height, width, 3]` arrays or PIL images.
            text (`str` or `Sequence[str]`): the expression(s).
            context_frames (`str` or `Sequence[int]`, *optional*): a strategy of
                [`~GLUSProcessor.sample_context_frames`] or `num_context_frames` indices.

        Raises:
            `UserError`: no expression, an expression [`~GLUSProcessor.clean_expression`] refuses, an empty video,
                frames of different sizes, or wrong context indices.
        """
        expressions = as_expressions(text)
        expressions = [self.clean_expression(expression) for expression in expressions]
        frames = load_frames(video)
        splits = [self.split_window(expression) for expression in expressions]
        return GLUSInferenceSession(
            frames=frames,
            texts=expressions,
            context_frame_indices=self._context_indices(len(frames), context_frames),
            image_processor=self.image_processor,
            prefix_input_ids=splits[0][0],
            turn_input_ids=[turn for _, turn, _ in splits],
            last_turn_input_ids=[last for _, _, last in splits],
        )

    def init_live_session(
        self,
        text: str | Sequence[str],
        video: Iterable | None = None,
        context_frames: str | Sequence | None = None,
        num_frames: int | None = None,
    ) -> GLUSLiveSession:
        """A session for frames that come one by one, for [`GLUSForVideoSegmentation.push_frame`].

        Args:
            text (`str` or `Sequence[str]`): the expression(s).
            video (`Iterable`, *optional*): gives the frames, for `propagate_in_video_iterator`; it may wait for each.
            context_frames (`str` or `Sequence`, *optional*): a strategy, "middle" or "uniform", by which the context
                is sampled from the frames seen so far whenever their number reaches a power of two; or a fixed
                context, `num_context_frames` images. A fixed one is read once.
            num_frames (`int`, *optional*): how many frames will come. Only models that embed the time of a frame
                (glus-tiny) use it; without it a frame's time is counted in twice the last power of two.

        Raises:
            `UserError`: an expression [`~GLUSProcessor.clean_expression`] refuses, or a wrong context.

        Example:

            >>> session = processor.init_live_session("the red circle")
            >>> session.num_frames, session.texts
            (0, ['the red circle'])
        """
        expressions = [self.clean_expression(expression) for expression in as_expressions(text)]
        strategy = context_frames if isinstance(context_frames, str) else self.context_frames
        if strategy == "random":
            raise UserError('a live session samples "middle" or "uniform" frames: change context_frames')
        if num_frames is not None and num_frames < 1:
            raise UserError(f"num_frames must be at least 1, got {num_frames}")
        images = [] if context_frames is None or isinstance(context_frames, str) else self._images(context_frames)
        sample = partial(self.sample_context_frames, strategy=strategy)
        times = [(place + 0.5) / len(images) for place in range(len(images))]
        if images and num_frames is not None:
            times = [index / max(num_frames - 1, 1) for index in sample(num_frames)]
        splits = [self.split_window(expression) for expression in expressions]
        return GLUSLiveSession(
            frames=LiveFrames(images),
            texts=expressions,
            context_frame_indices=[-1 - place for place in range(len(images))],
            image_processor=self.image_processor,
            prefix_input_ids=splits[0][0],
            turn_input_ids=[turn for _, turn, _ in splits],
            last_turn_input_ids=[last for _, _, last in splits],
            sample_context=sample,
            source=video,
            expected_frames=num_frames,
            context_times=times,
        )

    def _images(self, context_frames: Sequence) -> list[np.ndarray]:
        """Images of a fixed context."""
        if len(context_frames) != self.num_context_frames:
            raise UserError(f"context_frames must be {self.num_context_frames} images, got {len(context_frames)}")
        return [to_frame(image, f"context frame {place}") for place, image in enumerate(context_frames)]

    def split_window(self, expression: str) -> tuple[list[int], list[int], list[int]]:
        """Expanded ids of (prefix, one earlier turn, last turn): a window of q frames is prefix + turn*(q-1) + last.

        Pieces next to `<im_start>` are encoded alone, so cutting there changes no id.
        """
        ids = self.tokenize(self.build_window_prompt(expression, 2))
        start = self.tokenizer.convert_tokens_to_ids(IM_START_TOKEN)
        first, second = [position for position, token in enumerate(ids) if token == start][-2:]
        parts = ids[:first], ids[first:second], ids[second:]
        return tuple(self.expand_image_tokens(part) for part in parts)

    # ---- training

    def __call__(
        self, samples: Sequence[dict], labels: str = "seg", rng: np.random.Generator | None = None
    ) -> BatchFeature:
        """A training batch of B videos.

        Args:
            samples (`Sequence[dict]`): per video
                * `frames`: `num_context_frames + num_query_frames` images `uint8 [height, width, 3]`, context first;
                * `expressions` (`list[str]`): E of them, or `conversations` (`list[str]`): E full prompts;
                * `frame_times` (*optional*): time of each of these frames in its video, 0 to 1, for models with
                  `frame_position_embedding` (glus-tiny);
                * `masks` (*optional*): uint8 or bool `[E, num_query_frames, height, width]`, nonzero is foreground;
                  with `overlap="sum"`, the number of objects. Or E arrays
                  `[objects, num_query_frames, height, width]`, the masks of the objects one by one.
            labels (`str`): "seg" supervises [SEG] only, as the loss of GLUS; "answer" the whole answers, as LLaVA v1
                and as GLUS labels them before its loss keeps [SEG].
            rng (`np.random.Generator`, *optional*): samples a question and an answer per expression and query frame.
                Without it, the templates of inference.

        Returns:
            `BatchFeature`, with N = number of expressions of all videos:
                * `input_ids`, `attention_mask`, `labels`: `int64 [N, length]`, image positions expanded, right
                  padded; labels are -100 where nothing is asked and not shifted (the model shifts);
                * `pixel_values`: `float32 [B, context + query frames, 3, crop, crop]`;
                * `mask_pixel_values`: `float32 [B, query frames, 3, S, S]`;
                * `expressions_per_video`: `int64 [B]`;
                * `frame_times`: `float32 [B, context + query frames]`, if given;
                * `mask_labels`: list of B tensors `float32 [E, query frames, height, width]` of 0 and 1, if given;
                  with `overlap="sum"` also 2 and more.

        Raises:
            `UserError`: a sample of the wrong shape, or a refused expression.
        """
        samples = [samples] if isinstance(samples, dict) else list(samples)
        if not samples or labels not in ("seg", "answer"):
            raise UserError("need at least one sample, and labels 'seg' or 'answer'")
        prompts = [self._sample_prompts(sample, rng) for sample in samples]
        batch = self._pad_conversations([prompt for video in prompts for prompt in video], labels)
        batch.update(self._stack_views([sample["frames"] for sample in samples]))
        batch["expressions_per_video"] = torch.tensor([len(video) for video in prompts])
        if all_have(samples, "frame_times"):
            batch["frame_times"] = torch.tensor([list(sample["frame_times"]) for sample in samples]).float()
        if all_have(samples, "masks"):
            batch["mask_labels"] = [self._mask_labels(s["masks"], len(p)) for s, p in zip(samples, prompts)]
        return BatchFeature(batch)

    def _pad_conversations(self, prompts: list[str], labels: str) -> dict[str, torch.Tensor]:
        rows = [torch.tensor(self.expand_image_tokens(self.tokenize(prompt))) for prompt in prompts]
        make_labels = self._answer_labels if labels == "answer" else self._seg_labels
        targets = [make_labels(row, prompt) for row, prompt in zip(rows, prompts)]
        return pad_conversations(rows, targets, self.pad_token_id)

    def _seg_labels(self, ids: torch.Tensor, prompt: str) -> torch.Tensor:
        return torch.where(ids == self.seg_token_id, ids, IGNORE_INDEX)

    def _answer_labels(self, ids: torch.Tensor, prompt: str) -> torch.Tensor:
        """Every token after " ASSISTANT:" up to and with `</s>`, turn by turn."""
        labels = torch.full_like(ids, IGNORE_INDEX)
        position = 1  # <s>
        for turn in prompt.split(EOS_TOKEN):
            question, found, _ = turn.rpartition(" ASSISTANT:")
            end = position + self._length(turn) + 1
            if found:
                answer = position + self._length(question + found)
                labels[answer:end] = ids[answer:end]
            position = end
        return labels

    def _length(self, text: str) -> int:
        return len(self.expand_image_tokens(self.tokenize(text, add_bos=False)))

    def _stack_views(self, videos: list[Sequence]) -> dict[str, torch.Tensor]:
        """Both views of B videos. The mask branch never sees a context frame, so its view is not made for them."""
        count = self.num_context_frames + self.num_query_frames
        for frames in videos:
            if len(frames) != count:
                raise UserError(f"a sample needs {count} frames (context, then query), got {len(frames)}")
        queries = [frames[self.num_context_frames :] for frames in videos]
        return {
            "pixel_values": torch.stack([self.image_processor.clip_view(frames) for frames in videos]),
            "mask_pixel_values": torch.stack([self.image_processor.mask_view(frames) for frames in queries]),
        }


__all__ = ["GLUSProcessor"]
