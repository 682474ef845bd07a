"""One rule for everything that a command writes: it claims its outputs before any work.

* A new place, or an empty folder, is taken.
* What is there already is replaced only with `overwrite`, and only if all of it is our own: each file is in the record
  that the last run left, with this size and hash. The old output stays until the new one is complete.
* Everything else is refused, with or without `overwrite`: files of others, files of ours that were changed since,
  links, places that cannot be written, places in or around the data that is read, and two outputs in one place.

The record of `NAME`, a file or a folder, is the hidden file `.NAME.glus_hf.jsonl` beside it. What moves away from its
record is no longer ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .atomic_write import REPLACED, full_disk_named, staging_folder
from .errors import UserError
from .safe_files import read_bytes


MAX_NAME = 200  # bytes; the hidden names beside an output are longer, and file systems end at 255
LINK = "link:"

FileRecord = tuple[int, str]
"""Size in bytes and SHA-256 of a file; of a link, 0 and where it leads."""

Records = dict[str, set[FileRecord]]
"""What may be under a relative path: while a file is replaced, the old and the new one."""


@dataclass(frozen=True)
class OutputFile:
    """A single file to write."""

    path: str | os.PathLike


@dataclass(frozen=True)
class OutputFolder:
    """A folder that is written as a whole."""

    path: str | os.PathLike


Output = OutputFile | OutputFolder


@contextmanager
def claim_outputs(
    *outputs: Output | None, inputs: Iterable[str | os.PathLike | None] = (), overwrite: bool = False
) -> Iterator[list[Path | None]]:
    """Check all outputs of a command, then give a path to write each to; all appear in place when the block ends well.

    Args:
        outputs: files and folders; None where an optional one is not asked for.
        inputs: what the command reads. Names that are no local path (an alias, a URL, None) are passed over.
        overwrite: replace our own earlier outputs.

    Yields:
        One path per output, None for None. Each has the name of its output, in a hidden folder beside it; a folder has
        to be made by the block. On an error, a kill or Ctrl-C the places stay as they were.

    Raises:
        UserError: an output cannot be taken; one line. See [`check_outputs`].

    Example:
        >>> outputs = OutputFile("dog.mp4"), OutputFolder("masks")  # doctest: +SKIP
        >>> with claim_outputs(*outputs, inputs=["dog/"], overwrite=True) as (video, masks):  # doctest: +SKIP
        ...     save_overlay(video, frames)
        ...     save_mask_png(masks / "00000.png", mask)
    """
    inputs = list(inputs)
    check_outputs(*outputs, inputs=inputs, overwrite=overwrite)
    places = [None if output is None else absolute_place(output.path) for output in outputs]
    with ExitStack() as stack:
        staged = [None if place is None else _stage(stack, place) for place in places]
        check_outputs(*outputs, inputs=inputs, overwrite=overwrite)  # staging may have put back what a kill took away
        try:
            yield staged
        except Exception as error:
            for output, path in zip(outputs, staged, strict=True):
                if output is not None:
                    _name_place(error, path, output.path)
            raise
        check_outputs(*outputs, inputs=inputs, overwrite=overwrite)  # something may have come meanwhile
        claims = [claim for claim in zip(outputs, places, staged, strict=True) if claim[0] is not None]
        records = [_records_of(path) for _, _, path in claims]
        for (output, place, path), new in zip(claims, records, strict=True):
            with full_disk_named(output.path):
                _put_in_place(path, place, new)


def check_outputs(
    *outputs: Output | None, inputs: Iterable[str | os.PathLike | None] = (), overwrite: bool = False
) -> None:
    """Refuse outputs that cannot be taken, as [`claim_outputs`] does; nothing is written.

    Raises:
        UserError: which output, why, and what to do; one line.

    Example:
        >>> check_outputs(OutputFile("dog.mp4"), inputs=["dog/"])  # doctest: +SKIP
    """
    inputs = list(inputs)
    outputs = [output for output in outputs if output is not None]
    for output in outputs:
        check_place(output, inputs)
    _check_apart(outputs)
    for output in outputs:
        with _unusable_named(output.path):
            _check_existing(output, overwrite)


def _check_existing(output: Output, overwrite: bool) -> None:
    """Refuse what is there already, unless it is our own and to be replaced."""
    place = absolute_place(output.path)
    if isinstance(output, OutputFolder) and (os.path.ismount(place) or Path.cwd().is_relative_to(place)):
        raise UserError(f"{output.path}: is replaced as a whole, which cannot be done; name a folder in it")
    if not os.path.lexists(place) or (place.is_dir() and not any(place.iterdir())):
        return
    problem = _foreign(place, read_records(record_file(place)))
    if problem is not None:
        raise UserError(f"{output.path}: exists already{problem}; choose another output, or move it away first")
    if not overwrite:
        remedy = "use --overwrite to replace it or choose another output"
        raise UserError(f"{output.path}: exists already, from an earlier run; {remedy}")


@contextmanager
def _unusable_named(path: str | os.PathLike) -> Iterator[None]:
    """A place that the system does not even let us look at (a name too long, a folder of others) is refused."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another output") from None


