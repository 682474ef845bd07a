"""The order in which a dataset is read, and where an interrupted epoch goes on."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ...errors import UserError


# First number of a seed: keeps the random streams of different purposes apart, which share the user's seed.
ORDER_STREAM, SAMPLE_STREAM, CHOICE_STREAM, MIXTURE_STREAM, TEMPLATE_STREAM = 1, 2, 3, 4, 5


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
    """Indices of an [`EpochDataset`], shuffled anew in every epoch, that goes on in the middle of an epoch.

    The order is a function of `(seed, epoch)` alone. Rank `r` of `w` reads places `r`, `r + w`, ... of it, all ranks
    the same number: `remainder="pad"` lets the order start again at its end until every rank has its share (at most
    `w - 1` samples come twice), `"drop"` leaves out the at most `w - 1` samples that are too many.

    Workers read ahead, so a sampler cannot know which of its indices were used. Say so with [`advance`], or let
    `transformers.Trainer` do it: there, return `ResumableSampler(self.train_dataset, seed)` from `_get_train_sampler`
    and nothing else. Trainer shards and skips batches of indices itself, without loading what it skips, so `rank` and
    `num_ranks` keep their defaults.

    Args:
        dataset: its epoch is the epoch of the sampler; there is only this one number.
        seed: of the order.
        shuffle: False reads 0, 1, 2, ...
        rank, num_ranks: this process and the number of processes, where nothing else shards.
        remainder: "pad" or "drop".

    Example:

        >>> sampler = ResumableSampler(dataset, seed=0)  # doctest: +SKIP
        >>> for batch in DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=2):  # doctest: +SKIP
        ...     train(batch)
        ...     sampler.advance(2)
        ...     save(sampler.state_dict())
    """

    def __init__(
        self,
        dataset: EpochDataset,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        num_ranks: int = 1,
        remainder: str = "pad",
    ):
        if remainder not in ("pad", "drop"):
            raise UserError(f"unknown remainder {remainder!r}; use pad or drop")
        if not 0 <= rank < num_ranks:
            raise UserError(f"rank {rank} of {num_ranks} ranks: a rank is 0 to {num_ranks - 1}")
        if len(dataset) == 0 or (remainder == "drop" and len(dataset) < num_ranks):
            raise UserError(f"{len(dataset)} samples do not suffice for {num_ranks} ranks; use more data")
        self.dataset, self.seed, self.shuffle = dataset, int(seed), shuffle
        self.rank, self.num_ranks, self.remainder = rank, num_ranks, remainder
        self._used, self._used_epoch = 0, dataset.epoch

    @property
    def epoch(self) -> int:
        return self.dataset.epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`; where the dataset is in that epoch already, stay where we are."""
        self.dataset.set_epoch(epoch)

    @property
    def used(self) -> int:
        """Places of the order of this epoch that all ranks together have used."""
        # accelerate may set the epoch of the dataset without telling the sampler
        return self._used if self._used_epoch == self.epoch else 0

    def advance(self, num_samples: int) -> None:
        """Tell that each rank used `num_samples` more samples; the last ones of an epoch start the next."""
        left = len(self)
        if not 0 <= num_samples <= left:
            raise UserError(f"{num_samples} samples used, but this rank has {left} left in this epoch")
        used = self.used + num_samples * self.num_ranks
        if num_samples == left:
            self.set_epoch(self.epoch + 1)
            used = 0
        self._used, self._used_epoch = used, self.epoch

    def state_dict(self) -> dict:
        """What [`load_state_dict`] needs: plain numbers, equal on all ranks; any number of ranks can load them."""
        return {
            "epoch": self.epoch,
            "used": self.used,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "num_samples": len(self.dataset),
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state` was taken: the samples left are those that were left, in their order.

        Raises:
            ValueError: it belongs to another seed, another order or a dataset of another length.
        """
        own = self.state_dict()
        for name in ("seed", "shuffle", "num_samples"):
            if state.get(name) != own[name]:
                raise UserError(f"the saved sampler has {name} {state.get(name)}, this one {own[name]}; use the same")
        self.set_epoch(state["epoch"])
        self._used, self._used_epoch = int(state["used"]), self.epoch
        if len(self) == 0:  # the rest of that epoch is too short for this number of ranks
            self.set_epoch(self.epoch + 1)

    def __iter__(self) -> Iterator[int]:
        order = self._order()
        left = order[self.used :]
        surplus = len(left) % self.num_ranks
        if surplus and self.remainder == "drop":
            left = left[:-surplus]
        elif surplus:
            left = np.concatenate([left, np.resize(order, self.num_ranks - surplus)])
        yield from left[self.rank :: self.num_ranks].tolist()

    def __len__(self) -> int:
        """Samples that this rank still has in this epoch."""
        left = max(len(self.dataset) - self.used, 0)
        return left // self.num_ranks if self.remainder == "drop" else -(-left // self.num_ranks)

    def _order(self) -> np.ndarray:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            np.random.default_rng([ORDER_STREAM, self.seed, self.epoch]).shuffle(order)
        return order
