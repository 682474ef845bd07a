"""Load any dataset of images with objects by its name."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import UserError
from ..load_dataset import PACKAGE, builder_in, cache_named, load_built, scripts_package


def load_object_dataset(
    name: str,
    data_dir: str | os.PathLike | None = None,
    split: str = "train",
    *,
    streaming: bool = False,
    num_proc: int | None = None,
    cache_dir: str | os.PathLike | None = None,
    **options,
):
    """Load one split of a dataset of objects as rows of one schema, whatever the layout on disk. Frames of videos are
    images of their own.

    The first call reads and checks the files and writes rows into the cache of `datasets`; later calls map that into
    memory. Edited files (name, size or time of change) are read anew. Images are not decoded and not copied.

    Args:
        name: see [`available_object_datasets`]: "coco", "lvis", "objects365", "sa1b", ...
        data_dir: the dataset's folder as downloaded, or the folder that holds it. Generated data takes none.
        split: the dataset's own name; "validation" also works where only one split can be meant.
        streaming: give rows one by one without writing a cache.
        num_proc: processes that share the work of the first call, where a split has several files or shards.
        cache_dir: where rows are kept; by default where `datasets` keeps its own.
        options: of the dataset, see docs/object-datasets.md (`subset=500_000` for sa1b, `task="ins_seg"` for bdd100k).

    Returns:
        `datasets.Dataset`, or `datasets.IterableDataset` with `streaming`, one row per image, with the columns of
        [`OBJECT_FEATURES`].

    Raises:
        ValueError: unknown name, split or option, or files that are missing or malformed. One line with file and id.

    Example:
        >>> rows = load_object_dataset("motion_shapes", split="test", num_videos=1, size=64, streaming=True)
        >>> row = next(iter(rows))
        >>> row["video_id"], row["frame_idx"], len(row["objects"][0]["box"])
        ('test_0_00000', 0, 4)
        >>> load_object_dataset("coco", "data/coco", split="val")  # doctest: +SKIP
    """
    cache_dir = None if cache_dir is None else os.fspath(cache_dir)
    builder = object_builder(name, data_dir, split, cache_dir, **options)
    return load_built(builder, "image", streaming, num_proc, cache_dir)


def object_names(name: str, data_dir: str | os.PathLike | None = None, split: str = "train", **options) -> list[str]:
    """The names of the categories of a dataset, in the order of its file; none where objects have descriptions.

    Arguments and errors as for [`load_object_dataset`].

    Example:
        >>> object_names("motion_shapes", split="test")[:2]
        ['red circle', 'red square']
    """
    builder = object_builder(name, data_dir, split, options.pop("cache_dir", None), **options)
    (split,) = builder.source
    return builder.names(split)


def name_frequencies(name: str, data_dir: str | os.PathLike | None = None, split: str = "train", **options) -> dict:
    """How often the names of LVIS are in its training images: "r" (rare), "c" (common) or "f" (frequent) by name;
    empty for other datasets.

    Arguments and errors as for [`load_object_dataset`].

    Example:
        >>> name_frequencies("motion_shapes", split="test")
        {}
    """
    builder = object_builder(name, data_dir, split, options.pop("cache_dir", None), **options)
    (split,) = builder.source
    return builder.frequencies(split)


def object_builder(name: str, data_dir, split: str, cache_dir: str | None = None, **options):
    """The builder of one split of a dataset; its `config.data_dir` is the folder that is read.

    Raises:
        ValueError: as [`load_object_dataset`].
    """
    name = str(name)
    if name not in available_object_datasets():
        known = ", ".join(available_object_datasets())
        raise UserError(f"unknown dataset of objects {name!r}: known are {known}")
    from .object_builder import ObjectDatasetBuilder

    with cache_named(cache_dir):
        make = builder_in(f"{PACKAGE}.objects.{name}", ObjectDatasetBuilder)
        return make(cache_dir, data_dir=data_dir, split=split, **options)


def available_object_datasets() -> list[str]:
    """Names that [`load_object_dataset`] knows.

    Example:
        >>> {"coco", "lvis", "sa1b"} <= set(available_object_datasets())
        True
    """
    folder = Path(scripts_package().__file__).parent / "objects"
    return sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")


__all__ = ["available_object_datasets", "load_object_dataset", "name_frequencies", "object_builder", "object_names"]
