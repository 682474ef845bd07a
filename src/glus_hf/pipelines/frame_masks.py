"""The one way from a session to masks, frame by frame: what the pipeline and the evaluator share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FrameMasks:
    """Masks of n texts of a session in one frame.

    Attributes:
        frame_index: 0..T-1.
        text_indices: which texts these are.
        masks: `[n, height, width]`, bool, at the video's own size.
        scores: `[n]`, float32 in `[0, 1]`.
    """

    frame_index: int
    text_indices: list[int]
    masks: np.ndarray
    scores: np.ndarray


def iterate_frame_masks(
    model,
    processor,
    session,
    key_frame: int | Sequence[int] | None = None,
    threshold: float = 0.0,
    batch_size: int | None = None,
) -> Iterator[FrameMasks]:
    """Segment the video of a session. For every text each frame comes exactly once, from the key frame forward, then
    backward; texts with different key frames reach a frame at different times.

    Args:
        model: has `propagate_in_video_iterator`, which takes a key frame, or a list of one per text.
        processor: has `post_process_masks`.
        session: from `processor.init_video_session`.
        key_frame: frame to start from, 0..T-1; the first by default. Or one per text.
        threshold: mask logits above it are foreground.
        batch_size: windows the language model reads at once; by default the model chooses.

    Yields:
        [`FrameMasks`], on the CPU.

    Example:
        >>> session = processor.init_video_session(video, ["the red circle"])  # doctest: +SKIP
        >>> for frame in iterate_frame_masks(model, processor, session):  # doctest: +SKIP
        ...     print(frame.frame_index, frame.masks.sum())
    """
    kwargs = {} if batch_size is None else {"batch_size": batch_size}
    if isinstance(key_frame, Sequence) and len(set(key_frame)) == 1:
        key_frame = key_frame[0]
    for output in model.propagate_in_video_iterator(session, key_frame=key_frame, **kwargs):
        masks = processor.post_process_masks(output.mask_logits, threshold=threshold)
        texts = getattr(output, "text_indices", None)
        texts = list(range(len(masks))) if texts is None else [int(text) for text in texts]
        yield FrameMasks(int(output.frame_idx), texts, masks.cpu().numpy(), output.scores.float().cpu().numpy())


def missing_seg_frames(session, num_texts: int) -> list[list[int]]:
    """Per text, the frames on which the model emitted no [SEG], in order; complete after the last frame came."""
    missing = getattr(session, "missing_seg_frames", None) or [[] for _ in range(num_texts)]
    return [sorted(int(frame) for frame in frames) for frames in missing]


__all__ = ["FrameMasks", "iterate_frame_masks", "missing_seg_frames"]
