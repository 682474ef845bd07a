"""Options of the commands that read a dataset: which one, which of its videos, which context frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from ..rows import column, filter_rows


MAX_DIGITS = 12  # of the index of a frame


def data_options(pairs: list[str] | None, seed: int | None, num_videos: int | None) -> dict:
    """Options of the dataset's builder."""
    options = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UserError(f"--data-option {pair}: write NAME=VALUE, as in version=v2")
        options[name] = _value(value)
    options |= {} if seed is None else {"seed": seed}
    return options | ({} if num_videos is None else {"num_videos": num_videos})


def _value(text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def load_rows(dataset: str, data_dir: Path | None, split: str, options: dict, processes):
    """All rows of the split; the first process prepares the cache, the others wait for it."""
    from ..data.load_dataset import load_referring_dataset

    return _load_once(lambda: load_referring_dataset(dataset, data_dir, split, **options), processes)


def load_object_rows(dataset: str, data_dir: Path | None, split: str, options: dict, processes):
    """All rows of the split of a dataset of objects, as [`load_rows`]."""
    from ..data.objects.load_objects import load_object_dataset

    return _load_once(lambda: load_object_dataset(dataset, data_dir, split, **options), processes)


def _load_once(read: Callable, processes):
    rows = {}

    def load() -> None:
        rows["all"] = read()

    processes.from_main(load)
    if "all" not in rows:
        load()
    return rows["all"]


def select_videos(rows, videos: str | None, max_videos: int | None):
    """The rows of the wanted videos, in order."""
    if videos is None and max_videos is None:
        return rows
    wanted = list(dict.fromkeys(column(rows, "video_id")))
    if videos is not None:
        asked = [name.strip() for name in videos.split(",") if name.strip()]
        unknown = [name for name in asked if name not in wanted]
        if unknown:
            raise UserError(f"--videos: there is no video {unknown[0]} in the split; the first is {wanted[0]}")
        wanted = [name for name in wanted if name in asked]
    chosen = set(wanted[:max_videos])
    return filter_rows(rows, "video_id", chosen.__contains__)


def context_frames(text: str | None) -> str | list[int] | None:
    """The value of --context-frames: a name as it is, indices as a list."""
    if text is None or not text.replace(",", "").isdecimal():
        return text
    parts = [part for part in text.split(",") if part]
    if max(map(len, parts), default=0) > MAX_DIGITS:
        raise UserError(
            f"--context-frames {text[:40]}: an index has more than {MAX_DIGITS} digits; use numbers of frames"
        )
    return [int(part) for part in parts]


def set_dataset_progress(quiet: bool) -> None:
    """With `quiet`, no progress bars of reading a dataset."""
    if quiet:
        from datasets import disable_progress_bars

        disable_progress_bars()


__all__ = ["context_frames", "data_options", "load_object_rows", "load_rows", "select_videos", "set_dataset_progress"]
