"""The one way from a session to masks, frame by frame: what the pipeline and the evaluator share."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..models.refusals import explained_outputs


if TYPE_CHECKING:  # the command line lists its commands without PyTorch
    from torch import Tensor


MISSING_FRAMES = "missing_seg_frames"
"""Key under which results and files list the frames without an answer: the name that the first family gave it."""


EXPRESSIONS_WITH_MISSING = "expressions_missing_seg"
"""Key of how many expressions have such frames."""


EXACT = {"window": "sliding", "frame_stride": 1}
"""The settings that compute what the model was published with."""


@dataclass(frozen=True)
class FrameMasks:
    """Masks of n texts of a session in one frame.

    Attributes:
        frame_idx: 0..T-1.
        text_indices: which texts these are.
        masks: `[n, height, width]`, bool, at the video's own size.
        scores: `[n]`, float32 in `[0, 1]`.
        missing: those of `text_indices` that the model gave no answer for; their masks are empty.
        logits: `[n, height, width]`, float32, where they were asked for.
    """

    frame_idx: int
    text_indices: list[int]
    masks: np.ndarray
    scores: np.ndarray
    missing: list[int]
    logits: np.ndarray | None = None


def iterate_frame_masks(
    model,
    processor,
    session,
    key_frame: int | Sequence[int] | None = None,
    threshold: float = 0.0,
    batch_size: int | None = None,
    keep_logits: bool = False,
    window: str = "sliding",
    frame_stride: int = 1,
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
        keep_logits: give the logits too.
        window, frame_stride: see [`fast_modes`].

    Yields:
        [`FrameMasks`], on the CPU.

    Example:
        >>> session = processor.init_video_session(video, ["the red circle"])  # doctest: +SKIP
        >>> for frame in iterate_frame_masks(model, processor, session):  # doctest: +SKIP
        ...     print(frame.frame_idx, frame.masks.sum())
    """
    kwargs = {} if batch_size is None else {"batch_size": batch_size}
    kwargs |= fast_modes(model, window, frame_stride)
    if isinstance(key_frame, Sequence) and len(set(key_frame)) == 1:
        key_frame = key_frame[0]
    outputs = model.propagate_in_video_iterator(session, key_frame=key_frame, **kwargs)
    for output in explained_outputs(model, outputs):
        yield frame_masks(output, processor, threshold, keep_logits)


def fast_modes(model, window: str = "sliding", frame_stride: int = 1) -> dict:
    """Arguments of `propagate_in_video_iterator` for modes that are faster and not the same; none for the exact one.

    Args:
        model: has `propagate_in_video_iterator`.
        window: "sliding", or "whole": all frames of a window are answered by one pass of the language model.
        frame_stride: read every so many frames only; the memories carry the masks between.

    Raises:
        UserError: the model has no such mode.

    Example:
        >>> fast_modes(None, "sliding", 1)
        {}
    """
    modes = {"window": window, "frame_stride": frame_stride}
    modes = {name: value for name, value in modes.items() if value != EXACT[name]}
    known = inspect.signature(model.propagate_in_video_iterator).parameters if modes else {}
    for name in modes:
        if name not in known:
            kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
            raise UserError(f"a {kind} model has no mode {name}={modes[name]!r}: leave it out")
    return modes


def frame_masks(output, processor, threshold: float = 0.0, keep_logits: bool = False) -> FrameMasks:
    """The masks of one output of a model; see [`iterate_frame_masks`]."""
    from ..models.host_copies import to_host

    masks = processor.post_process_masks(output.mask_logits, threshold=threshold)
    leaving = [_has_nan(output), masks, output.scores.float()]
    leaving += [output.mask_logits.float()] if keep_logits else []
    has_nan, masks, scores, *logits = (each.numpy() for each in to_host(*leaving))
    _refuse_nan(output, has_nan)
    texts = range(len(masks)) if output.text_indices is None else map(int, output.text_indices)
    missing = [int(text) for text in output.missing or ()]
    return FrameMasks(int(output.frame_idx), list(texts), masks, scores, missing, *logits)


def _has_nan(output) -> Tensor:
    return output.mask_logits.isnan().any() | output.scores.isnan().any().to(output.mask_logits.device)


def _refuse_nan(output, has_nan: np.ndarray) -> None:
    """A mask of logits that are NaN would be an empty one that looks like any other."""
    if has_nan:
        message = "the model gives values that are no numbers; check its weights and settings, or use --dtype float32"
        raise UserError(f"frame {int(output.frame_idx)}: {message}")


def add_missing(missing: list[list[int]], frame: FrameMasks) -> None:
    """Note for each text, in the list of its number, whether it has no answer on a frame."""
    for text in frame.missing:
        missing[text].append(frame.frame_idx)


__all__ = [
    "EXACT",
    "EXPRESSIONS_WITH_MISSING",
    "MISSING_FRAMES",
    "FrameMasks",
    "add_missing",
    "fast_modes",
    "frame_masks",
    "iterate_frame_masks",
]