def check_place(output: Output, inputs: Iterable[str | os.PathLike | None] = ()) -> None:
    """Refuse a place that can never be written, or that has to do with what is read; whatever it holds.

    Raises:
        UserError: it is a link, of the wrong kind, in a folder that cannot be written, or in or around an input.
    """
    with _unusable_named(output.path):
        _check_place(output, inputs)


def _check_place(output: Output, inputs: Iterable[str | os.PathLike | None]) -> None:
    path, place = output.path, absolute_place(output.path)
    _check_name(path, place)
    if place.is_symlink():
        raise UserError(f"{path}: is a link, which is not followed; name the place where it leads")
    if isinstance(output, OutputFile) and place.is_dir():
        raise UserError(f"{path}: is a folder; name a file in it")
    if os.path.lexists(place) and not (place.is_dir() or place.is_file()):
        raise UserError(f"{path}: is neither a file nor a folder; choose another output")
    if isinstance(output, OutputFolder) and place.is_file():
        raise UserError(f"{path}: is a file; name a folder")
    for source in inputs:
        _check_input(output, place, source)
    _check_writable(path, place)


def absolute_place(path: str | os.PathLike) -> Path:
    """The absolute path without links in its parents; the last name may be a link."""
    if "\0" in os.fspath(path):
        raise UserError(f"{os.fspath(path)!r}: is no name of an output; choose another")
    path = Path(os.path.abspath(path))
    return Path(os.path.realpath(path.parent)) / path.name


def _check_name(path, place: Path) -> None:
    try:
        name = place.name.encode("utf-8")
        os.fspath(place).encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{os.fsencode(path)!r}: is no UTF-8 name; choose another output") from None
    if not name:
        raise UserError(f"{path}: is no name of an output; choose another")
    if len(name) > MAX_NAME:
        raise UserError(f"{place.name[:40]}...: the name has {len(name)} bytes; choose one of at most {MAX_NAME}")


def _check_input(output: Output, place: Path, source: str | os.PathLike | None) -> None:
    if source is None or not os.path.exists(source):
        return
    read = Path(os.path.realpath(source))
    if place == read or (place.exists() and os.path.samefile(place, read)):
        raise UserError(f"{output.path}: is the input itself; choose another output")
    if place.is_relative_to(read):
        raise UserError(f"{output.path}: lies in {source}, which is read; choose another output")
    if isinstance(output, OutputFolder) and read.is_relative_to(place):
        raise UserError(f"{output.path}: holds {source}, which is read; choose another output")


def _check_writable(path, place: Path) -> None:
    """Really make and remove a folder: rights alone do not tell, as for root or in /proc."""
    parent = place.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"{path}: cannot be written ({parent} is no folder); choose another output")
    probe = parent / f".glus_hf-{uuid.uuid4().hex[:8]}"
    probe.mkdir()
    probe.rmdir()


def _check_apart(outputs: Sequence[Output]) -> None:
    places = [absolute_place(output.path) for output in outputs]
    for index, place in enumerate(places):
        for other in range(index):
            first, second = outputs[other].path, outputs[index].path
            if place == places[other]:
                raise UserError(f"{second}: is the place of two outputs; choose another name for one of them")
            if place.is_relative_to(places[other]) or places[other].is_relative_to(place):
                raise UserError(f"{second}: {first} and this output lie in each other; choose another place for one")


# --- staging ---------------------------------------------------------------------------------------------------------


