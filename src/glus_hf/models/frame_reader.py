"""The language side of the GLUS recipe: what the loop over frames asks of a reader of frames and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class FrameReader(Protocol):
    """Reads frames and words, and predicts [SEG]. Which backbone it has is its own affair.

    What it keeps of a frame and of a beginning of a prompt is only ever handed back to it.
    """

    def read_frames(self, session, frames: Sequence[int]) -> Sequence[Any]:
        """What is kept of each of these frames of the session's video, for all windows and expressions."""

    def read_prefix(self, input_ids: list[int], frames: Sequence[Any]) -> Any:
        """Read what all windows of a video begin with; `frames` are those at its image positions, in order."""

    def shared_lead(self, session) -> int:
        """How many ids of a window behind the prefix are worth reading once for all expressions; 0 for none."""

    def read_leads(self, prefix: Any, input_ids: list[int], frames: Sequence[Any]) -> Any:
        """Read such ids, with one image, behind the prefix for n first frames; `select(rows)` gives one per window."""

    def read_windows(
        self, prefix: Any, input_ids: list[list[int]], frames: Sequence[Sequence[Any]], places: list[list[int]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read n windows behind the prefix, for k places each, counted in their ids, at which [SEG] is predicted.

        Returns:
            Projected [SEG] states `[n, k, dim]`, probabilities of [SEG] `[n, k]`, and whether it is the arg-max.
        """


__all__ = ["FrameReader"]
