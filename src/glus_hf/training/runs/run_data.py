"""The datasets of a configuration file."""

from __future__ import annotations

from collections.abc import Callable

from ...data.load_dataset import load_referring_dataset
from ...data.objects.load_objects import load_object_dataset, object_names
from ...data.objects.seeded_subset import SeededSubset
from ...rows import column, select_rows
from ..samples.mixture import MixtureDataset
from ..samples.resumable_sampler import EpochDataset


def load_rows(data, dataset):
    """Rows of the section `dataset`, from its `data_dir`, else `data.root`; generated data has no folder."""
    return load_referring_dataset(dataset.name, _folder(data, dataset), dataset.split, **_options(data, dataset))


def load_objects(data, dataset) -> tuple:
    """Rows of objects of the section `dataset`, as [`load_rows`], and the names of their categories."""
    where = dataset.name, _folder(data, dataset), dataset.split
    options = _options(data, dataset)
    return load_object_dataset(*where, **options), object_names(*where, **options)


def part_of_rows(rows, share: float, seed: int):
    """A share of the videos of a dataset with all their rows, or of its images: one at least. It follows from the seed
    and the ids."""
    if share == 1:
        return rows
    videos = column(rows, "video_id")
    ids = column(rows, "image_id") if "image_id" in rows.column_names else videos
    groups = [image if video is None else video for video, image in zip(videos, ids, strict=True)]
    known = dict.fromkeys(groups)
    chosen = SeededSubset(known, max(round(share * len(known)), 1), seed)
    kept = {group for group in known if group in chosen}
    return select_rows(rows, [index for index, group in enumerate(groups) if group in kept])


def _folder(data, dataset) -> str | None:
    return data.root if dataset.data_dir is None and dataset.name != "motion_shapes" else dataset.data_dir


def _options(data, dataset) -> dict:
    return dataset.options if data.cache_dir is None else {**dataset.options, "cache_dir": data.cache_dir}


def one_or_mixture(data, make: Callable[..., EpochDataset], seed: int) -> EpochDataset:
    """What `make` makes of the only section of `data.train`, or of each of several, mixed by weight."""
    parts = {}
    for index, dataset in enumerate(data.train):
        name = dataset.name if dataset.name not in parts else f"{dataset.name}.{index}"
        parts[name] = make(dataset)
    if len(parts) == 1:
        return next(iter(parts.values()))
    weights = {name: dataset.weight for name, dataset in zip(parts, data.train, strict=True)}
    return MixtureDataset(parts, weights, data.samples_per_epoch, seed)


__all__ = ["load_objects", "load_rows", "one_or_mixture", "part_of_rows"]
