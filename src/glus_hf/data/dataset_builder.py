"""One builder base for all referring video segmentation datasets."""

from __future__ import annotations

from collections.abc import Iterator

from .dataset_schema import FEATURES
from .file_dataset_builder import FileDatasetBuilder, FileDatasetConfig


class ReferringDatasetConfig(FileDatasetConfig):
    """Options of a builder; a dataset with options of its own adds fields."""


class ReferringDatasetBuilder(FileDatasetBuilder):
    """Base of the builders in `datasets_scripts/<name>/<name>.py`.

    A subclass sets `SPLITS` and `FOLDERS` and implements `source_files`, `video_ids` and `video_rows`; all three may
    read `self.config`. `video_rows` may run in another process than `video_ids`.

    Example:
        >>> builder = MeViS(data_dir="data/mevis", split="valid_u")  # doctest: +SKIP
        >>> builder.download_and_prepare(num_proc=4)  # doctest: +SKIP
        >>> builder.as_dataset(split="valid_u")  # doctest: +SKIP
    """

    BUILDER_CONFIG_CLASS = ReferringDatasetConfig
    ROWS = FEATURES

    def video_ids(self, split: str) -> list[str]:
        """Ids of the split's videos in order."""
        raise NotImplementedError

    def video_rows(self, split: str, video_id: str) -> Iterator[dict]:
        """Rows of one video in the order of its file, see [`make_row`]."""
        raise NotImplementedError

    def parts(self, split: str) -> list[str]:
        return self.video_ids(split)

    def part_rows(self, split: str, part: str) -> Iterator[tuple[str, dict]]:
        for row in self.video_rows(split, part):
            yield f"{part}/{row['expression_id']}", row


__all__ = ["ReferringDatasetBuilder", "ReferringDatasetConfig"]
