"""A subset of very many images that follows from a seed and their ids, in whatever order and shards they come."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable

import numpy as np


class SeededSubset:
    """The `count` ids whose digests with the seed are smallest; a smaller subset is part of a larger one.

    Args:
        ids: of all images.
        count: how many to take; all if there are fewer.
        seed: 0 or more.

    Example:
        >>> small, large = (SeededSubset(map(str, range(100)), count, seed=0) for count in (5, 50))
        >>> sum(str(n) in small for n in range(100)), all(str(n) in large for n in range(100) if str(n) in small)
        (5, True)
    """

    def __init__(self, ids: Iterable[str], count: int, seed: int = 0):
        self.seed = seed
        digests = np.frombuffer(array("Q", (self._digest(each) for each in ids)), np.uint64)
        self._most = int(np.partition(digests, count - 1)[count - 1]) if count < len(digests) else (1 << 64) - 1

    def __contains__(self, image_id: str) -> bool:
        return self._digest(image_id) <= self._most

    def _digest(self, image_id: str) -> int:
        return int.from_bytes(hashlib.blake2b(f"{self.seed}/{image_id}".encode(), digest_size=8).digest(), "big")


__all__ = ["SeededSubset"]
