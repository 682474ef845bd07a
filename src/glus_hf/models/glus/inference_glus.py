"""Inference of GLUS on one video: the session that holds all state, and the one loop over its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import UserError
from ..mask_scores import resize_and_score
from ..prefix_cache import default_batch_size
from ..sessions import (
    VideoSegmentationOutput,
    VideoSession,
    check_inference,
    check_prompt_ids,
    key_frame_per_text,
    sides,
)
from .memory_glus import MemoryBank
from .window_reader_glus import SegPredictions, WindowReader
from .window_schedule_glus import SlidingWindows, WindowSchedule


CHUNK = 16


@dataclass
class GLUSInferenceSession(VideoSession):
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

    context_frame_indices: list[int]
    image_processor: object
    prefix_input_ids: list[int]
    turn_input_ids: list[list[int]]
    last_turn_input_ids: list[list[int]]
    missing_seg_frames: list[list[int]] = field(default_factory=list)

    def frame_time(self, frame_idx: int) -> float:
        """Where in the video a frame is, in [0, 1]."""
        return frame_idx / max(self.num_frames - 1, 1)

    def note_missing(self, text: int, frame_idx: int) -> None:
        """Remember that an expression got no [SEG] on a frame."""
        self.missing_seg_frames[text].append(frame_idx)


@dataclass
class GLUSVideoSegmentationOutput(VideoSegmentationOutput):
    """What every family gives for a frame (see [`VideoSegmentationOutput`]), and the prompts of the mask branch.

    Args:
        mask_logits (`torch.FloatTensor [n, height, width]`): float32; all -100 for an expression whose [SEG] was not
            emitted, which is then in `missing`.
        scores (`torch.FloatTensor [n]`): [SEG] probability x mean probability inside the mask, in [0, 1]; 0 for an
            empty mask.
        seg_embeddings (`torch.FloatTensor [n, dim]`): projected [SEG] states.
        kwargs: as for [`VideoSegmentationOutput`].
    """

    seg_embeddings: torch.FloatTensor | None = None


@dataclass
class PropagationPass:
    """The way of some expressions through the video, from their key frame on: `step` is 1, or -1 on the way back."""

    start: int
    step: int
    texts: list[int]
    bank: MemoryBank
    key_frame_memory: dict = field(default_factory=dict)

    def position(self, frame_idx: int) -> int:
        """Where in the pass a frame is; 0 is the key frame."""
        return (frame_idx - self.start) * self.step

    def covers(self, frame_idx: int) -> bool:
        """Whether the pass segments a frame; the key frame belongs to the way forward."""
        return self.position(frame_idx) >= (0 if self.step == 1 else 1)

    def reversed_pass(self) -> PropagationPass:
        """The pass back: its bank starts with the memory of the key frame, which is decoded already."""
        bank = MemoryBank(self.bank.num_maskmem, self.bank.stride)
        bank.entries.update(self.key_frame_memory)
        return PropagationPass(self.start, -self.step, self.texts, bank)


def propagate_in_video(
    model,
    session: GLUSInferenceSession,
    key_frame: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    schedule: WindowSchedule | None = None,
) -> Iterator[GLUSVideoSegmentationOutput]:
    """The loop behind [`GLUSForVideoSegmentation.propagate_in_video_iterator`]: encode, read, decode.

    One sweep forward and one back: expressions join at their key frames and share the features of every frame.
    Works in chunks of frames: features of a frame live as long as a window or a memory needs them.
    """
    starts = _texts_by_key_frame(key_frame, session)
    check_fit(model, session, batch_size)
    session.missing_seg_frames = [[] for _ in session.texts]
    first, last = min(starts), max(starts)
    schedule = schedule or SlidingWindows(model.config.num_query_frames)
    reader = WindowReader(model, session, batch_size or default_batch_size(model), last, schedule)
    passes = [
        PropagationPass(start, 1, texts, MemoryBank(model.config.num_maskmem, model.config.memory_stride))
        for start, texts in starts.items()
    ]
    yield from _sweep(model, session, reader, passes, range(first, session.num_frames))
    passes = [forward.reversed_pass() for forward in passes]
    yield from _sweep(model, session, reader, passes, range(last - 1, -1, -1))


def _sweep(model, session, reader: WindowReader, passes: list[PropagationPass], frames: range):
    for chunk in _chunks(frames):
        active = [[each for each in passes if each.covers(frame_idx)] for frame_idx in chunk]
        for frame_idx, covering, predictions in zip(chunk, active, reader.read(chunk, active), strict=True):
            yield decode_read_frame(model, session, covering, predictions, frame_idx)


def _chunks(frames: range) -> Iterator[range]:
    """The first frame alone, so that its mask is there after one window; then `CHUNK` at a time."""
    bounds = [0, *range(min(1, len(frames)), len(frames), CHUNK), len(frames)]
    return (frames[begin:end] for begin, end in zip(bounds, bounds[1:], strict=False) if begin < end)


@torch.no_grad()
def decode_read_frame(
    model, session: GLUSInferenceSession, passes: list[PropagationPass], predictions: SegPredictions, frame_idx: int
) -> GLUSVideoSegmentationOutput:
    """The third stage: masks of a frame whose [SEG]s are read, of the expressions of some passes in their order."""
    texts = [text for each in passes for text in each.texts]
    emitted = predictions.emitted.tolist()
    missing = sorted(text for text, is_emitted in zip(texts, emitted, strict=True) if not is_emitted)
    for text in missing:
        session.note_missing(text, frame_idx)
    embeddings, size = predictions.embeddings, (session.height, session.width)
    if any(emitted):
        pixels = session.image_processor.mask_view([session.frames[frame_idx]])
        low = _decode_passes(model, passes, model.model.encode_mask_frames(pixels), embeddings, emitted, frame_idx)
    else:
        low = embeddings.new_zeros(len(texts), 1, 1)
    order = sorted(range(len(texts)), key=texts.__getitem__)
    logits, scores = resize_and_score(low, size, predictions.probabilities, emitted, order)
    return GLUSVideoSegmentationOutput(
        frame_idx=frame_idx,
        text_indices=sorted(texts),
        mask_logits=logits,
        scores=scores,
        missing=missing,
        seg_embeddings=embeddings[order],
    )


def _decode_passes(
    model, passes: list[PropagationPass], features, embeddings: Tensor, emitted: list[bool], frame_idx: int
) -> Tensor:
    """Low-resolution logits of all expressions; each pass has its own memories."""
    device, low, begin = features.embedding.device, [], 0
    for each in passes:
        part = slice(begin, begin + len(each.texts))
        repeated = features.select(torch.zeros(len(each.texts), dtype=torch.long, device=device))
        position, prompts = each.position(frame_idx), embeddings[part].to(device)
        low.append(model.model.decode_frame(repeated, prompts, each.bank, position, emitted[part]))
        if position == 0:
            each.key_frame_memory = dict(each.bank.entries)
        begin = part.stop
    return torch.cat(low)


def check_fit(model, session: GLUSInferenceSession, batch_size: int | None) -> None:
    """Refuse a session of a processor that does not belong to the model.

    Raises:
        UserError: what does not fit; one line.
    """
    config, views = model.config, session.image_processor
    if config.seg_token_id is None:
        raise UserError("config.seg_token_id is not set; take it from the processor: processor.seg_token_id")
    fits = {
        "num_context_frames": (len(session.context_frame_indices), config.num_context_frames),
        "mask_size": (sides(views.mask_size), sides(config.mask_config.image_size)),
        "crop_size": (sides(views.crop_size), sides(config.vision_config.image_size)),
    }
    check_inference(model, batch_size, fits)
    rows, image = config.text_config.vocab_size, config.image_token_id
    check_prompt_ids(session.prefix_input_ids, rows, image, config.num_context_frames * config.num_image_tokens)
    for ids in [*session.turn_input_ids, *session.last_turn_input_ids]:
        check_prompt_ids(ids, rows, image, config.num_image_tokens)


def _texts_by_key_frame(key_frame, session: GLUSInferenceSession) -> dict[int, list[int]]:
    """Expressions by key frame, ascending; from the first frame without one."""
    starts = key_frame_per_text(key_frame, len(session.texts), session.num_frames)
    starts = [int(start or 0) for start in starts]
    return {start: [text for text, own in enumerate(starts) if own == start] for start in sorted(set(starts))}


__all__ = [
    "GLUSInferenceSession",
    "GLUSVideoSegmentationOutput",
    "PropagationPass",
    "check_fit",
    "decode_read_frame",
    "propagate_in_video",
]
