"""Processor of GLUS: the prompt protocol, context frames, sessions for inference and batches for training."""

from __future__ import annotations

import inspect
import os
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .checkpoint_glus import readable_errors, resolve_name
from .compat_glus import PROCESSOR_OPTIONS, select_options
from .image_processing_glus import GLUSImageProcessor, as_rgb_arrays
from .inference_glus import GLUSInferenceSession


BOS_TOKEN = "<s>"
EOS_TOKEN = "</s>"
IMAGE_TOKEN = "<image>"  # never in the vocabulary: stands for one frame in a prompt
SEG_TOKEN = "[SEG]"
IM_START_TOKEN = "<im_start>"
IM_END_TOKEN = "<im_end>"
IMAGE_BLOCK = IM_START_TOKEN + IMAGE_TOKEN + IM_END_TOKEN
ADDED_TOKENS = (SEG_TOKEN, IM_START_TOKEN, IM_END_TOKEN)
PROTOCOL_TOKENS = (BOS_TOKEN, EOS_TOKEN, IMAGE_TOKEN) + ADDED_TOKENS

# The words the released weights were trained with, spelling included.
SYSTEM_PROMPT = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
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
IGNORE_INDEX = -100
CONTEXT_STRATEGIES = ("middle", "uniform", "random")
OVERLAPS = ("union", "sum")
LINE_BREAK_OR_TAB = r"\s*[\t-\r\x1c-\x1f\x85\u2028\u2029]\s*"
FULL_WHITE = 255  # foreground of a mask read from an image file; no number of objects


