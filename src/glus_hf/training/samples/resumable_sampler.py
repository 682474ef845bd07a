"""Datasets whose samples depend on the epoch, and the order in which they are read."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ...errors import UserError


# First number of a seed: keeps the random streams of different purposes apart, which share the user's seed.
ORDER_STREAM, SAMPLE_STREAM, CHOICE_STREAM, MIXTURE_STREAM, TEMPLATE_STREAM = 1, 2, 3, 4, 5
AUGMENTATION_STREAM, NAME_STREAM, PROMPT_STREAM = 6, 7, 8


class EpochDataset(Dataset):
    """A dataset whose samples depend on the epoch.

    The number of the epoch lies in shared memory: workers of a `DataLoader` see it change, persistent ones too.
    `transformers.Trainer` needs [`ResumableSampler`] to set it: with its own sampler, accelerate sets the epoch of
    the sampler only, on several processes and after a resume, and the dataset would repeat one epoch for ever.

    Example:

        >>> dataset = EpochDataset()
        >>> dataset.set_epoch(3)
        >>> dataset.epoch
        3
    """

    _is_frozen = False

    def __init__(self):
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Give the samples of this epoch from now on."""
        if epoch < 0:
            raise UserError(f"an epoch is 0 or more, got {epoch}")
        if not self._is_frozen:
            self._epoch.fill_(int(epoch))

    def frozen(self) -> EpochDataset:
        """A copy that stays in epoch 0 whatever it is told: to evaluate on the same samples every time.

        Data loaders tell a dataset the epoch too, persistent ones another one at every evaluation.

        Example:

            >>> frozen = EpochDataset().frozen()
            >>> frozen.set_epoch(3)
            >>> frozen.epoch
            0
        """
        copied = copy.copy(self)
        copied._epoch, copied._is_frozen = torch.zeros((), dtype=torch.int64), True
        return copied


class ResumableSampler(Sampler):
    """Indices of an [`EpochDataset`], shuffled anew in every epoch.

    The order is a function of `(seed, epoch)` alone. `transformers.Trainer` shares batches of indices among processes
    and skips those that an interrupted epoch has used, without loading them; return
    `ResumableSampler(self.train_dataset, seed)` from its `_get_train_sampler`.

    Args:
        dataset: its epoch is the epoch of the sampler; there is only this one number.
        seed: of the order.

    Example:

        >>> loader = DataLoader(dataset, batch_size=2, sampler=ResumableSampler(dataset))  # doctest: +SKIP
    """

    def __init__(self, dataset: EpochDataset, seed: int = 0):
        if len(dataset) == 0:
            raise UserError("the dataset has no samples; use more data")
        self.dataset, self.seed = dataset, int(seed)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the dataset; accelerate calls this."""
        self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        order = np.arange(len(self.dataset))
        np.random.default_rng([ORDER_STREAM, self.seed, self.dataset.epoch]).shuffle(order)
        yield from order.tolist()

    def __len__(self) -> int:
        return len(self.dataset)
