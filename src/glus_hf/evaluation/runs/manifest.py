"""What an output folder knows about its own run: the settings, and which expressions are done.

    <output>/.glus_hf/settings.json       what the predictions depend on; a run with other settings is refused
    <output>/.glus_hf/rank-00000.jsonl    one line per finished expression, appended by one process
    <output>/.glus_hf/run.lock            held while an evaluation writes here; a kill releases it

An expression is done when its folder is in place *and* a line says so. The folder comes first, so after a kill between
the two the expression is merely segmented again. Which files are the run's is told in [`run_files`].
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ...atomic_write import atomic_path, full_disk_named
from ...errors import UserError
from ...predictions.prediction_tree import PRIVATE_FOLDER, expression_folder, tree_records
from ...safe_files import check_regular, read_bytes, read_text
from .expression_result import ExpressionRecord, ExpressionResult
from .run_files import (
    PathOf,
    adopt_files,
    has_records,
    is_whole,
    read_folders,
    record_files,
    refuse_foreign,
    refuse_foreign_results,
    remove_leftovers,
    remove_run,
)


class Manifest:
    """Appends the lines of one process.

    Args:
        output: the folder of the evaluation.
        rank: number of this process among all.
    """

    def __init__(self, output: str | os.PathLike, rank: int = 0):
        self.path = Path(output) / PRIVATE_FOLDER / f"rank-{rank:05d}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(self.path):
            check_regular(self.path, "manifest")  # a named pipe would be waited for
        self._file = open(self.path, "ab")  # noqa: SIM115 - closed by `close`
        self._cut_broken_end()

    def append(self, record: ExpressionRecord) -> None:
        """Add one line; it is on the disk when this returns."""
        with full_disk_named(self.path):
            self._file.write(json.dumps(record.to_dict()).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _cut_broken_end(self) -> None:
        """A kill may have left half a line; the next one must not be glued to it."""
        content = read_bytes(self.path, "manifest")
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
        *lines, last = read_bytes(path, "manifest").split(b"\n")  # `last` is empty, or half a line
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
    files_of: Callable[[Mapping], list[str]] | None = None,
    record_type: type[ExpressionRecord] = ExpressionResult,
    verify: bool = False,
) -> dict[tuple[str, str], ExpressionRecord]:
    """Records of the jobs that are done, by `(video_id, expression_id)`; the sizes of their files are looked at.

    Args:
        files_of: relative paths of what is written for a row; by default the PNGs of all its frames.
        record_type: of the lines.
        verify: compare the bytes of the files too, by their hashes.

    Raises:
        UserError: an expression is done, but its text or frames were different then.
    """
    files_of = files_of or _pngs
    recorded, done = read_manifests(output, record_type), {}
    if not recorded:
        return {}
    files = tree_records(output)
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
        if is_whole(Path(output), files, files_of(row), verify):
            done[job.key] = record
    return done


def _pngs(row: Mapping) -> list[str]:
    folder = expression_folder(row)
    return [f"{folder}/{frame}.png" for frame in row["frames"]]


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
        folders: relative folders or files that will be written.
        overwrite: forget an earlier run: what it wrote is put aside, other files stay.
        path_of: what an earlier run has written for an expression.

    Raises:
        ValueError: the folder holds expressions of a run with other settings, or files that no run wrote where this
            one will write.
    """
    output, folders = Path(output), list(folders)
    path = output / PRIVATE_FOLDER / "settings.json"
    refuse_others(output)
    remove_leftovers(output)
    if path.is_file() and not has_records(output):
        adopt_files(output, folders, path_of)
    if overwrite:
        remove_run(output, folders, path_of)
    refuse_foreign_results(output)
    settings = json.loads(json.dumps(settings))  # tuples become lists, as in the file
    if path.is_file() and not overwrite:
        difference = _difference(path, settings)
        if difference is None:
            return
        if read_folders(output, path_of):
            raise UserError(difference)
        # nothing was finished with the old settings, so they bind nobody
    refuse_foreign(output, folders)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=1, sort_keys=True))
    record_files(output, 0, {})


def refuse_others(output: Path) -> None:
    """Refuse a folder that holds something and no run of ours, and links in our private folder."""
    private = output / PRIVATE_FOLDER
    for path in (private, private / "settings.json"):
        if path.is_symlink():
            raise UserError(f"{path}: is a link, which is not followed; use another --output")
    if (private / "settings.json").is_file() or not output.is_dir():
        return
    foreign = next((name for name in sorted(os.listdir(output)) if name != PRIVATE_FOLDER), None)
    if foreign is not None:
        raise UserError(f"{output}: holds {foreign}, which was not written by an evaluation; use another --output")


def _difference(path: Path, settings: dict) -> str | None:
    """How the settings in the file differ, as the message of an error; None where they do not."""
    try:
        found = dict(json.loads(read_text(path, "json")))
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"{path}: is broken; use --overwrite or another --output") from None
    names = [name for name in sorted({*found, *settings}) if found.get(name) != settings.get(name)]
    if not names:
        return None
    name, output = names[0], path.parent.parent
    old, new = (json.dumps(each.get(name), sort_keys=True) for each in (found, settings))
    return f"{output}: holds a run with another {name} ({old} then, {new} now); use another --output or --overwrite"


__all__ = ["Manifest", "PathOf", "finished", "prepare_output", "read_manifests", "refuse_others"]
