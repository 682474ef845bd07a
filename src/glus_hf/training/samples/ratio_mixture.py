"""Several datasets mixed by ratios, in batches of one kind: of one dataset and, where it says so, one shape of
images."""

from __future__ import annotations

import bisect
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import ConcatDataset, Dataset, Sampler

from ...errors import UserError
from .resumable_sampler import MIXTURE_STREAM, SAMPLE_STREAM


TABLE_2 = {
    "openimages": 1.5,
    "objects365": 1.5,
    "lvis": 1.5,
    "visual_genome": 2.0,
    "coco": 1.5,
    "refcoco": 2.5,
    "sa1b": 2.5,
    "uvo": 0.2,
    "bdd": 0.15,
    "ytvis19": 0.3,
    "ytvis21": 0.3,
    "ovis": 0.3,
    "refer_youtube_vos": 0.3,
}
RATIOS = {
    "glee-stage-1": {"objects365": 1.0, "openimages": 1.0},
    "glee-stage-2": TABLE_2,
    "glee-stage-3": {**TABLE_2, "sa1b": 5.0, "grit": 5.0},
}
"""How often GLEE saw each dataset in its stages, from its paper."""

BLOCK = 1024  # draws made at once
EPOCH = 1 << 40  # more draws than an epoch has


class RatioMixture(ConcatDataset):
    """Datasets that are drawn from by ratio, whatever their sizes, with replacement.

    An index `i + k * len(mixture)` is sample `i` as the k-th draw: datasets whose samples are random (which have
    `sample(index, key)`) make it anew by `(seed, k)`. Batches hold such indices.

    Args:
        datasets: by name.
        ratios: by name, positive, any scale; or a name of [`RATIOS`], of which those of the datasets are taken.
        num_batches: in an epoch.
        kinds: by name of a dataset, for each of its samples what must not be mixed within a batch, as "landscape" and
            "portrait"; datasets without an entry are of one kind.
        seed: 0 or more.

    Raises:
        UserError: a dataset without a ratio or without samples, or a ratio that is no positive number; one line.

    Example:

        >>> mixture = RatioMixture({"coco": range(100), "ovis": range(10)}, "glee-stage-2", num_batches=3)
        >>> [len(batch) for batch in mixture.batches(batch_size=4)]
        [4, 4, 4]
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        ratios: Mapping[str, float] | str,
        num_batches: int,
        kinds: Mapping[str, Sequence[Hashable]] | None = None,
        seed: int = 0,
    ):
        ratios = _named_ratios(ratios, datasets)
        for name, dataset in datasets.items():
            ratio = ratios.get(name)
            if ratio is None or not (ratio > 0 and math.isfinite(ratio)):
                raise UserError(f"the ratio of {name} is {ratio}; use a positive number")
            if len(dataset) == 0:
                raise UserError(f"{name} has no samples; use more data")
        super().__init__(list(datasets.values()))
        self.names = list(datasets)
        self.probabilities = np.array([ratios[name] for name in self.names]) / sum(ratios[name] for name in self.names)
        self.kinds, self.num_batches, self.seed = kinds or {}, num_batches, seed

    def __getitem__(self, index: int):
        draw, index = divmod(index, len(self))
        part = bisect.bisect_right(self.cumulative_sizes, index)
        dataset, own = self.datasets[part], index - [0, *self.cumulative_sizes][part]
        if not hasattr(dataset, "sample"):
            return dataset[own]
        return dataset.sample(own, (SAMPLE_STREAM, self.seed, draw))

    def set_epoch(self, epoch: int) -> None:
        """Tell the datasets that have epochs."""
        for dataset in self.datasets:
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(epoch)

    def draws(self, epoch: int) -> Iterator[tuple[str, int]]:
        """Without end: the name of a dataset, and one of its samples. The draws follow from `(seed, epoch)` alone."""
        rng = np.random.default_rng([MIXTURE_STREAM, self.seed, epoch])
        sizes = np.array([len(dataset) for dataset in self.datasets])
        while True:
            chosen = rng.choice(len(self.names), BLOCK, p=self.probabilities)
            for number, sample in zip(chosen, rng.integers(sizes[chosen]), strict=True):
                yield self.names[number], int(sample)

    def batches(self, batch_size: int | Mapping[str, int]) -> RatioBatchSampler:
        """Batches of indices; `batch_size` for all datasets, or by name."""
        return RatioBatchSampler(self, batch_size)


class RatioBatchSampler(Sampler[list[int]]):
    """Batches of a [`RatioMixture`]: draws of one dataset and kind wait until there are enough for a batch."""

    drop_last = True

    def __init__(self, mixture: RatioMixture, batch_size: int | Mapping[str, int]):
        self.mixture, self.epoch = mixture, 0
        sizes = {name: batch_size if isinstance(batch_size, int) else batch_size[name] for name in mixture.names}
        self.batch_sizes, self.batch_size = sizes, max(sizes.values())

    def set_epoch(self, epoch: int) -> None:
        """Give the batches of this epoch from now on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        starts = dict(zip(self.mixture.names, [0, *self.mixture.cumulative_sizes], strict=False))
        waiting: dict[tuple, list[int]] = {}
        given, draw = 0, self.epoch * EPOCH
        for name, sample in self.mixture.draws(self.epoch):
            if given == len(self):
                return
            kinds = self.mixture.kinds.get(name)
            batch = waiting.setdefault((name, None if kinds is None else kinds[sample]), [])
            batch.append(starts[name] + sample + draw * len(self.mixture))
            draw += 1
            if len(batch) == self.batch_sizes[name]:
                yield batch.copy()
                batch.clear()
                given += 1

    def __len__(self) -> int:
        return self.mixture.num_batches


def _named_ratios(ratios: Mapping[str, float] | str, datasets: Mapping[str, Dataset]) -> Mapping[str, float]:
    if not isinstance(ratios, str):
        unknown = sorted(set(ratios) - set(datasets))
        if unknown:
            raise UserError(f"there are ratios of {', '.join(unknown)}, but no such datasets; use the same names")
        return ratios
    if ratios not in RATIOS:
        raise UserError(f"unknown ratios {ratios!r}; use one of {', '.join(RATIOS)} or ratios by name")
    return RATIOS[ratios]


__all__ = ["RATIOS", "RatioBatchSampler", "RatioMixture"]
