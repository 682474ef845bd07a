"""The loop of the GLUS recipe over the frames of a video: encode, read, decode. Shared by its families.

A family brings a [`FrameReader`], the language side, and a [`MaskBranch`], the mask side; the loop asks for nothing
else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import Tensor

from .host_copies import to_device
from .mask_branch import GIVEN_LOGIT, MaskBranch
from .mask_scores import resize_and_score
from .memory_bank import MemoryBank
from .prefix_cache import default_batch_size
from .sessions import VideoSegmentationOutput, VideoSession, key_frame_per_text
from .window_reader import SegPredictions, WindowReader
from .window_schedule import SlidingWindows, WindowSchedule


CHUNK = 16


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
    session: VideoSession,
    key_frame: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    schedule: WindowSchedule | None = None,
) -> Iterator[GLUSVideoSegmentationOutput]:
    """Segment a video, frame by frame; see [`GLUSForVideoSegmentation.propagate_in_video_iterator`].

    One sweep forward and one back: expressions join at their key frames and share the features of every frame.
    Works in chunks of frames: features of a frame live as long as a window or a memory needs them.

    Args:
        model: with `frame_reader` ([`FrameReader`]), `mask_branch` ([`MaskBranch`]) and a `config` of the recipe.
        session: of the model's processor; has `missing_seg_frames`, filled by `note_missing(text, frame_idx)`,
            and `mask_view(frame_idx)`.
        key_frame, batch_size: as of the iterator.
        schedule: which window is read for a frame; sliding windows by default.
    """
    starts = _texts_by_key_frame(key_frame, session)
    session.missing_seg_frames = [[] for _ in session.texts]
    first, last = min(starts), max(starts)
    schedule = schedule or SlidingWindows(model.config.num_query_frames)
    size = batch_size or default_batch_size(model)
    reader = cache(lambda: WindowReader(model.frame_reader, session, size, last, schedule))
    passes = [
        PropagationPass(start, 1, texts, MemoryBank(model.config.num_maskmem, model.config.memory_stride))
        for start, texts in starts.items()
    ]
    read = partial(_read, session, reader, schedule)
    yield from _sweep(model.mask_branch, session, read, passes, range(first, session.num_frames))
    passes = [forward.reversed_pass() for forward in passes]
    yield from _sweep(model.mask_branch, session, read, passes, range(last - 1, -1, -1))


def _sweep(
    branch: MaskBranch,
    session: VideoSession,
    read: Callable[[range, list[list[PropagationPass]]], list[SegPredictions]],
    passes: list[PropagationPass],
    frames: range,
):
    try:
        for chunk in _chunks(frames):
            active = [[each for each in passes if each.covers(frame_idx)] for frame_idx in chunk]
            found = read(chunk, active)
            _read_ahead(session, frames[frames.index(chunk[-1]) + 1 :])
            for frame_idx, covering, predictions in zip(chunk, active, found, strict=True):
                yield decode_read_frame(branch, session, covering, predictions, frame_idx)
    finally:
        _read_ahead(session, ())


def _read(
    session: VideoSession,
    reader: Callable[[], WindowReader],
    schedule: WindowSchedule,
    chunk: range,
    active: list[list[PropagationPass]],
) -> list[SegPredictions]:
    """What the language model says of frames. It depends on their windows, not on masks, so a session that is
    corrected keeps it."""
    if not getattr(session, "keep_readings", False):
        return reader().read(chunk, active)
    keys = [
        (schedule, *((*schedule.source(each, frame_idx), *each.texts) for each in covering))
        for frame_idx, covering in zip(chunk, active, strict=True)
    ]
    if not all(key in session.readings for key in keys):
        session.readings |= zip(keys, reader().read(chunk, active), strict=True)
    return [session.readings[key] for key in keys]


def _read_ahead(session: VideoSession, frames: Sequence[int]) -> None:
    """Let the next frames be read while these are decoded, where the video is read on demand."""
    read_ahead = getattr(session.frames, "read_ahead", None)
    if read_ahead is not None:
        read_ahead(frames)


def _chunks(frames: range) -> Iterator[range]:
    """The first frame alone, so that its mask is there after one window; then `CHUNK` at a time."""
    bounds = [0, *range(min(1, len(frames)), len(frames), CHUNK), len(frames)]
    return (frames[begin:end] for begin, end in zip(bounds, bounds[1:], strict=False) if begin < end)


@torch.no_grad()
def decode_read_frame(
    branch: MaskBranch,
    session: VideoSession,
    passes: list[PropagationPass],
    predictions: SegPredictions,
    frame_idx: int,
) -> GLUSVideoSegmentationOutput:
    """The third stage: masks of a frame whose [SEG]s are read, of the expressions of some passes in their order."""
    texts = [text for each in passes for text in each.texts]
    given = _given_masks(session, frame_idx, texts)
    emitted = [is_emitted or index in given for index, is_emitted in enumerate(predictions.emitted)]
    missing = sorted(text for text, is_emitted in zip(texts, emitted, strict=True) if not is_emitted)
    for text in missing:
        session.note_missing(text, frame_idx)
    embeddings, size = predictions.embeddings, (session.height, session.width)
    if any(emitted):
        features = branch.encode_mask_frames(session.mask_view(frame_idx))
        low = _decode_passes(branch, passes, features, embeddings, emitted, frame_idx, given)
    else:
        low = embeddings.new_zeros(len(texts), 1, 1)
    order = sorted(range(len(texts)), key=texts.__getitem__)
    logits, scores = resize_and_score(low, size, predictions.probabilities, emitted, order)
    for row, index in enumerate(order):
        if index in given:  # exactly, not by way of the mask decoder's size
            logits[row] = (2.0 * given[index].to(logits) - 1) * GIVEN_LOGIT
            scores[row] = float(given[index].any())
    return GLUSVideoSegmentationOutput(
        frame_idx=frame_idx,
        text_indices=sorted(texts),
        mask_logits=logits,
        scores=scores,
        missing=missing,
        seg_embeddings=embeddings.index_select(0, to_device(torch.tensor(order), embeddings.device)),
    )


def _decode_passes(
    branch: MaskBranch,
    passes: list[PropagationPass],
    features,
    embeddings: Tensor,
    emitted: list[bool],
    frame_idx: int,
    given: Mapping[int, Tensor],
) -> Tensor:
    """Low-resolution logits of all expressions; each pass has its own memories."""
    device, low, begin = features.embedding.device, [], 0
    for each in passes:
        part = slice(begin, begin + len(each.texts))
        repeated = features.select(torch.zeros(len(each.texts), dtype=torch.long, device=device))
        position, prompts = each.position(frame_idx), embeddings[part].to(device)
        own = {index - begin: mask for index, mask in given.items() if part.start <= index < part.stop}
        corrected = {"given": own} if own else {}
        low.append(branch.decode_frame(repeated, prompts, each.bank, position, emitted[part], **corrected))
        if position == 0:
            each.key_frame_memory = dict(each.bank.entries)
        begin = part.stop
    return torch.cat(low)


def _given_masks(session: VideoSession, frame_idx: int, texts: list[int]) -> dict[int, Tensor]:
    """Masks that a user gave for a frame, by place in `texts`."""
    masks = session.given_masks(frame_idx) if getattr(session, "prompts", None) else {}
    return {index: torch.from_numpy(masks[text]) for index, text in enumerate(texts) if text in masks}


def _texts_by_key_frame(key_frame, session: VideoSession) -> dict[int, list[int]]:
    """Expressions by key frame, ascending; from the first frame without one."""
    starts = key_frame_per_text(key_frame, len(session.texts), session.num_frames)
    starts = [int(start or 0) for start in starts]
    return {start: [text for text, own in enumerate(starts) if own == start] for start in sorted(set(starts))}


__all__ = ["GLUSVideoSegmentationOutput", "PropagationPass", "decode_read_frame", "propagate_in_video"]
