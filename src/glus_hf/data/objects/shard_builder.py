"""Builder base for datasets in shards, of which a subset may be drawn."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from .object_builder import ObjectDatasetBuilder, ObjectDatasetConfig
from .object_schema import FoundImage
from .seeded_subset import SeededSubset
from .shards import Shard


@dataclass
class ShardConfig(ObjectDatasetConfig):
    """`subset`: how many images to draw by `seed`; None takes all."""

    subset: int | None = None
    seed: int = 0


class ShardBuilder(ObjectDatasetBuilder):
    """A subclass implements `source_files` with [`find_shards`], and `image`."""

    BUILDER_CONFIG_CLASS = ShardConfig
    PART = "shard"
    SPLITS = ("train",)

    def check_options(self) -> None:
        """Refuse impossible options; for `source_files` to call."""
        self.check_number("subset", 1)
        self.check_number("seed", 0)

    def parts(self, split: str) -> list[str]:
        source = self.source[split]
        return list(source.metadata or source.annotations)

    def image(self, shard: Shard, key: str, content: dict) -> FoundImage | None:
        """An image and its objects; None of one that the dataset leaves out."""
        raise NotImplementedError

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        shard = Shard(part)
        for key, content in shard.samples(self._subset):
            image = self.image(shard, key, content)
            if image is not None:
                yield image

    @functools.cached_property
    def _subset(self) -> SeededSubset | None:
        """Which samples of all shards are wanted."""
        if self.config.subset is None:
            return None
        keys = (key for split in self.source for part in self.parts(split) for key in Shard(part).names())
        return SeededSubset(keys, self.config.subset, self.config.seed)


__all__ = ["ShardBuilder", "ShardConfig"]
