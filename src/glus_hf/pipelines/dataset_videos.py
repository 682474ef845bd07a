"""`datasets.Video` columns where torchcodec does not load: their files are read instead of their decoders."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ..errors import UserError


def torchcodec_loads() -> bool:
    """Whether `datasets` can decode videos: torchcodec is installed and finds its FFmpeg."""
    try:
        import torchcodec.decoders  # noqa: F401
    except Exception:  # of several kinds, by what is missing
        return False
    return True


def undecoded(dataset):
    """The dataset, column or `KeyDataset` with its `datasets.Video` columns undecoded, where torchcodec does not load;
    anything else as it is.

    Example:
        >>> import datasets
        >>> rows = datasets.Dataset.from_dict({"video": ["a.mp4"]}).cast_column("video", datasets.Video())
        >>> undecoded(rows)[0]["video"]  # doctest: +SKIP
        {'bytes': None, 'path': 'a.mp4'}
    """
    from transformers.pipelines.pt_utils import KeyDataset

    library = sys.modules.get("datasets")  # who holds one of its datasets has imported it
    if isinstance(dataset, KeyDataset):
        return KeyDataset(undecoded(dataset.dataset), dataset.key)
    if library is None:
        return dataset
    if hasattr(dataset, "source") and hasattr(dataset, "column_name"):
        return undecoded(dataset.source)[dataset.column_name]
    if isinstance(dataset, (library.Dataset, library.IterableDataset)):
        decoded = [name for name, kind in (dataset.features or {}).items() if _decodes(kind, library)]
        for name in decoded if decoded and not torchcodec_loads() else []:
            dataset = dataset.cast_column(name, library.Video(decode=False))
    return dataset


def _decodes(kind, library) -> bool:
    return isinstance(kind, library.Video) and kind.decode


def say_what_decodes(elements: Iterator) -> Iterator:
    """The elements; where `datasets` fails to decode a video for want of torchcodec, one line with the remedy.

    Raises:
        UserError: torchcodec is missing or does not load.
    """
    try:
        yield from elements
    except (ImportError, RuntimeError, OSError) as error:
        if "torchcodec" not in str(error):
            raise
        raise UserError(
            "a column of videos is decoded by torchcodec, which does not load here: give the column undecoded, "
            "dataset.cast_column('video', datasets.Video(decode=False)), or install torchcodec"
        ) from None


__all__ = ["say_what_decodes", "torchcodec_loads", "undecoded"]
