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
    """Result for one frame.

    Args:
        frame_idx (`int`): index of the frame in the video.
        mask_logits (`torch.FloatTensor [num_texts, height, width]`): logits at the video's own resolution, float32.
            All -100 for an expression whose [SEG] was not emitted.
        seg_embeddings (`torch.FloatTensor [num_texts, dim]`): projected [SEG] states.
        scores (`torch.FloatTensor [num_texts]`): [SEG] probability x mean probability inside the mask, in [0, 1];
            0 for an empty mask.
    """

    frame_idx: int | None = None
    mask_logits: torch.FloatTensor | None = None
    seg_embeddings: torch.FloatTensor | None = None
    scores: torch.FloatTensor | None = None


@dataclass
class WindowReadings:
    """What the language model said on `n` frames: `embeddings [n, num_texts, dim]`, `probabilities` and `emitted`
    `[n, num_texts]`."""

    embeddings: Tensor
    probabilities: Tensor
    emitted: Tensor


def propagate_in_video(
    model, session: GLUSInferenceSession, key_frame: int | None = None, batch_size: int | None = None
) -> Iterator[GLUSVideoSegmentationOutput]:
    """The loop behind [`GLUSForVideoSegmentation.propagate_in_video_iterator`]: encode, read, draw.

    Works in chunks of frames: features of a frame live as long as a window or a memory needs them.
    """
    start = _check_key_frame(key_frame, session.num_frames)
    _check_fit(model, session, batch_size)
    session.missing_seg_frames = [[] for _ in session.texts]
    reader = WindowReader(model, session, batch_size or _default_batch_size(model, session))
    forward, backward = list(range(start, session.num_frames)), list(range(start, -1, -1))
    bank = MemoryBank(model.config.num_maskmem, model.config.memory_stride)
    first_memory = None
    for order, skip in ((forward, 0), (backward, 1)):
        if skip:  # the key frame is already decoded: the backward bank starts with its memory
            bank = MemoryBank(model.config.num_maskmem, model.config.memory_stride)
            bank.entries.update(first_memory)
        for begin in range(skip, len(order), CHUNK):
            positions = range(begin, min(begin + CHUNK, len(order)))
            readings = reader.read(order, positions)
            for offset, position in enumerate(positions):
                yield _draw_frame(model, session, readings, offset, order[position], bank, position)
                if position == 0:
                    first_memory = dict(bank.entries)


class WindowReader:
    """Reads windows of frames; keeps the image tokens of the context frames and of the current window only."""

    def __init__(self, model, session: GLUSInferenceSession, batch_size: int):
        self.model, self.session, self.batch_size = model, session, batch_size
        self.tokens: dict[int, Tensor] = {}
        context = session.context_frame_indices
        self._encode(sorted(set(context)))
        self.context = {index: self.tokens[index] for index in context}
        nothing = torch.empty(0, 0, model.config.text_config.hidden_size, device=model.device, dtype=model.dtype)
        tokens = torch.stack([self.context[index] for index in context]) if context else nothing
        self.prefix = model.read_prefix(session.prefix_input_ids, tokens)

    @torch.no_grad()
    def read(self, order: list[int], positions: range) -> WindowReadings:
        """[SEG] of frames `order[positions]` for all expressions."""
        size = self.model.config.num_query_frames
        windows = [order[max(0, position - size + 1) : position + 1] for position in positions]
        needed = sorted({frame for window in windows for frame in window})
        kept = set(windows[-1]) | set(order[:1])  # the first frame opens the backward pass too
        self._encode([frame for frame in needed if frame not in self.tokens])
        jobs = [(window, text) for window in windows for text in range(len(self.session.texts))]
        results = [self._read_batch(jobs[at : at + self.batch_size]) for at in range(0, len(jobs), self.batch_size)]
        parts = [torch.cat(part).unflatten(0, (len(windows), -1)) for part in zip(*results, strict=True)]
        self.tokens = {frame: tokens for frame, tokens in self.tokens.items() if frame in kept} | self.context
        return WindowReadings(*parts)

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
    model,
    session: GLUSInferenceSession,
    readings: WindowReadings,
    offset: int,
    frame: int,
    bank: MemoryBank,
    position: int,
) -> GLUSVideoSegmentationOutput:
    emitted = readings.emitted[offset].tolist()
    embeddings = readings.embeddings[offset]
    for text, is_emitted in enumerate(emitted):
        if not is_emitted:
            session.missing_seg_frames[text].append(frame)
    size = (session.height, session.width)
    logits = torch.full((len(emitted), *size), NO_SEG_LOGIT, device=embeddings.device)
    if any(emitted):
        pixels = session.image_processor.mask_view([session.frames[frame]])
        features = model.model.encode_mask_frames(pixels)
        features = features.select(torch.zeros(len(emitted), dtype=torch.long, device=features.embedding.device))
        low = model.model.draw_masks(features, embeddings.to(features.embedding.device), bank, position, emitted)
        drawn = F.interpolate(low[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
        logits = torch.where(torch.tensor(emitted, device=drawn.device)[:, None, None], drawn, NO_SEG_LOGIT)
    scores = readings.probabilities[offset].to(logits.device) * _mask_confidence(logits)
    return GLUSVideoSegmentationOutput(frame_idx=frame, mask_logits=logits, seg_embeddings=embeddings, scores=scores)


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


def _check_key_frame(key_frame: int | None, num_frames: int) -> int:
    if key_frame is None:
        return 0
    if not isinstance(key_frame, (int, np.integer)) or not 0 <= key_frame < num_frames:
        raise ValueError(f"key_frame must be an integer in 0..{num_frames - 1}, got {key_frame!r}.")
    return int(key_frame)


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
