"""Which files of an output folder its run has written: they alone are ever replaced or removed.

<output>/.glus_hf/files-00000.jsonl   path, size and SHA-256 of every file, written by one process before the file
                                      is in place; the last line of a path counts, the others tell that it is ours
<output>/.glus_hf/replaced/           the files of a run that --overwrite replaces, until the new one is complete
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from ...atomic_write import atomic_path, full_disk_named
from ...errors import UserError
from ...output_claim import FileRecord, Records, bytes_record, file_record, files_below, is_recorded, record_line
from ...predictions.prediction_tree import (
    PRIVATE_FOLDER,
    RESULT_FILES,
    expression_folder,
    partial_folder,
    tree_records,
)
from ...safe_files import check_regular, read_bytes


LEFTOVER = re.compile(r"\.(results|summary|key_frames|settings)-[0-9a-f]{8}\.jsonl?|token-[0-9a-f]{12}")

PathOf = Callable[[Mapping], str]
"""Relative path of what is written for an expression, from its `dataset`, `video_id` and `expression_id`."""


def record_files(output: Path, rank: int, files: Mapping[str, FileRecord]) -> None:
    """Record files, by their relative paths; the lines are on the disk when this returns."""
    path = output / PRIVATE_FOLDER / f"files-{rank:05d}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        check_regular(path, "manifest")
    lines = "".join(record_line(name, record) for name, record in files.items()).encode()
    with full_disk_named(path), open(path, "ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            lines = lines if file.read(1) == b"\n" else b"\n" + lines  # a kill may have left half a line
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def write_result(path: Path, content: str) -> None:
    """Write one of the `RESULT_FILES`, recorded before it is in place."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode("utf-8"))
        record_files(path.parent, 0, {path.name: bytes_record(content.encode("utf-8"))})


def has_records(output: Path) -> bool:
    """False for a new folder, and for a run of a version that kept no records."""
    return any((output / PRIVATE_FOLDER).glob("files-*.jsonl"))


def adopt_files(output: Path, folders: Iterable[str], path_of: PathOf = expression_folder) -> None:
    """Record what a version that kept no records has written: results, and PNGs or labels of the expressions."""
    names = [name for name in RESULT_FILES if (output / name).is_file()]
    for place in dict.fromkeys([*read_folders(output, path_of), *folders]):
        if (output / place).is_dir():
            found = [name for name in os.listdir(output / place) if name.endswith(".png")]
            names += [f"{place}/{name}" for name in found]
        elif (output / place).is_file():
            names.append(place)
    real = [name for name in names if not os.path.islink(output / name)]
    record_files(output, 0, {name: file_record(output / name) for name in real})


def read_folders(output: Path, path_of: PathOf = expression_folder) -> list[str]:
    """What an earlier run recorded for its expressions; broken lines are passed over."""
    folders = []
    for path in sorted((output / PRIVATE_FOLDER).glob("rank-*.jsonl")):
        for line in read_bytes(path, "manifest").split(b"\n"):
            try:
                folders.append(path_of(json.loads(line)))  # refuses ids that leave the tree
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return folders


# --- what is refused -------------------------------------------------------------------------------------------------


def refuse_foreign(output: Path, places: Iterable[str], remedy: str = "use another --output") -> None:
    """Refuse to write where something is that no run wrote, or where a link leads elsewhere.

    Args:
        places: relative folders or files that are to be written.

    Raises:
        UserError: names the file; one line.
    """
    records, plain = tree_records(output), set()
    for place in places:
        _refuse_links(output, place, plain)
        path = output / place
        found = files_below(path) if path.is_dir() else [""] if path.exists() else []
        for name in found:
            relative = f"{place}/{name}" if name else place
            if relative not in records or os.path.islink(output / relative):
                raise UserError(f"{output / relative}: was not written by an evaluation; {remedy}, or move it away")


