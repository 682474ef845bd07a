"""Training samples of the key-frame selector: context frames, a target frame, a few expressions and their labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import BrokenSampleError, UserError
from .collators import add_conversations
from .pseudo_labels import read_labels
from .referring_video_dataset import VideoRows, group_by_video, sample_from_segments
from .resumable_sampler import SAMPLE_STREAM, EpochDataset
from .skip_log import SkipLog


if TYPE_CHECKING:
    import datasets
    from transformers.feature_extraction_utils import BatchFeature

    from ...models.glus_selector.processing_glus_selector import GLUSSelectorProcessor

LABEL_COLUMNS = ["dataset", "video_id", "expression_id", "frames"]
NO_LABEL = np.nan
ATTEMPTS = 20
TARGET_FRAMES = ("context", "apart")


class SelectorDataset(EpochDataset):
    """Videos of a table of [`load_referring_dataset`] that have pseudo-labels, one training sample per video.

    A sample is chosen as in the original code: `n` of `context_frames` is sampled, one random frame of each of `n`
    equal segments (all frames of a shorter video) is context, one of these is the target frame, and up to
    `max_expressions` different expressions of the video are asked about it. An expression without a file of labels is
    left out of training, and so is a frame without a label as target: context frames are sampled anew, or if
    that does not help, a labelled frame takes the place of the context frame nearest to it.

    Sample `i` of epoch `e` is a function of `(seed, e, i)` alone.

    Args:
        rows: table with the columns of [`dataset_schema.FEATURES`], not streaming.
        labels: folder of [`make_pseudo_labels`], or one of the original code.
        context_frames: fewest and most context frames.
        target_frame: "context" takes one of the context frames, as the original code; "apart" any other labelled
            frame, as eq. E of the paper, and a context frame only where no other is left.
        max_expressions: most expressions of a sample.
        seed: 0 or more.
        on_error: "raise", or "skip" to take the next video that can be read; see [`ReferringVideoDataset`].

    Raises:
        ValueError: no labels for any video of the table, a file of labels that does not fit, or an impossible choice;
            one line.
        BrokenSampleError: from `dataset[i]`; a frame cannot be read.

    `dataset[i]` is a dict that [`SelectorCollator`] and `GLUSSelectorProcessor.__call__` take:

        - `frames`: context frames, then the target frame, each `[height, width, 3]` uint8 RGB
        - `expressions`: E strings, raw
        - `scores`: E floats in [0, 1]
        - `dataset`, `video_id`, `expression_ids`, `frame_indices` (the target last), `key`

    Example:

        >>> rows = load_referring_dataset("mevis", "mevis", split="train")  # doctest: +SKIP
        >>> SelectorDataset(rows, "labels")[0]["scores"]  # doctest: +SKIP
        [0.83, 0.0, 0.91]
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        labels: str | os.PathLike,
        context_frames: Sequence[int] = (8, 12),
        target_frame: str = "context",
        max_expressions: int = 3,
        seed: int = 0,
        on_error: str = "raise",
    ):
        super().__init__()
        fewest, most = (int(count) for count in context_frames)
        if not 1 <= fewest <= most:
            raise UserError(f"context_frames must be fewest and most, from 1 up, got {list(context_frames)}")
        if max_expressions < 1 or seed < 0:
            raise UserError(f"need at least 1 expression and a seed of 0 or more, got {max_expressions} and {seed}")
        if target_frame not in TARGET_FRAMES:
            raise UserError(f"unknown target_frame {target_frame!r}; use one of {', '.join(TARGET_FRAMES)}")
        if on_error not in ("raise", "skip"):
            raise UserError(f"unknown on_error {on_error!r}; use one of raise, skip")
        self.context_frames, self.max_expressions, self.seed = (fewest, most), max_expressions, seed
        self.target_frame = target_frame
        self._log = SkipLog() if on_error == "skip" else None
        self._labels = _read_all(rows, labels)
        self._videos = [video for video in map(self._labelled, group_by_video(rows)) if len(video.rows)]
        if not self._videos:
            name = f"{rows[0]['dataset']}, split {rows.split}"
            raise UserError(f"{labels}: has no labels for any video of {name}; run glus-hf pseudo-label first")
        self._rows = rows

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self.sample(int(index), (SAMPLE_STREAM, self.seed, self.epoch, int(index)))

    @property
    def skipped(self) -> list[dict]:
        """What was left out because it could not be read; see [`ReferringVideoDataset.skipped`]."""
        return [] if self._log is None else self._log.read()

    def sample(self, index: int, key: tuple[int, ...]) -> dict:
        """The sample of video `index` that the numbers `key` determine."""
        attempts = len(self) if self._log is not None else 1
        for attempt in range(attempts):
            video = self._videos[(index + attempt) % len(self)]
            rng = np.random.default_rng([*key, attempt])
            chosen = rng.choice(len(video.rows), min(self.max_expressions, len(video.rows)), replace=False)
            numbers = [int(number) for number in video.rows[chosen]]
            context, target = self._sample_frames(video.num_frames, numbers, rng)
            numbers = [number for number in numbers if not np.isnan(self._labels[number][target])]
            try:
                return {**self._read(numbers, context, target), "key": (*key, attempt)}
            except (UserError, OSError) as error:
                name, reason = video.name, " ".join(str(error).split())
                if self._log is None:
                    raise BrokenSampleError(
                        f"{name}: {reason}; repair or remove it, or pass on_error='skip'"
                    ) from error
                self._log.add(name, reason)
        raise BrokenSampleError(f"none of {len(self)} videos can be read; the last, {name}: {reason}")

    def _sample_frames(self, num_frames: int, numbers: list[int], rng: np.random.Generator) -> tuple[list[int], int]:
        """Context frames and a target that at least one of the expressions has a label for."""
        has_label = ~np.isnan(np.stack([self._labels[number] for number in numbers])).all(0)
        for _ in range(ATTEMPTS):
            count = int(rng.integers(*self.context_frames, endpoint=True))
            context = sample_from_segments(num_frames, count, rng) if num_frames > count else list(range(num_frames))
            candidates = self._candidates(context, np.flatnonzero(has_label))
            if candidates:
                return context, int(rng.choice(candidates))
        target = int(rng.choice(np.flatnonzero(has_label)))  # no context frame has a label
        nearest = min(range(len(context)), key=lambda position: abs(context[position] - target))
        context[nearest] = target
        return context, target

    def _candidates(self, context: list[int], labelled: np.ndarray) -> list[int]:
        """Labelled frames that can be the target."""
        inside = [int(frame) for frame in labelled if frame in context]
        return ([] if self.target_frame == "context" else [f for f in labelled if f not in context]) or inside

    def _read(self, numbers: list[int], context: list[int], target: int) -> dict:
        from ...data.frames import read_frame

        rows = [self._light_row(number) for number in numbers]
        first = rows[0]
        frames = {frame: read_frame(first["frame_paths"][frame]) for frame in {*context, target}}
        return {
            "frames": [frames[frame] for frame in (*context, target)],
            "expressions": [row["expression"] for row in rows],
            "scores": [float(self._labels[number][target]) for number in numbers],
            "dataset": first["dataset"],
            "video_id": first["video_id"],
            "expression_ids": [row["expression_id"] for row in rows],
            "frame_indices": [*context, target],
        }

    def _light_row(self, number: int) -> dict:
        names = ["dataset", "video_id", "expression_id", "expression", "frame_paths"]
        return self._rows.select_columns(names)[number]

    def _labelled(self, video: VideoRows) -> VideoRows:
        kept = np.array([number for number in video.rows if int(number) in self._labels], dtype=int)
        return VideoRows(video.name, kept, video.num_frames)


