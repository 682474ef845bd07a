"""How an evaluation segments: one object that is passed whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ..errors import UserError
from ..inference.frame_masks import EXACT
from ..inference.frame_selector import check_threshold
from ..media.decode_limits import DecodeLimits
from ..models.sessions import WINDOWS


ON_ERROR = ("raise", "skip")
NOT_IN_SETTINGS = ("on_error", "key_frames", "limits")  # key frames are in the digest of every expression


@dataclass(frozen=True)
class EvaluationOptions:
    """How to segment. All but `on_error` and `limits` belong to the settings that a resumed run must share.

    Attributes:
        texts_per_pass: expressions of a video that go through the model together, and so share its features.
        threshold: mask logits above it are foreground; 0 is probability 0.5.
        batch_size: windows the language model reads at once; None is the model's own number, the same on every machine
            of a kind.
        context_frames: strategy or indices for the processor's `init_video_session`; None is its own.
        key_frame: index of the frame to start from, for all videos.
        key_frames: instead, `{"<video>_<expression>": name of the frame as a number}`; others start from the first.
        no_target_threshold: with a selector: expressions whose confidence (the largest selector score x mask score of
            any frame) is below it get empty masks.
        window, frame_stride: modes that are faster and not the same; see
            [`~glus_hf.inference.frame_masks.fast_modes`].
        limits: what a video may ask for when it is read.
        on_error: "raise", or "skip" to report expressions that fail and go on.

    Raises:
        UserError: an impossible value.

    Example:
        >>> EvaluationOptions(threshold=0.5).settings()["threshold"]
        0.5
    """

    texts_per_pass: int = 8
    threshold: float = 0.0
    batch_size: int | None = 8
    context_frames: str | Sequence[int] | None = None
    key_frame: int | None = None
    key_frames: Mapping[str, int] | None = field(default=None, repr=False)
    no_target_threshold: float | None = None
    window: str = "sliding"
    frame_stride: int = 1
    on_error: str = "raise"
    limits: DecodeLimits | None = None

    def __post_init__(self):
        if self.on_error not in ON_ERROR:
            raise UserError(f"on_error must be one of {', '.join(ON_ERROR)}, got {self.on_error!r}")
        if not math.isfinite(self.threshold):
            raise UserError(f"threshold must be a finite number, got {self.threshold}")
        if self.window not in WINDOWS:
            raise UserError(f"window must be one of {', '.join(WINDOWS)}, got {self.window!r}")
        if self.frame_stride < 1 or (self.window == "whole" and self.frame_stride > 1):
            raise UserError(f"frame_stride must be at least 1, and 1 with whole windows, got {self.frame_stride!r}")
        check_threshold(self.no_target_threshold)
        if self.no_target_threshold is not None:  # NumPy's numbers do not go into JSON
            object.__setattr__(self, "no_target_threshold", float(self.no_target_threshold))

    @property
    def context(self) -> dict:
        """Arguments of `init_video_session` beside video and expressions."""
        return {} if self.context_frames is None else {"context_frames": self.context_frames}

    @property
    def modes(self) -> dict:
        """Arguments of `iterate_frame_masks` for modes that are not the exact one."""
        return {"window": self.window, "frame_stride": self.frame_stride}

    @property
    def names_key_frames(self) -> bool:
        """Whether key frames are given, so that no selector chooses them."""
        return self.key_frame is not None or self.key_frames is not None

    def settings(self) -> dict:
        """What predictions depend on; modes only where they are not exact, as runs had none before there were any."""
        settings = {name: value for name, value in asdict(self).items() if name not in NOT_IN_SETTINGS}
        return {name: value for name, value in settings.items() if EXACT.get(name) != value or name not in EXACT}


__all__ = ["ON_ERROR", "EvaluationOptions"]