def _stage(stack: ExitStack, place: Path) -> Path:
    return stack.enter_context(staging_folder(place, alone=True)) / place.name


def _name_place(error: Exception, staged: Path, path: str | os.PathLike) -> None:
    """Let an error name the output, not the hidden place where it was being written."""
    names = {str(staged): str(path), str(staged.parent): str(Path(path).parent)}
    for hidden, shown in names.items():
        error.args = tuple(arg.replace(hidden, shown) if isinstance(arg, str) else arg for arg in error.args)
        if isinstance(error, OSError) and isinstance(error.filename, str):
            error.filename = error.filename.replace(hidden, shown)


def _put_in_place(staged: Path, place: Path, new: Records) -> None:
    record = record_file(place)
    old = read_records(record)
    # both are ours until only the new one is there
    both = {name: old.get(name, set()) | new.get(name, set()) for name in {**old, **new}}
    _write_records(staged.parent / "record", both, record)
    if place.is_dir():
        os.rename(place, staged.parent / REPLACED)  # a folder cannot replace another one in one step
    os.replace(staged, place)
    _write_records(staged.parent / "record", new, record)


# --- whose a file is -------------------------------------------------------------------------------------------------


def record_file(place: Path) -> Path:
    """Where the record of an output is."""
    return place.with_name(f".{place.name}.glus_hf.jsonl")


def file_record(path: str | os.PathLike) -> FileRecord:
    """Size and hash of a file, or where a link leads."""
    if os.path.islink(path):
        return 0, LINK + os.readlink(path)
    with open(path, "rb") as file:
        return os.stat(path).st_size, hashlib.file_digest(file, "sha256").hexdigest()


def bytes_record(content: bytes) -> FileRecord:
    """Size and hash of a file with this content."""
    return len(content), hashlib.sha256(content).hexdigest()


def is_recorded(path: Path, known: Iterable[FileRecord] | None) -> bool:
    """Whether a file is one of those that we wrote. Its bytes are read only where the size fits."""
    known = set(known or ())
    status = path.lstat()
    if stat.S_ISREG(status.st_mode) and status.st_size not in {size for size, _ in known}:
        return False
    return (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)) and file_record(path) in known


def record_line(name: str, record: FileRecord) -> str:
    """The line of a record, with its end."""
    return json.dumps({"path": name, "size": record[0], "sha256": record[1]}) + "\n"


def read_records(*files: Path) -> Records:
    """Records of all files together. A line that is broken speaks for nothing."""
    records: Records = {}
    for file in files:
        try:
            lines = read_bytes(file, "manifest").splitlines()
        except UserError:
            continue
        for line in lines:
            try:
                entry = json.loads(line)
                name, record = entry["path"], (entry["size"], entry["sha256"])
                records.setdefault(name, set()).add(record)
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return records


def files_below(folder: Path) -> Iterator[str]:
    """Relative paths, with forward slashes, of all that is no folder; links are not followed."""
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in sorted([*names, *links]):
            yield Path(root, name).relative_to(folder).as_posix()


def _foreign(place: Path, records: Mapping[str, set[FileRecord]]) -> str | None:
    """What is not ours in a place, as words of a message; None where all is."""
    if not place.is_dir():
        return None if is_recorded(place, records.get(".")) else " and is not a run's, or was changed since"
    for name in files_below(place):
        if name not in records:
            return f" and holds {name}, which is not a run's"
        if not is_recorded(place / name, records[name]):
            return f" and holds {name}, which was changed since it was written"
    return None


def _records_of(staged: Path) -> Records:
    if not staged.is_dir():
        return {".": {file_record(staged)}}
    return {name: {file_record(staged / name)} for name in files_below(staged)}


def _write_records(temporary: Path, records: Records, path: Path) -> None:
    lines = [record_line(name, record) for name, known in records.items() for record in sorted(known)]
    temporary.write_text("".join(lines), encoding="utf-8")
    os.replace(temporary, path)


__all__ = [
    "Output",
    "OutputFile",
    "OutputFolder",
    "absolute_place",
    "bytes_record",
    "check_outputs",
    "check_place",
    "claim_outputs",
    "file_record",
    "files_below",
    "is_recorded",
    "read_records",
    "record_file",
    "record_line",
]