def _read_all(rows: datasets.Dataset, folder: str | os.PathLike) -> dict[int, np.ndarray]:
    """Labels by number of the row, NaN where a frame has none; rows without a usable label are left out."""
    found = {}
    for number, row in enumerate(rows.select_columns(LABEL_COLUMNS)):
        labels = read_labels(folder, row)
        if labels is not None and any(label is not None for label in labels):
            found[number] = np.array([NO_LABEL if label is None else label for label in labels], dtype=np.float32)
    return found


class SelectorCollator:
    """Turns samples of [`SelectorDataset`] into a batch for [`GLUSSelector`].

    Every expression gets a question and an answer sampled from the selector's templates. They depend on the sample's
    `key` alone. Expressions keep their case, as in the original code's training.

    Args:
        processor: of the selector.
        random_templates: False uses the prompt of inference everywhere.

    Raises:
        ValueError: from a call, an expression that the processor refuses, with its ids.
    """

    def __init__(self, processor: GLUSSelectorProcessor, random_templates: bool = True):
        self.processor, self.random_templates = processor, random_templates

    def __call__(self, samples: Sequence[dict]) -> BatchFeature:
        """B samples to what `GLUSSelectorProcessor.__call__` returns."""
        return self.processor([self._with_conversations(sample) for sample in samples])

    def _with_conversations(self, sample: dict) -> dict:
        num_context = len(sample["frames"]) - 1
        sample_conversation = lambda expression, rng: self.processor.sample_conversation(expression, num_context, rng)
        return add_conversations(sample, sample_conversation, self.random_templates)


__all__ = ["SelectorCollator", "SelectorDataset"]
