"""Load any referring video segmentation dataset by its name."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError


PACKAGE = "glus_hf.datasets_scripts"


def load_referring_dataset(
    name: str,
    data_dir: str | os.PathLike | None = None,
    split: str = "train",
    *,
    streaming: bool = False,
    num_proc: int | None = None,
    cache_dir: str | os.PathLike | None = None,
    **options,
):
    """Load one split of a dataset as rows of one schema, whatever the layout on disk.

    The first call reads and checks the files and writes rows into the cache of `datasets`; later calls map that into
    memory. Edited files (name, size or time of change) are read anew. Images are not decoded and not copied.

    Args:
        name: see [`available_datasets`]: "mevis", "refer_youtube_vos", "ref_davis17", "revos", "reasonvos", "lvvis",
            "long_rvos", "motion_shapes", "own".
        data_dir: the dataset's folder as downloaded, or the folder that holds it. Generated data takes none.
        split: the dataset's own name; "validation" also works where only one split can be meant.
        streaming: give rows one by one without writing a cache.
        num_proc: processes that share the work of the first call.
        cache_dir: where rows are kept; by default where `datasets` keeps its own.
        options: of the dataset, see docs/datasets.md (`version="v2"` for mevis, `seed=1` for motion_shapes).

    Returns:
        `datasets.Dataset`, or `datasets.IterableDataset` with `streaming`, one row per video and expression, with the
        columns of [`FEATURES`].

    Raises:
        ValueError: unknown name, split or option, or files that are missing or malformed. One line with file and id.

    Example:
        >>> rows = load_referring_dataset("motion_shapes", split="test", num_videos=2, size=64, streaming=True)
        >>> row = next(iter(rows))
        >>> row["video_id"], row["height"], len(row["masks"]) == len(row["frames"])
        ('test_0_00000', 64, True)
        >>> load_referring_dataset("mevis", "data/mevis", split="valid_u")  # doctest: +SKIP
    """
    cache_dir = None if cache_dir is None else os.fspath(cache_dir)
    builder = _builder(name, data_dir, split, cache_dir, options)
    return load_built(builder, "expression", streaming, num_proc, cache_dir)


def load_built(builder, what: str, streaming: bool, num_proc: int | None, cache_dir: str | None):
    """The rows of the one split of a builder; `what` is in them, for the error that there is nothing."""
    from .file_dataset_builder import split_name

    if len(builder.source) != 1:
        raise UserError(f"{builder.name}: pass a split: it has {', '.join(builder.source)}")
    (split,) = builder.source
    if streaming:
        return builder.as_streaming_dataset(split=split_name(split))
    with cache_named(cache_dir):
        builder.download_and_prepare(num_proc=num_proc)
    if not builder.info.splits[split_name(split)].num_examples:
        raise builder.no_rows(split, what)
    return builder.as_dataset(split=split_name(split))


def dataset_folder(name: str, data_dir: str | os.PathLike | None, split: str, **options) -> str | None:
    """The folder that a dataset is read from: `data_dir` or one in it; None for generated data.

    Arguments and errors as for [`load_referring_dataset`].

    Example:
        >>> dataset_folder("motion_shapes", None, "test") is None
        True
    """
    return _builder(name, data_dir, split, options.pop("cache_dir", None), options).config.data_dir


def _builder(name: str, data_dir, split: str, cache_dir: str | None, options: dict):
    with cache_named(cache_dir):
        return builder_class(name)(cache_dir, data_dir=data_dir, split=split, **options)


@contextmanager
def cache_named(cache_dir: str | None) -> Iterator[None]:
    """An error of the system about the cache says which folder it is about, and what to do."""
    import datasets.config

    from .file_dataset_builder import cache_error

    cache = os.path.expanduser(str(cache_dir or datasets.config.HF_DATASETS_CACHE))
    try:
        yield
    except OSError as error:
        inside = error.filename is None or os.path.abspath(str(error.filename)).startswith(os.path.abspath(cache))
        if inside or os.path.abspath(cache).startswith(os.path.abspath(str(error.filename))):
            raise cache_error(cache, error) from error
        raise


def builder_class(name: str) -> type:
    """The `datasets.GeneratorBasedBuilder` of a dataset.

    Raises:
        ValueError: there is no such dataset; the known ones are listed.

    Example:
        >>> builder_class("mevis").__name__
        'MeViS'
    """
    name = str(name)
    if name not in available_datasets():
        raise UserError(f"unknown dataset {name!r}: known are {', '.join(available_datasets())}")
    from .dataset_builder import ReferringDatasetBuilder

    return builder_in(f"{PACKAGE}.{name}.{name}", ReferringDatasetBuilder)


def builder_in(module_name: str, base: type) -> type:
    """The one builder that a module defines."""
    module = importlib.import_module(module_name)
    values = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, base)]
    classes = [value for value in values if value.__module__ == module.__name__]
    if len(classes) != 1:
        raise UserError(f"{module.__file__}: must define one builder, found {len(classes)}")
    return classes[0]


def available_datasets() -> list[str]:
    """Names that [`load_referring_dataset`] knows.

    Example:
        >>> {"mevis", "revos", "motion_shapes"} <= set(available_datasets())
        True
    """
    folder = Path(scripts_package().__file__).parent
    return sorted(file.parent.name for file in folder.glob("*/*.py") if file.stem == file.parent.name)


def scripts_package():
    """`glus_hf.datasets_scripts`, or the folder `datasets_scripts` of a clone that is only on PYTHONPATH."""
    if importlib.util.find_spec(PACKAGE) is None:
        folder = Path(__file__).resolve().parents[3] / "datasets_scripts"
        file = folder / "__init__.py"
        if not file.is_file():
            raise UserError(f"{folder}: the dataset builders are not installed: install glus_hf again")
        spec = importlib.util.spec_from_file_location(PACKAGE, file, submodule_search_locations=[str(folder)])
        package = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = package
        spec.loader.exec_module(package)
    return importlib.import_module(PACKAGE)