class GLUSProcessor(ProcessorMixin):
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
            "sum", their number, as upstream's targets are.

    Raises `ValueError` when the tokenizer lacks a protocol token, or an option has no such choice.

    Example:

        >>> processor = GLUSProcessor(GLUSImageProcessor(), build_word_tokenizer(["red square"]))
        >>> session = processor.init_video_session(frames, "The red square.")
        >>> session.texts, session.context_frame_indices
        (['the red square'], [1, 3, 6, 8])
    """

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
        _check_choice("context_frames", context_frames, CONTEXT_STRATEGIES)
        _check_choice("overlap", overlap, OVERLAPS)
        vocabulary = tokenizer.get_vocab()
        missing = [token for token in (BOS_TOKEN, EOS_TOKEN) + ADDED_TOKENS if token not in vocabulary]
        if missing:
            raise ValueError(f"the tokenizer lacks {', '.join(missing)}; add them with tokenizer.add_tokens")
        self.num_context_frames = num_context_frames
        self.num_query_frames = num_query_frames
        self.num_image_tokens = num_image_tokens
        self.image_token_id = image_token_id
        self.context_frames = context_frames
        self.max_expression_tokens = max_expression_tokens
        self.overlap = overlap

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, compat: str | None = None, **kwargs):
        """Load from an alias ("glus-tiny"), a folder or the Hub; `CheckpointError` if files are missing.

        `compat="released"`, `"evaluation-script"` or `"paper"` sets `context_frames` and `overlap`
        (`compat_glus.COMPAT`); give the model the same name. Single options go before it.
        """
        name = resolve_name(pretrained_model_name_or_path, kwargs.get("revision"))
        kwargs = {**select_options(compat, PROCESSOR_OPTIONS), **kwargs}
        with readable_errors(name):
            return super().from_pretrained(name, **kwargs)

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        # The default asks AutoImageProcessor, which knows our class only after registration.
        own = inspect.signature(cls).parameters  # a tokenizer would save options that are not its own
        kwargs = {option: value for option, value in kwargs.items() if option not in own}
        image_processor = GLUSImageProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs)
        return [image_processor, AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs)]

    @property
    def seg_token_id(self) -> int:
        return self.tokenizer.convert_tokens_to_ids(SEG_TOKEN)

    @property
    def pad_token_id(self) -> int:
        return self.tokenizer.pad_token_id or 0

    # ---- expressions and prompts

    def clean_expression(self, text: str) -> str:
        """An expression as the prompt takes it: one line, no white space at its ends, no full stop, lower case.

        Raises:
            `ValueError`: not a `str`, nothing left, a protocol token inside, or over `max_expression_tokens`.

        Example:

            >>> processor.clean_expression(" The cat\\n on the left. ")
            'the cat on the left'
        """
        if not isinstance(text, str):
            raise ValueError(f"an expression must be a str, got {type(text).__name__}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("the expression is not valid unicode; decode it with the right encoding") from None
        text = re.sub(LINE_BREAK_OR_TAB, " ", text)  # spaces of any kind are tokens, however many
        cleaned = text.strip().removesuffix(".").strip().lower()
        if not cleaned:
            raise ValueError(f"the expression {text[:40]!r} is empty; name the object in a few words")
        self._refuse_protocol_tokens(cleaned)
        length = len(self._encode_piece(cleaned))
        if length > self.max_expression_tokens:
            raise ValueError(
                f"the expression has {length} tokens, the limit is {self.max_expression_tokens}; "
                "shorten it or raise max_expression_tokens"
            )
        return cleaned

    def _refuse_protocol_tokens(self, text: str):
        # A tokenizer that normalises unicode would turn look-alikes into the real thing: compare normalised text.
        text = unicodedata.normalize("NFKC", text).lower()
        for token in dict.fromkeys(PROTOCOL_TOKENS + tuple(self.tokenizer.get_added_vocab())):
            if token.lower() in text:
                raise ValueError(f"the expression contains the protocol token {token}; remove it from the expression")

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
            `ValueError`: no turns, or not one question and answer per turn.

        Example:

            >>> processor.build_conversation("cat", 1)[-69:]
            'in this frame? ASSISTANT: Sure, the segmentation result is [SEG].</s>'
        """
        questions = [INFERENCE_QUESTION] * num_query_frames if questions is None else questions
        answers = [INFERENCE_ANSWER] * num_query_frames if answers is None else answers
        if num_query_frames < 1 or not len(questions) == len(answers) == num_query_frames:
            raise ValueError(f"expected {num_query_frames} (at least 1) questions and answers")
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
        ids = [self.tokenizer.convert_tokens_to_ids(BOS_TOKEN)] if add_bos else []
        for chunk_index, chunk in enumerate(prompt.split(IMAGE_TOKEN)):
            if chunk_index > 0:
                ids.append(self.image_token_id)
            ids += self._tokenize_chunk(chunk)
        return ids

    def _tokenize_chunk(self, chunk: str) -> list[int]:
        separators = (BOS_TOKEN, EOS_TOKEN) + ADDED_TOKENS
        parts = re.split("(" + "|".join(map(re.escape, separators)) + ")", chunk)
        ids = []
        for index, part in enumerate(parts):
            if index % 2 == 1:  # re.split puts the separators at odd places
                ids.append(self.tokenizer.convert_tokens_to_ids(part))
                continue
            if index > 0 and parts[index - 1] in ADDED_TOKENS:
                part = part.lstrip()
            if index + 1 < len(parts) and parts[index + 1] in ADDED_TOKENS:
                part = part.rstrip()
            ids += self._encode_piece(part) if part else []
        return ids

    def _encode_piece(self, text: str) -> list[int]:
        """Ids of "▁" + text. Fast tokenizers leave the "▁" out before a space (or altogether), so we bring our own."""
        text = text if _always_prepends(self.tokenizer) else " " + text
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False)

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

    def sample_context_frames(
        self,
        num_frames: int,
        num_context: int | None = None,
        strategy: str | None = None,
        generator: np.random.Generator | None = None,
    ) -> list[int]:
        """Indices of the context frames, nondecreasing, each in 0..num_frames-1.

        Args:
            num_frames (`int`): frames of the video, at least 1. With fewer than `num_context`, some repeat
                (upstream wraps round to the last frame there).
            num_context (`int`, *optional*): default `num_context_frames`.
            strategy (`str`, *optional*): default `context_frames`. "middle": the middle of equal segments, as the
                benchmarks use. "uniform": first to last frame, as upstream's demo. "random": one
                frame of each segment, as in training.
            generator (`np.random.Generator`, *optional*): for "random"; a fresh one without it. The global
                generators are never touched.

        Raises:
            `ValueError`: no frames, no context, unknown strategy.

        Example:

            >>> processor.sample_context_frames(10)
            [1, 3, 6, 8]
        """
        count = self.num_context_frames if num_context is None else num_context
        strategy = strategy or self.context_frames
        if num_frames < 1 or count < 0:
            raise ValueError(f"cannot sample {count} context frames from {num_frames} frames")
        if strategy not in CONTEXT_STRATEGIES:
            raise ValueError(f"unknown context strategy {strategy!r}; use one of {', '.join(CONTEXT_STRATEGIES)}")
        if strategy == "uniform":
            return np.linspace(0, num_frames - 1, count, dtype=int).tolist()
        bounds = np.linspace(0, num_frames, count + 1, dtype=int)
        starts, last = bounds[:-1], np.maximum(bounds[1:] - 1, bounds[:-1])  # an empty segment gives its start
        if strategy == "middle":
            half = -(-num_frames // max(count, 1)) // 2
            indices = np.minimum(starts + half, bounds[1:] - 1)
        else:
            indices = (generator or np.random.default_rng()).integers(starts, last, endpoint=True)
        return np.clip(indices, 0, num_frames - 1).tolist()

    def init_video_session(
        self, video, text: str | Sequence[str], context_frames: str | Sequence[int] | None = None
    ) -> GLUSInferenceSession:
        """A session for one video and one or more expressions.

        Args:
            video: whatever `glus_hf.data.video.load_video` takes (file, folder, list of frames, array); where that
                module is not installed, a sequence of `uint8 [height, width, 3]` arrays or PIL images.
            text (`str` or `Sequence[str]`): the expression(s).
            context_frames (`str` or `Sequence[int]`, *optional*): a strategy of
                [`~GLUSProcessor.sample_context_frames`] or `num_context_frames` indices.

        Raises:
            `ValueError`: no expression, an expression [`~GLUSProcessor.clean_expression`] refuses, an empty video,
                frames of different sizes, or wrong context indices.
        """
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise ValueError("no expression given; pass a text or a list of texts")
        texts = [self.clean_expression(text) for text in texts]
        frames = _load_frames(video)
        splits = [self._split_window(text) for text in texts]
        return GLUSInferenceSession(
            frames=frames,
            texts=texts,
            context_frame_indices=self._context_indices(len(frames), context_frames),
            image_processor=self.image_processor,
            prefix_input_ids=splits[0][0],
            turn_input_ids=[turn for _, turn, _ in splits],
            last_turn_input_ids=[last for _, _, last in splits],
        )

    def _split_window(self, expression: str) -> tuple[list[int], list[int], list[int]]:
        """Expanded ids of (prefix, one earlier turn, last turn): a window of q frames is prefix + turn*(q-1) + last.

        Pieces next to `<im_start>` are encoded alone, so cutting there changes no id.
        """
        ids = self.tokenize(self.build_window_prompt(expression, 2))
        start = self.tokenizer.convert_tokens_to_ids(IM_START_TOKEN)
        first, second = [position for position, token in enumerate(ids) if token == start][-2:]
        parts = ids[:first], ids[first:second], ids[second:]
        return tuple(self.expand_image_tokens(part) for part in parts)

    def _context_indices(self, num_frames: int, context_frames: str | Sequence[int] | None) -> list[int]:
        if context_frames is None or isinstance(context_frames, str):
            return self.sample_context_frames(num_frames, strategy=context_frames)
        indices = [int(index) for index in context_frames]
        if len(indices) != self.num_context_frames or any(not 0 <= index < num_frames for index in indices):
            raise ValueError(
                f"context_frames must be {self.num_context_frames} indices in 0..{num_frames - 1}, got {indices}"
            )
        return indices

    def post_process_masks(
        self, mask_logits: torch.Tensor, threshold: float = 0.0, size: tuple[int, int] | None = None
    ) -> torch.Tensor:
        """Masks from logits.

        Args:
            mask_logits (`torch.FloatTensor [..., height, width]`): as the model gives them.
            threshold (`float`): logits above it are foreground; 0 is probability 0.5.
            size (`tuple[int, int]`, *optional*): height and width in pixels; others are resized first (bilinear).

        Returns:
            `torch.BoolTensor [..., height, width]`.
        """
        if size is not None and tuple(mask_logits.shape[-2:]) != tuple(size):
            flat = mask_logits.float().reshape(-1, 1, *mask_logits.shape[-2:])
            flat = F.interpolate(flat, tuple(size), mode="bilinear", align_corners=False)
            mask_logits = flat.reshape(*mask_logits.shape[:-2], *size)
        return mask_logits > threshold

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
            rng (`np.random.Generator`, *optional*): draws a question and an answer per expression and query frame.
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
            `ValueError`: a sample of the wrong shape, or a refused expression.
        """
        samples = [samples] if isinstance(samples, dict) else list(samples)
        if not samples or labels not in ("seg", "answer"):
            raise ValueError("need at least one sample, and labels 'seg' or 'answer'")
        prompts = [self._sample_prompts(sample, rng) for sample in samples]
        batch = self._pad_conversations([prompt for video in prompts for prompt in video], labels)
        batch.update(self._stack_views([sample["frames"] for sample in samples]))
        batch["expressions_per_video"] = torch.tensor([len(video) for video in prompts])
        if _all_have(samples, "frame_times"):
            batch["frame_times"] = torch.tensor([list(sample["frame_times"]) for sample in samples]).float()
        if _all_have(samples, "masks"):
            batch["mask_labels"] = [self._mask_labels(s["masks"], len(p)) for s, p in zip(samples, prompts)]
        return BatchFeature(batch)

    def _sample_prompts(self, sample: dict, rng: np.random.Generator | None) -> list[str]:
        if sample.get("conversations") is not None:
            prompts = list(sample["conversations"])
        else:
            prompts = [self._draw_conversation(text, rng) for text in sample["expressions"]]
        if not prompts:
            raise ValueError("a sample needs at least one expression")
        return prompts

    def _draw_conversation(self, text: str, rng: np.random.Generator | None) -> str:
        questions = answers = None
        if rng is not None:
            questions = rng.integers(len(QUESTIONS), size=self.num_query_frames)
            answers = rng.integers(len(ANSWERS), size=self.num_query_frames)
        return self.build_conversation(self.clean_expression(text), self.num_query_frames, questions, answers)

    def _pad_conversations(self, prompts: list[str], labels: str) -> dict[str, torch.Tensor]:
        rows = [torch.tensor(self.expand_image_tokens(self.tokenize(prompt))) for prompt in prompts]
        make_labels = self._answer_labels if labels == "answer" else self._seg_labels
        targets = [make_labels(row, prompt) for row, prompt in zip(rows, prompts)]
        masks = [torch.ones_like(row) for row in rows]
        pad = torch.nn.utils.rnn.pad_sequence
        return {
            "input_ids": pad(rows, batch_first=True, padding_value=self.pad_token_id),
            "attention_mask": pad(masks, batch_first=True),
            "labels": pad(targets, batch_first=True, padding_value=IGNORE_INDEX),
        }

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
                raise ValueError(f"a sample needs {count} frames (context, then query), got {len(frames)}")
        queries = [frames[self.num_context_frames :] for frames in videos]
        return {
            "pixel_values": torch.stack([self.image_processor.clip_view(frames) for frames in videos]),
            "mask_pixel_values": torch.stack([self.image_processor.mask_view(frames) for frames in queries]),
        }

    def _mask_labels(self, masks, num_expressions: int) -> torch.Tensor:
        """Targets of E expressions from their masks, merged already or object by object."""
        masks = [_count_objects(np.asarray(expression)) for expression in masks]
        shapes = [array.shape for array in masks]
        of_one_size = len(set(shapes)) == 1 and len(shapes[0]) == 3
        if len(masks) != num_expressions or not of_one_size or shapes[0][0] != self.num_query_frames:
            expected = f"[{num_expressions}, {self.num_query_frames}, height, width]"
            raise ValueError(f"masks must be {expected}, got {[list(shape) for shape in shapes]}")
        masks = torch.as_tensor(np.stack(masks))
        if self.overlap == "union":
            return (masks > 0).float()
        if masks.numel() > 0 and masks.max() == FULL_WHITE:
            raise ValueError(f"with overlap='sum' masks are numbers of objects, got {FULL_WHITE}; divide by it")
        return masks.float()


def _count_objects(masks: np.ndarray) -> np.ndarray:
    """`[objects, frames, height, width]` -> number of objects of each pixel; merged masks stay as they are."""
    return (masks > 0).sum(0) if masks.ndim == 4 else masks


def _check_choice(name: str, value, choices: tuple[str, ...]):
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}; use one of {', '.join(choices)}")


def _all_have(samples: list[dict], key: str) -> bool:
    given = [sample.get(key) is not None for sample in samples]
    if any(given) != all(given):
        raise ValueError(f"either all samples have {key} or none")
    return all(given)


def _always_prepends(tokenizer) -> bool:
    """Whether the tokenizer puts its dummy prefix "▁" even before a text that starts with a space."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # sentencepiece itself always does
        return True
    text = " a" if backend.normalizer is None else backend.normalizer.normalize_str(" a")
    if backend.pre_tokenizer is not None:
        text = "".join(piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text))
    return text.startswith("▁▁")


def _load_frames(video) -> Sequence[np.ndarray]:
    """Frames of anything the package's video reader takes; without the package, of a sequence of images."""
    try:
        from glus_hf.data.video import load_video
    except ImportError:
        if isinstance(video, (str, os.PathLike)):
            raise ValueError("reading a video file needs glus_hf and av; install them or pass frames") from None
        frames = getattr(video, "frames", None) or as_rgb_arrays(video)
    else:
        frames = load_video(video).frames
    if len(frames) == 0:
        raise ValueError("the video has no frames")
    if any(frame.shape != frames[0].shape for frame in frames):
        raise ValueError("all frames of a video must have the same size")
    return frames
