"""What an output folder knows about its own run: the settings, and which expressions are done.

    <output>/.glus_hf/settings.json       what the predictions depend on; a run with other settings is refused
    <output>/.glus_hf/rank-00000.jsonl    one line per finished expression, appended by one process
    <output>/.glus_hf/run.lock            held while an evaluation writes here; a kill releases it

An expression is done when its folder is in place *and* a line says so. The folder comes first, so after a kill between
the two the expression is merely segmented again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ...atomic_write import atomic_path
from ...errors import UserError
from ...predictions.prediction_tree import PRIVATE_FOLDER, expression_folder, partial_folder
from .expression_result import ExpressionRecord, ExpressionResult


RESULT_FILES = ("results.jsonl", "summary.json", "key_frames.json")

PathOf = Callable[[Mapping], str]
"""Relative path of what is written for an expression, from its `dataset`, `video_id` and `expression_id`."""


class Manifest:
    """Appends the lines of one process.

    Args:
        output: the folder of the evaluation.
        rank: number of this process among all.
    """

    def __init__(self, output: str | os.PathLike, rank: int = 0):
        self.path = Path(output) / PRIVATE_FOLDER / f"rank-{rank:05d}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "ab")  # noqa: SIM115 - closed by `close`
        self._cut_broken_end()

    def append(self, record: ExpressionRecord) -> None:
        """Add one line; it is on the disk when this returns."""
        self._file.write(json.dumps(record.to_dict()).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _cut_broken_end(self) -> None:
        """A kill may have left half a line; the next one must not be glued to it."""
        content = self.path.read_bytes()
        self._file.truncate(content.rfind(b"\n") + 1)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def read_manifests(
    output: str | os.PathLike, record_type: type[ExpressionRecord] = ExpressionResult
) -> dict[tuple[str, str], ExpressionRecord]:
    """Records of all finished expressions by `(video_id, expression_id)`, from all processes of all runs.

    Raises:
        UserError: a line is broken that is not the last of its file.
    """
    done = {}
    for path in sorted((Path(output) / PRIVATE_FOLDER).glob("rank-*.jsonl")):
        *lines, last = path.read_bytes().split(b"\n")  # `last` is empty, or half a line
        for number, line in enumerate(lines, 1):
            try:
                record = record_type.from_dict(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError):
                raise UserError(f"{path}, line {number}: is broken; use --overwrite or another --output") from None
            done[record.key] = record
    return done


def finished(
    output: str | os.PathLike,
    rows: Iterable[Mapping],
    jobs: Iterable,
    is_complete: Callable[[Path, Mapping], bool] | None = None,
    record_type: type[ExpressionRecord] = ExpressionResult,
) -> dict[tuple[str, str], ExpressionRecord]:
    """Records of the jobs that are done, by `(video_id, expression_id)`; their folders are looked at.

    Args:
        is_complete: tells of `output` and a row whether all is there; by default that all its PNGs are.
        record_type: of the lines.

    Raises:
        UserError: an expression is done, but its text or frames were different then.
    """
    is_complete = is_complete or _has_masks
    recorded, done = read_manifests(output, record_type), {}
    if not recorded:
        return {}
    for job, row in zip(jobs, rows, strict=True):
        record = recorded.get(job.key)
        if record is None:
            continue
        if record.digest != job.digest:
            name = f"video {job.video_id}, expression {job.expression_id}"
            raise UserError(
                f"{output}: {name} had another text, frames or key frame when it was segmented; "
                "use another --output or --overwrite"
            )
        if is_complete(Path(output), row):
            done[job.key] = record
    return done


def _has_masks(output: Path, row: Mapping) -> bool:
    """Whether all PNGs are there and not empty, which a power cut can leave behind."""
    try:
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(output / expression_folder(row))}
    except (FileNotFoundError, NotADirectoryError):
        return False
    return all(sizes.get(f"{frame}.png") for frame in row["frames"])


def prepare_output(
    output: str | os.PathLike,
    settings: Mapping,
    folders: Iterable[str] = (),
    overwrite: bool = False,
    path_of: PathOf = expression_folder,
) -> None:
    """Make the folder ready: check or write the settings, remove what a kill left behind.

    Args:
        output: created if needed.
        settings: JSON-able; what the predictions depend on.
        folders: relative folders or files that will be written; in a folder without settings none may exist.
        overwrite: forget an earlier run: its predictions, results and settings are removed, other files stay.
        path_of: what an earlier run has written for an expression.

    Raises:
        ValueError: the folder holds expressions of a run with other settings, or predictions without settings.
    """
    output = Path(output)
    if overwrite:
        _remove_run(output, path_of)
    shutil.rmtree(partial_folder(output), ignore_errors=True)
    path = output / PRIVATE_FOLDER / "settings.json"
    settings = json.loads(json.dumps(settings))  # tuples become lists, as in the file
    if path.is_file():
        difference = _difference(path, settings)
        if difference is None:
            return
        if read_folders(output):
            raise UserError(difference)
        # nothing was finished with the old settings, so they bind nobody
    foreign = None if overwrite else next((name for name in folders if (output / name).exists()), None)
    if foreign is not None:
        raise UserError(f"{output / foreign}: was not written by an evaluation; use another --output or --overwrite")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=1, sort_keys=True))


def _difference(path: Path, settings: dict) -> str | None:
    """How the settings in the file differ, as the message of an error; None where they do not."""
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"{path}: is broken; use --overwrite or another --output") from None
    names = [name for name in sorted({*found, *settings}) if found.get(name) != settings.get(name)]
    if not names:
        return None
    name, output = names[0], path.parent.parent
    old, new = (json.dumps(each.get(name), sort_keys=True) for each in (found, settings))
    return f"{output}: holds a run with another {name} ({old} then, {new} now); use another --output or --overwrite"


def _remove_run(output: Path, path_of: PathOf) -> None:
    """Remove exactly what a run wrote."""
    for name in read_folders(output, path_of):
        if (output / name).is_file():
            (output / name).unlink()
        shutil.rmtree(output / name, ignore_errors=True)
        for parent in list((output / name).parents):
            if parent == output:
                break
            try:
                parent.rmdir()
            except OSError:
                break
    for name in RESULT_FILES:
        (output / name).unlink(missing_ok=True)
    for path in (output / PRIVATE_FOLDER).glob("*.json*"):
        path.unlink(missing_ok=True)


def read_folders(output: Path, path_of: PathOf = expression_folder) -> list[str]:
    """What an earlier run recorded for its expressions; broken lines are passed over."""
    folders = []
    for path in sorted((output / PRIVATE_FOLDER).glob("rank-*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            try:
                folders.append(path_of(json.loads(line)))  # refuses ids that leave the tree
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return folders


__all__ = ["Manifest", "PathOf", "finished", "prepare_output", "read_manifests"]
