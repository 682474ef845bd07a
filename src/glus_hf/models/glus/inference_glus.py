"""Inference of GLUS on one video: the session that holds all state, and the one loop over its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.utils import ModelOutput

from .memory_glus import MemoryBank


NO_SEG_LOGIT = -100.0
CHUNK = 16


@dataclass
class GLUSInferenceSession:
    """One video and its expressions, with everything inference keeps between frames.

    Made by [`GLUSProcessor.init_video_session`]; the model never stores state on itself, so two sessions can share
    one model.

    Args:
        frames (`Sequence[np.ndarray]`): T frames, each `uint8 [height, width, 3]` RGB.
        texts (`list[str]`): the cleaned expressions.
        context_frame_indices (`list[int]`): indices of the context frames, `num_context_frames` of them.
        image_processor ([`GLUSImageProcessor`]): makes both views of a frame.
        prefix_input_ids (`list[int]`): ids of the part all windows share: system prompt, context frames (each
            expanded to its image positions, `image_token_id`) and the context sentence.
        turn_input_ids (`list[list[int]]`): per expression, one earlier turn: query image, question, answer, "USER:".
        last_turn_input_ids (`list[list[int]]`): per expression, the last turn up to the position that predicts [SEG].
        missing_seg_frames (`list[list[int]]`): filled by inference: per expression, the frames on which the model did
            not emit [SEG].
    """

    frames: Sequence[np.ndarray]
    texts: list[str]
    context_frame_indices: list[int]
    image_processor: object
    prefix_input_ids: list[int]
    turn_input_ids: list[list[int]]
    last_turn_input_ids: list[list[int]]
    missing_seg_frames: list[list[int]] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def height(self) -> int:
        return self.frames[0].shape[0]

    @property
    def width(self) -> int:
        return self.frames[0].shape[1]


@dataclass
class GLUSVideoSegmentationOutput(ModelOutput):
    """Result for one frame: for all expressions, or, where they start from different frames, for some.

    Args:
        frame_idx (`int`): index of the frame in the video.
        text_indices (`list[int]`): which expressions these are, ascending; n of them.
        mask_logits (`torch.FloatTensor [n, height, width]`): logits at the video's own resolution, float32.
            All -100 for an expression whose [SEG] was not emitted.
        seg_embeddings (`torch.FloatTensor [n, dim]`): projected [SEG] states.
        scores (`torch.FloatTensor [n]`): [SEG] probability x mean probability inside the mask, in [0, 1];
            0 for an empty mask.
    """

    frame_idx: int | None = None
    text_indices: list[int] | None = None
    mask_logits: torch.FloatTensor | None = None
    seg_embeddings: torch.FloatTensor | None = None
    scores: torch.FloatTensor | None = None


@dataclass
class WindowReadings:
    """What the language model said on one frame: `embeddings [n, dim]`, `probabilities` and `emitted` `[n]`."""

    embeddings: Tensor
    probabilities: Tensor
    emitted: Tensor


@dataclass
class Pass:
    """The way of some expressions through the video, from their key frame on: `step` is 1, or -1 on the way back."""

    start: int
    step: int
    texts: list[int]
    bank: MemoryBank
    opening: dict = field(default_factory=dict)

    def position(self, frame: int) -> int:
        """Where in the pass a frame is; 0 is the key frame."""
        return (frame - self.start) * self.step

    def covers(self, frame: int) -> bool:
        """Whether the pass segments a frame; the key frame belongs to the way forward."""
        return self.position(frame) >= (0 if self.step == 1 else 1)

    def window(self, frame: int, size: int) -> list[int]:
        """The frames that are read to segment `frame`, itself last."""
        length = min(self.position(frame) + 1, size)
        return [frame - age * self.step for age in range(length - 1, -1, -1)]

    def turned_back(self) -> Pass:
        """The pass back: its bank starts with the memory of the key frame, which is decoded already."""
        bank = MemoryBank(self.bank.num_maskmem, self.bank.stride)
        bank.entries.update(self.opening)
        return Pass(self.start, -self.step, self.texts, bank)


def propagate_in_video(
    model,
    session: GLUSInferenceSession,
    key_frame: int | Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Iterator[GLUSVideoSegmentationOutput]:
    """The loop behind [`GLUSForVideoSegmentation.propagate_in_video_iterator`]: encode, read, draw.

    One sweep forward and one back: expressions join at their key frames and share the features of every frame.
    Works in chunks of frames: features of a frame live as long as a window or a memory needs them.
    """
    starts = _check_key_frames(key_frame, session)
    _check_fit(model, session, batch_size)
    session.missing_seg_frames = [[] for _ in session.texts]
    first, last = min(starts), max(starts)
    reader = WindowReader(model, session, batch_size or _default_batch_size(model, session), kept_frame=last)
    passes = [
        Pass(start, 1, texts, MemoryBank(model.config.num_maskmem, model.config.memory_stride))
        for start, texts in starts.items()
    ]
    yield from _sweep(model, session, reader, passes, range(first, session.num_frames))
    passes = [one.turned_back() for one in passes]
    yield from _sweep(model, session, reader, passes, range(last - 1, -1, -1))


def _sweep(model, session, reader: WindowReader, passes: list[Pass], frames: range):
    for begin in range(0, len(frames), CHUNK):
        chunk = frames[begin : begin + CHUNK]
        active = [[one for one in passes if one.covers(frame)] for frame in chunk]
        for frame, some, readings in zip(chunk, active, reader.read(chunk, active), strict=True):
            yield _draw_frame(model, session, some, readings, frame)


class WindowReader:
    """Reads windows of frames; keeps the image tokens of the context frames, of the current windows and of
    `kept_frame` only."""

    def __init__(self, model, session: GLUSInferenceSession, batch_size: int, kept_frame: int = 0):
        self.model, self.session, self.batch_size, self.kept_frame = model, session, batch_size, kept_frame
        self.tokens: dict[int, Tensor] = {}
        context = session.context_frame_indices
        self._encode(sorted(set(context)))
        self.context = {index: self.tokens[index] for index in context}
        nothing = torch.empty(0, 0, model.config.text_config.hidden_size, device=model.device, dtype=model.dtype)
        tokens = torch.stack([self.context[index] for index in context]) if context else nothing
        self.prefix = model.read_prefix(session.prefix_input_ids, tokens)

    @torch.no_grad()
    def read(self, frames: Sequence[int], active: list[list[Pass]]) -> list[WindowReadings]:
        """[SEG] of each of `frames` for the expressions of its `active` passes, in their order."""
        size = self.model.config.num_query_frames
        windows = [[one.window(frame, size) for one in some] for frame, some in zip(frames, active, strict=True)]
        needed = sorted({frame for row in windows for window in row for frame in window})
        self._encode([frame for frame in needed if frame not in self.tokens])
        jobs = [
            (window, text)
            for row, some in zip(windows, active, strict=True)
            for window, one in zip(row, some, strict=True)
            for text in one.texts
        ]
        results = [self._read_batch(jobs[at : at + self.batch_size]) for at in range(0, len(jobs), self.batch_size)]
        counts = [sum(len(one.texts) for one in some) for some in active]
        parts = [torch.cat(part).split(counts) for part in zip(*results, strict=True)]
        kept = {self.kept_frame}.union(*windows[-1])
        self.tokens = {frame: tokens for frame, tokens in self.tokens.items() if frame in kept} | self.context
        return [WindowReadings(*part) for part in zip(*parts, strict=True)]

    def _read_batch(self, jobs: list[tuple[list[int], int]]) -> tuple[Tensor, Tensor, Tensor]:
        turns, lasts = self.session.turn_input_ids, self.session.last_turn_input_ids
        ids = [turns[text] * (len(window) - 1) + lasts[text] for window, text in jobs]
        tokens = [torch.stack([self.tokens[frame] for frame in window]) for window, _ in jobs]
        return self.model.read_windows(self.prefix, ids, tokens)

    @torch.no_grad()
    def _encode(self, frames: list[int]) -> None:
        length = max(self.session.num_frames - 1, 1)
        for at in range(0, len(frames), self.batch_size):
            part = frames[at : at + self.batch_size]
            pixels = self.session.image_processor.clip_view([self.session.frames[frame] for frame in part])
            times = torch.tensor([frame / length for frame in part])
            self.tokens.update(zip(part, self.model.model.encode_frames(pixels, times), strict=True))


@torch.no_grad()
def _draw_frame(
    model, session: GLUSInferenceSession, passes: list[Pass], readings: WindowReadings, frame: int
) -> GLUSVideoSegmentationOutput:
    texts = [text for one in passes for text in one.texts]
    emitted = readings.emitted.tolist()
    for text, is_emitted in zip(texts, emitted, strict=True):
        if not is_emitted:
            session.missing_seg_frames[text].append(frame)
    size = (session.height, session.width)
    logits = torch.full((len(texts), *size), NO_SEG_LOGIT, device=readings.embeddings.device)
    if any(emitted):
        pixels = session.image_processor.mask_view([session.frames[frame]])
        low = _draw_passes(model, passes, model.model.encode_mask_frames(pixels), readings.embeddings, emitted, frame)
        drawn = F.interpolate(low[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
        logits = torch.where(torch.tensor(emitted, device=drawn.device)[:, None, None], drawn, NO_SEG_LOGIT)
    scores = readings.probabilities.to(logits.device) * _mask_confidence(logits)
    order = sorted(range(len(texts)), key=texts.__getitem__)
    return GLUSVideoSegmentationOutput(frame, sorted(texts), logits[order], readings.embeddings[order], scores[order])


def _draw_passes(model, passes: list[Pass], features, embeddings: Tensor, emitted: list[bool], frame: int) -> Tensor:
    """Low-resolution logits of all expressions; each pass has its own memories."""
    device, low, begin = features.embedding.device, [], 0
    for one in passes:
        part = slice(begin, begin + len(one.texts))
        repeated = features.select(torch.zeros(len(one.texts), dtype=torch.long, device=device))
        position, prompts = one.position(frame), embeddings[part].to(device)
        low.append(model.model.draw_masks(repeated, prompts, one.bank, position, emitted[part]))
        if position == 0:
            one.opening = dict(one.bank.entries)
        begin = part.stop
    return torch.cat(low)


def _mask_confidence(logits: Tensor) -> Tensor:
    """Mean probability of the pixels inside each mask, 0 for an empty one: `[n, H, W]` -> `[n]`."""
    inside = logits > 0
    area = inside.flatten(1).sum(1)
    return torch.where(inside, logits.sigmoid(), 0).flatten(1).sum(1) / area.clamp(min=1)


def _check_fit(model, session: GLUSInferenceSession, batch_size: int | None) -> None:
    config, views = model.config, session.image_processor
    if model.training:
        raise ValueError("The model is in training mode; call model.eval() before inference.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if config.seg_token_id is None:
        raise ValueError("config.seg_token_id is not set; take it from the processor: processor.seg_token_id.")
    fits = {
        "num_context_frames": (len(session.context_frame_indices), config.num_context_frames),
        "mask_size": (views.mask_size["height"], _side(config.mask_config.image_size)),
        "crop_size": (views.crop_size["height"], _side(config.vision_config.image_size)),
    }
    for name, (found, wanted) in fits.items():
        if found != wanted:
            raise ValueError(
                f"The processor's {name} is {found}, the model's {wanted}; load both from one checkpoint."
            )


def _side(size: int | Sequence[int]) -> int:
    return size if isinstance(size, int) else size[0]


def _check_key_frames(key_frame, session: GLUSInferenceSession) -> dict[int, list[int]]:
    """Expressions by key frame, ascending."""
    count = len(session.texts)
    key_frame = key_frame.tolist() if hasattr(key_frame, "tolist") else key_frame
    is_single = isinstance(key_frame, str) or not hasattr(key_frame, "__len__")
    starts = [0 if key_frame is None else key_frame] * count if is_single else list(key_frame)
    if len(starts) != count:
        raise ValueError(f"There are {count} expressions but {len(starts)} key frames; pass one each, or one for all.")
    for start in starts:
        if not isinstance(start, (int, np.integer)) or not 0 <= start < session.num_frames:
            raise ValueError(f"key_frame must be an integer in 0..{session.num_frames - 1}, got {start!r}.")
    return {int(start): [text for text in range(count) if starts[text] == start] for start in sorted(set(starts))}


def _default_batch_size(model, session: GLUSInferenceSession) -> int:
    """Windows read at once: 8 on a CPU; on an accelerator, what fits half of its free memory (at most 64)."""
    device = model.device
    if device.type != "cuda":
        return 8
    config = model.config.text_config
    length = (
        len(session.prefix_input_ids) + max(len(ids) for ids in session.turn_input_ids) * model.config.num_query_frames
    )
    heads = config.num_key_value_heads * (config.head_dim or config.hidden_size // config.num_attention_heads)
    floats = length * (2 * config.num_hidden_layers * heads + 8 * config.hidden_size + 3 * config.intermediate_size)
    free = torch.cuda.mem_get_info(device)[0]
    return max(1, min(64, int(free / 2 / (floats * model.dtype.itemsize))))
