"""Inference of the grounded engine on one video: find every expression once, then follow the boxes both ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ..mask_scores import mask_confidence
from ..sam2_tracking import MaskTrack, encode_frame, mask_view, start_tracking, track_frame, turned_back
from ..sessions import VideoSegmentationOutput, VideoSession, check_inference, key_frame_per_text
from .detection_grounded import Detection, detect, frames_to_search


NO_TARGET_LOGIT = -100.0
DETECTION_BATCH = 2


@dataclass
class GroundedInferenceSession(VideoSession):
    """One video and its expressions, made by [`GroundedProcessor.init_video_session`].

    Args:
        frames (`Sequence[np.ndarray]`): T frames, each `uint8 [height, width, 3]` RGB.
        texts (`list[str]`): the cleaned expressions.
        image_processor: of the detector.
        text_inputs (`list[dict]`): per expression, what the detector reads, each `[1, length]`.
        mask_image_mean, mask_image_std (`list[float]`): of the images of SAM-2.
        detection_frames (`list[int]`, *optional*): frames on which expressions without a key frame are looked for.
        detections (`list[Detection]`): filled by inference, per expression its best box.
    """

    image_processor: object
    text_inputs: list[dict]
    mask_image_mean: list[float]
    mask_image_std: list[float]
    detection_frames: list[int] | None = None
    detections: list[Detection] = field(default_factory=list)

    def mask_view(self, frame_idx: int, side: int) -> Tensor:
        """A frame as SAM-2 sees it, `float32 [1, 3, side, side]`."""
        return mask_view(self.frames[frame_idx], side, self.mask_image_mean, self.mask_image_std)


def propagate_in_video(
    model,
    session: GroundedInferenceSession,
    key_frame: int | Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Iterator[VideoSegmentationOutput]:
    """The loop behind [`GroundedForVideoSegmentation.propagate_in_video_iterator`]: one sweep forward, one back."""
    check_inference(model, batch_size, {})
    starts = key_frame_per_text(key_frame, len(session.texts), session.num_frames)
    session.detections = _find(model, session, starts, batch_size or DETECTION_BATCH)
    tracks = [_start(model, session, text, found) for text, found in enumerate(session.detections)]
    first, last = min(track.start for track in tracks), max(track.start for track in tracks)
    yield from _sweep(model, session, tracks, range(first, session.num_frames))
    tracks = [_turn(model, session, track) for track in tracks]
    yield from _sweep(model, session, tracks, range(last - 1, -1, -1))


def _find(model, session: GroundedInferenceSession, starts: list, batch_size: int) -> list[Detection]:
    everywhere = session.detection_frames
    if everywhere is None:
        everywhere = frames_to_search(session.num_frames, model.config.num_detection_frames)
    return detect(model, session, [everywhere if start is None else [int(start)] for start in starts], batch_size)


def _start(model, session: GroundedInferenceSession, text: int, found: Detection) -> MaskTrack:
    threshold = model.config.no_target_threshold
    is_there = threshold is None or found.score >= threshold
    size = session.height, session.width
    sam = start_tracking(model.mask_model, size, found.box) if is_there else None
    return MaskTrack(text, found.frame_idx, 1, found.score, sam)


def _turn(model, session: GroundedInferenceSession, track: MaskTrack) -> MaskTrack:
    size = session.height, session.width
    sam = None if track.sam is None else turned_back(model.mask_model, size, track.sam)
    return MaskTrack(track.text, track.start, -1, track.score, sam)


def _sweep(
    model, session: GroundedInferenceSession, tracks: list[MaskTrack], frames: range
) -> Iterator[VideoSegmentationOutput]:
    for frame_idx in frames:
        yield _segment_frame(model, session, [track for track in tracks if track.covers(frame_idx)], frame_idx)


@torch.no_grad()
def _segment_frame(
    model, session: GroundedInferenceSession, tracks: list[MaskTrack], frame_idx: int
) -> VideoSegmentationOutput:
    mask_model, size = model.mask_model, (session.height, session.width)
    logits = torch.full((len(tracks), *size), NO_TARGET_LOGIT, device=mask_model.device)
    scores = torch.zeros(len(tracks), device=mask_model.device)
    pixels = features = None
    for row, track in enumerate(tracks):
        if track.sam is None:
            continue
        if features is None:
            pixels = session.mask_view(frame_idx, mask_model.image_size).to(mask_model.device, mask_model.dtype)
            features = encode_frame(mask_model, pixels)
        low, presence = track_frame(mask_model, track.sam, features, pixels, track.position(frame_idx))
        logits[row] = F.interpolate(low[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        scores[row] = track.score * presence.sigmoid() * mask_confidence(logits[row])
    return VideoSegmentationOutput(
        frame_idx=frame_idx, text_indices=[track.text for track in tracks], mask_logits=logits, scores=scores
    )


__all__ = ["GroundedInferenceSession", "propagate_in_video"]
