"""A key-frame selector as the pipeline and the evaluator use it, and what its scores say about a missing target."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from ..errors import UserError
from ..model_families import KEY_FRAME_SELECTOR, load_class
from ..models.frame_scores import best_frames, finite_scores
from ..models.refusals import explained
from ..models.sessions import AUTO


@dataclass(frozen=True)
class FrameSelector:
    """A model that scores the frames of a video, and its processor.

    Attributes:
        model: has `score_frames(session, batch_size)`, `[num_texts, num_frames]`.
        processor: has `init_video_session(video, text)`; for an evaluation also `to_dict()`, its settings.
        name: for messages and settings.
    """

    model: object
    processor: object
    name: str = ""

    def score(self, video, texts: Sequence[str], batch_size: int | None = None) -> np.ndarray:
        """Scores of all frames for all texts, `[num_texts, num_frames]` float32; higher is better.

        Raises:
            UserError: a score is no finite number, or the processor refuses a text; one line.
        """
        session = self.processor.init_video_session(video, list(texts))
        with explained(self.model):
            return finite_scores(self.model.score_frames(session, batch_size=batch_size).float().cpu().numpy())


def load_selector(selector, processor=None, device=None, dtype="auto") -> FrameSelector:
    """A selector by alias, folder or Hub name, or one that is loaded already.

    Args:
        selector: name, a [`GLUSSelector`] in eval mode, or a [`FrameSelector`], which is returned as it is.
        processor: of the selector, or its name; by default that of the folder it was loaded from.
        device, dtype: for a selector by name.

    Raises:
        CheckpointError: it cannot be loaded; one line.
        UserError: it is no selector, or has no processor; one line.

    Example:

        >>> load_selector("my-selector").score("clip.mp4", ["the red circle"]).shape  # doctest: +SKIP
        (1, 16)
    """
    if isinstance(selector, FrameSelector):
        return selector
    source = selector
    if isinstance(selector, (str, os.PathLike)):
        selector = load_class(KEY_FRAME_SELECTOR, "model").from_pretrained(source, dtype=dtype).eval()
        if device is not None:
            selector = selector.to(device)
    elif not hasattr(selector, "score_frames"):
        raise UserError(f"{type(selector).__name__} is no selector; pass its name, its folder or a loaded one")
    else:
        source = getattr(selector, "name_or_path", "")
    if processor is None or isinstance(processor, (str, os.PathLike)):
        if not (processor or source):
            raise UserError("a selector in memory needs its processor: pass selector_processor=")
        processor = load_class(KEY_FRAME_SELECTOR, "processor").from_pretrained(processor or source)
    return FrameSelector(selector, processor, str(source) or type(selector).__name__)


def key_frames_of(scores: np.ndarray) -> list[int]:
    """Index of the best frame of each text: `[num_texts, num_frames]` -> `num_texts`; the first of equals.

    Example:

        >>> key_frames_of(np.array([[0.1, 0.9, 0.9], [0.5, 0.2, 0.1]]))
        [1, 0]
    """
    return best_frames(scores).tolist()


def confidence(frame_scores, mask_scores) -> float:
    """How sure it is that an expression fits something: the largest selector score x mask score of any frame.

    Args:
        frame_scores: `[num_frames]` of a selector; below 0 counts as 0.
        mask_scores: `[num_frames]` in [0, 1]; 0 where the mask is empty.

    Example:

        >>> round(confidence([0.5, 0.9], [0.8, 0.7]), 2)
        0.63
    """
    return float((np.clip(np.asarray(frame_scores, dtype=np.float64), 0, None) * np.asarray(mask_scores)).max())


def flag_no_target(frame_scores, mask_scores, threshold: float | None) -> dict:
    """`confidence`, and as `no_target` whether it is below the threshold: then the expression fits nothing."""
    value = confidence(frame_scores, mask_scores)
    return {"confidence": value, "no_target": threshold is not None and value < threshold}


def require_selector(selector, no_target_threshold=None, key_frames=()) -> None:
    """Refuse what only a selector can decide where there is none.

    Args:
        selector: None, or anything else.
        no_target_threshold: None, or a threshold.
        key_frames: those asked for; "auto" is one of a selector.

    Raises:
        UserError: there is no selector but something needs one.

    Example:

        >>> require_selector(None, key_frames=[0, None])
    """
    if selector is None and (no_target_threshold is not None or AUTO in key_frames):
        raise UserError(
            "key_frame='auto' and no_target_threshold need a selector (--selector); pass its name or model"
        )


def check_threshold(threshold) -> None:
    """Refuse a `no_target_threshold` that is no finite number; None is none."""
    is_number = isinstance(threshold, Real) and not isinstance(threshold, bool)
    if threshold is not None and not (is_number and math.isfinite(threshold)):
        raise UserError(f"no_target_threshold must be a finite number, got {threshold!r}")


__all__ = [
    "FrameSelector",
    "check_threshold",
    "confidence",
    "flag_no_target",
    "key_frames_of",
    "load_selector",
    "require_selector",
]