def refuse_foreign_results(output: Path) -> None:
    """Refuse to replace `RESULT_FILES` that no run wrote, or that were changed since."""
    records = tree_records(output)
    for name in RESULT_FILES:
        path = output / name
        if os.path.lexists(path) and not is_recorded(path, records.get(name)):
            raise UserError(
                f"{path}: was not written by an evaluation, or changed since; use another --output, or move it away"
            )


def _refuse_links(output: Path, place: str, plain: set[Path]) -> None:
    """Refuse a link on the way from `output` to a place in it; `plain` are folders that are none."""
    path = output
    for part in place.split("/"):
        path = path / part
        if path not in plain and path.is_symlink():
            raise UserError(f"{path}: is a link, which is not followed; use another --output, or move it away")
        plain.add(path)


# --- what is removed -------------------------------------------------------------------------------------------------


def remove_leftovers(output: Path) -> None:
    """Remove half-written files of a run that was killed; nobody else writes here now."""
    shutil.rmtree(partial_folder(output), ignore_errors=True)
    for folder in (output, output / PRIVATE_FOLDER):
        for name in os.listdir(folder) if folder.is_dir() else ():
            if LEFTOVER.fullmatch(name):
                (folder / name).unlink(missing_ok=True)


def remove_run(output: Path, folders: Iterable[str], path_of: PathOf = expression_folder) -> None:
    """Put the files of an earlier run aside, to be removed when the new one is complete. Files of others stay.

    Raises:
        UserError: a file was changed since, or one of others lies in the folder of an expression; nothing is removed.
    """
    records = tree_records(output)
    refuse_foreign(output, dict.fromkeys([*read_folders(output, path_of), *folders]))
    refuse_foreign_results(output)
    existing = [name for name in records if _is_inside(name) and os.path.lexists(output / name)]
    for name in existing:
        _refuse_links(output, name, set())
        if not is_recorded(output / name, records[name]):
            raise UserError(
                f"{output / name}: was changed since it was written; use another --output, or move it away"
            )
    aside = output / PRIVATE_FOLDER / "replaced"
    is_complete = not aside.exists()  # else this run replaces another one, which is there, and was never finished
    for name in existing:
        if is_complete:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(output / name, aside / name)
        else:
            (output / name).unlink()
        _remove_empty(output, name)
    for pattern in ("rank-*.jsonl", "files-*.jsonl"):
        for path in (output / PRIVATE_FOLDER).glob(pattern):
            path.unlink(missing_ok=True)


def remove_replaced(output: Path) -> None:
    """Remove what [`remove_run`] put aside: the new run is complete."""
    shutil.rmtree(output / PRIVATE_FOLDER / "replaced", ignore_errors=True)


def _is_inside(name: str) -> bool:
    """A record may have been edited."""
    parts = name.split("/")
    return bool(name) and not any(part in ("", ".", "..", PRIVATE_FOLDER) for part in parts)


def _remove_empty(output: Path, name: str) -> None:
    for parent in (output / name).parents:
        if parent == output:
            return
        try:
            parent.rmdir()
        except OSError:
            return


# --- whether it is whole ---------------------------------------------------------------------------------------------


def is_whole(output: Path, records: Records, names: Iterable[str], verify: bool = False) -> bool:
    """Whether files are there with a size that they were written with; with `verify`, with their bytes too.

    A file without record, of a version that kept none, must only not be empty.
    """
    check = partial(_is_recorded_size, verify=verify)
    return all(check(output / name, records.get(name)) for name in names)


def _is_recorded_size(path: Path, known: set[FileRecord] | None, verify: bool) -> bool:
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not known:
        return size > 0
    return is_recorded(path, known) if verify else size in {length for length, _ in known}


__all__ = [
    "PathOf",
    "adopt_files",
    "has_records",
    "is_whole",
    "read_folders",
    "record_files",
    "refuse_foreign",
    "refuse_foreign_results",
    "remove_leftovers",
    "remove_replaced",
    "remove_run",
    "write_result",
]
