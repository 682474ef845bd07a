"""How often training has passed over the frames of its videos: the paper's epochs over the whole set of frames."""

from __future__ import annotations

from collections.abc import Iterable

from torch.utils.data import Dataset
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


class FramesSeen(TrainerCallback, ExportableState):
    """Counts the frames of all samples and all processes; a checkpoint keeps the number."""

    def __init__(self):
        self.count = 0

    def state(self) -> dict:
        return {"args": {}, "attributes": {"count": self.count}}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self.count = 0


def frames_in(samples: Iterable[dict]) -> int:
    """Frames of samples, context and query frames alike.

    Example:

        >>> frames_in([{"frame_indices": [1, 3, 6, 8, 4, 5]}, {"frame_indices": [0]}])
        7
    """
    return sum(len(sample.get("frame_indices", ())) for sample in samples)


def frames_of(dataset: Dataset | None) -> int | None:
    """Frames of all videos of a training set; None where it does not say."""
    return getattr(dataset, "total_frames", None)


__all__ = ["FramesSeen", "frames_in", "frames_of"]
