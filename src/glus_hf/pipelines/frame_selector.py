"""A key-frame selector as the pipeline and the evaluator use it, and what its scores say about a missing target."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FrameSelector:
    """A model that scores the frames of a video, and its processor.

    Attributes:
        model: has `score_frames(session, batch_size)`, `[num_texts, num_frames]`.
        processor: has `init_video_session(video, text)`.
        name: for messages and settings.
    """

    model: object
    processor: object
    name: str = ""

    def score(self, video, texts: Sequence[str], batch_size: int | None = None) -> np.ndarray:
        """Scores of all frames for all texts, `[num_texts, num_frames]` float32; higher is better."""
        session = self.processor.init_video_session(video, list(texts))
        return self.model.score_frames(session, batch_size=batch_size).float().cpu().numpy()


def load_selector(selector, processor=None, device=None, dtype="auto") -> FrameSelector:
    """A selector by alias, folder or Hub name, or one that is loaded already.

    Args:
        selector: name, a [`GLUSSelector`] in eval mode, or a [`FrameSelector`], which is returned as it is.
        processor: of a selector in memory; by default that of the folder it was loaded from.
        device, dtype: for a selector by name.

    Raises:
        CheckpointError: it cannot be loaded; one line.

    Example:

        >>> load_selector("my-selector").score("clip.mp4", ["the red circle"]).shape  # doctest: +SKIP
        (1, 16)
    """
    if isinstance(selector, FrameSelector):
        return selector
    from ..models.glus_selector.modeling_glus_selector import GLUSSelector
    from ..models.glus_selector.processing_glus_selector import GLUSSelectorProcessor

    source = selector
    if isinstance(selector, (str, os.PathLike)):
        selector = GLUSSelector.from_pretrained(source, dtype=dtype).eval()
        if device is not None:
            selector = selector.to(device)
    else:
        source = getattr(selector, "name_or_path", "") or getattr(selector.config, "_name_or_path", "")
    if processor is None:
        if not source:
            raise ValueError("a selector in memory needs its processor: pass selector_processor=")
        processor = GLUSSelectorProcessor.from_pretrained(source)
    return FrameSelector(selector, processor, str(source) or type(selector).__name__)


def key_frames_of(scores: np.ndarray) -> list[int]:
    """Index of the best frame of each text: `[num_texts, num_frames]` -> `num_texts`; the first of equals.

    Example:

        >>> key_frames_of(np.array([[0.1, 0.9, 0.9], [0.5, 0.2, 0.1]]))
        [1, 0]
    """
    return [int(best) for best in np.asarray(scores).argmax(-1)]


def confidence(frame_scores, mask_scores) -> float:
    """How sure it is that an expression fits something: the best frame's selector score x mask score.

    Args:
        frame_scores: `[num_frames]` of a selector; below 0 counts as 0.
        mask_scores: `[num_frames]` in [0, 1]; 0 where the mask is empty.

    Example:

        >>> round(confidence([0.5, 0.9], [0.8, 0.7]), 2)
        0.63
    """
    return float((np.clip(np.asarray(frame_scores, dtype=np.float64), 0, None) * np.asarray(mask_scores)).max())


__all__ = ["FrameSelector", "confidence", "key_frames_of", "load_selector"]
