"""The datasets of a configuration file."""

from __future__ import annotations

from collections.abc import Callable

from ...data.load_dataset import load_referring_dataset
from ...data.objects.load_objects import load_object_dataset, object_names
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


__all__ = ["load_objects", "load_rows", "one_or_mixture"]
