"""Several datasets mixed by weight."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...errors import UserError
from .referring_video_dataset import ReferringVideoDataset
from .resumable_sampler import CHOICE_STREAM, MIXTURE_STREAM, EpochDataset


# The original code's training scripts; names of datasets as in load_referring_dataset.
MIXTURES = {
    "glus-s": {"mevis": 1, "refer_youtube_vos": 1},
    "glus-a": {"mevis": 40, "refer_youtube_vos": 150, "ref_davis17": 4, "revos": 30, "lvvis": 30},
}


class MixtureDataset(EpochDataset):
    """Samples of several datasets, chosen as GLUS was trained: a dataset by weight, then any of its videos.

    Both are sampled with replacement, so an epoch is only a number of samples. Sample `i` of epoch `e` is a function
    of `(seed, e, i)` alone, as in [`ReferringVideoDataset`]; the seeds and epochs of the parts play no role.

    Args:
        datasets: parts by name.
        weights: by name, positive, any scale; or a name of [`MIXTURES`], "glus-s" (1:1) or "glus-a" (40:150:4:30:30).
        num_samples_per_epoch: by default as many as the parts have videos.
        seed: 0 or more.

    Raises:
        ValueError: weights and datasets differ in names, or a weight is not positive.

    Example:

        >>> mixture = MixtureDataset({"mevis": mevis, "refer_youtube_vos": youtube}, "glus-s")  # doctest: +SKIP
        >>> mixture[0]["dataset"]  # doctest: +SKIP
        'mevis'
    """

    def __init__(
        self,
        datasets: Mapping[str, ReferringVideoDataset],
        weights: Mapping[str, float] | str,
        num_samples_per_epoch: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        weights = mixture_weights(weights)
        if set(weights) != set(datasets):
            given = f"datasets {', '.join(sorted(datasets)) or 'none'}"
            raise UserError(f"{given}, but weights for {', '.join(sorted(weights)) or 'none'}; use the same names")
        wrong = [name for name, weight in weights.items() if not (weight > 0 and math.isfinite(weight))]
        if wrong:
            raise UserError(f"the weight of {wrong[0]} is {weights[wrong[0]]}; use a positive number")
        if num_samples_per_epoch is None:
            num_samples_per_epoch = sum(len(part) for part in datasets.values())
        if num_samples_per_epoch < 1 or seed < 0:
            raise UserError("an epoch needs at least 1 sample, and a seed is 0 or more")
        self.names = sorted(datasets)  # not the order of the mapping: the sampling shall not depend on it
        self.datasets = {name: datasets[name] for name in self.names}
        self.num_samples_per_epoch, self.seed = num_samples_per_epoch, seed
        total = sum(weights.values())
        self.probabilities = {name: weights[name] / total for name in self.names}

    def __len__(self) -> int:
        return self.num_samples_per_epoch

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        key = (MIXTURE_STREAM, self.seed, self.epoch, int(index))
        name, video = self.sample_video(index)
        return self.datasets[name].sample(video, key)

    def sample_video(self, index: int) -> tuple[str, int]:
        """Which dataset and which of its videos sample `index` of this epoch is; nothing is read."""
        rng = np.random.default_rng([CHOICE_STREAM, self.seed, self.epoch, int(index)])
        name = self.names[int(rng.choice(len(self.names), p=list(self.probabilities.values())))]
        return name, int(rng.integers(len(self.datasets[name])))

    @property
    def total_frames(self) -> int:
        """Frames of all videos of all parts."""
        return sum(part.total_frames for part in self.datasets.values())

    @property
    def skipped(self) -> list[dict]:
        """What all parts left out; see [`ReferringVideoDataset.skipped`]."""
        return [entry for part in self.datasets.values() for entry in part.skipped]


def mixture_weights(weights: Mapping[str, float] | str) -> dict[str, float]:
    """Weights by name of a dataset, of a mapping or of a preset's name.

    Example:

        >>> mixture_weights("glus-a")["refer_youtube_vos"]
        150
    """
    if not isinstance(weights, str):
        return dict(weights)
    if weights not in MIXTURES:
        raise UserError(f"unknown mixture {weights!r}; use one of {', '.join(MIXTURES)} or weights by name")
    return dict(MIXTURES[weights])
