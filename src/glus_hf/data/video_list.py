"""A manifest: which videos, and what to segment in them, as JSON lines, CSV or Parquet (docs/many-videos.md)."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..errors import DatasetFileError
from ..models.expressions import is_visible, plain_expression
from ..rows import first_repeated
from ..safe_files import check_regular, read_text
from .dataset_files import check_name
from .own.expressions import read_lines


FIELDS = ("video", "expression", "expressions", "video_id", "expression_id", "key_frame")
SUFFIXES = (".jsonl", ".csv", ".parquet")
MAX_EXPRESSIONS = 500_000
MAX_LETTERS = 100_000_000  # of all texts of a manifest
MAX_ADDRESS = 4096  # letters
LISTED = "listed"
"""What rows of a manifest have as their dataset."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
Entry = tuple[str, Mapping]
"""Where an entry of a manifest is ("line 3"), and its fields."""


def read_video_list(path: str | os.PathLike) -> list[dict]:
    """The expressions of a manifest, those of a video together, in the order of the file.

    Args:
        path: `.jsonl`, `.csv` or `.parquet`. An entry has `video` (a path, relative to the manifest's folder, or an
            address) and `expression`, or a list `expressions`; also, if wanted, `video_id`, `expression_id` and
            `key_frame`. Other fields are passed over.

    Returns:
        Rows of `dataset`, `video_id`, `expression_id`, `expression`, `expression_type` (None), `video` (the absolute
        path or the address), `frame_paths` (that alone) and `key_frame`.

    Raises:
        DatasetFileError: the file cannot be read, or an entry is wrong; one line that names it.

    Example:
        >>> read_video_list("videos.jsonl")[0]["expression"]  # doctest: +SKIP
        'the dog'
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DatasetFileError(f"{path}: is no manifest; give it a name that ends in {', '.join(SUFFIXES)}")
    readers = {".jsonl": _json_entries, ".csv": _csv_entries, ".parquet": _parquet_entries}
    rows = _Rows(path)
    for place, entry in readers[path.suffix.lower()](path):
        try:
            rows.add(entry)
        except DatasetFileError as error:
            raise DatasetFileError(f"{path}, {place}: {str(error).removeprefix(': ')}") from None
    if not rows.videos:
        raise DatasetFileError(f"{path}: lists no expressions; write one entry per video or expression")
    return [row for listed in rows.videos.values() for row in listed]


class _Rows:
    """Rows by video, with the ids that they get."""

    def __init__(self, path: Path):
        self.folder = Path(os.path.abspath(path)).parent
        self.videos: dict[str, list[dict]] = {}
        self.ids: dict[str, set[str]] = {}
        self.count = self.letters = 0

    def add(self, entry: Mapping) -> None:
        video, name, expressions = _address(entry), _video_id(entry), _expressions(entry)
        video = video if _SCHEME.match(video) else os.path.join(self.folder, video)
        video = _with_tar_in(video, self.folder)
        listed = self.videos.setdefault(name, [])
        if listed and listed[0]["video"] != video:
            first = listed[0]["video"]
            raise DatasetFileError(f"{video} and {first} would both be video {name!r}: give each a 'video_id'")
        key_frame, given = _key_frame(entry), entry.get("expression_id")
        if given is not None and len(expressions) > 1:
            raise DatasetFileError("'expression_id' goes with one 'expression', not with a list")
        for text in expressions:
            self.count += 1
            if self.count > MAX_EXPRESSIONS:
                raise DatasetFileError(f"more than {MAX_EXPRESSIONS} expressions: split the manifest")
            self._count_letters(len(text) + len(video) + len(name) + len(str(given or "")))
            number = len(listed) if given is None else _id(given, "expression_id", slash=False)
            listed.append(_row(video, name, self._new_id(name, str(number)), text, key_frame))

    def _count_letters(self, letters: int) -> None:
        self.letters += letters
        if self.letters > MAX_LETTERS:
            raise DatasetFileError(f"more than {MAX_LETTERS} letters up to here: split the manifest, or shorten it")

    def _new_id(self, video: str, name: str) -> str:
        known = self.ids.setdefault(video, set())
        if name in known:
            raise DatasetFileError(f"video {video!r} has two expressions with the id {name!r}: give each its own")
        known.add(name)
        return name


def _row(video: str, video_id: str, expression_id: str, text: str, key_frame: int | None) -> dict:
    return {
        "dataset": LISTED,
        "video_id": video_id,
        "expression_id": expression_id,
        "expression": text,
        "expression_type": None,
        "video": video,
        "frame_paths": [video],
        "key_frame": key_frame,
    }


def _address(entry: Mapping) -> str:
    video = entry.get("video")
    if not isinstance(video, str) or not video.strip():
        found = f"{type(video).__name__} {video!r}" if video is not None else "nothing"
        raise DatasetFileError(
            f"'video' must be a path or an address, got {found}; the fields are {', '.join(FIELDS)}"
        )
    if len(video) > MAX_ADDRESS or re.search(r"[\x00-\x1f\x7f]", video):
        raise DatasetFileError(f"'video' {video[:60]!r} is no path and no address: correct it")
    return video


def _video_id(entry: Mapping) -> str:
    """The id that is given, or the path without suffix; of an absolute path or an address its last name."""
    if entry.get("video_id") is not None:
        return _id(entry["video_id"], "video_id", slash=True)
    video = entry["video"].removeprefix("tar://").partition("::")[0]
    is_address = _SCHEME.match(video) is not None
    path = PurePosixPath("/" + _SCHEME.sub("", video).partition("?")[0].partition("/")[2] if is_address else video)
    is_relative = not _SCHEME.match(entry["video"]) and not path.is_absolute() and ".." not in path.parts
    name = str(path.with_suffix("")) if is_relative and path.name else path.stem
    try:
        return check_name(name, "its name", "")
    except DatasetFileError:
        raise DatasetFileError(f"'video' {entry['video']!r} gives no name: add a 'video_id'") from None


def _id(value, field: str, slash: bool) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    name = check_name(value, f"'{field}'", "")
    if "/" in name and not slash:
        raise DatasetFileError(f"{field!r} must not hold '/', got {name!r}: take another id")
    return name


def _expressions(entry: Mapping) -> list[str]:
    single, several = entry.get("expression"), entry.get("expressions")
    if (single is None) == (several is None):
        has = "neither 'expression' nor" if single is None else "both 'expression' and"
        raise DatasetFileError(f"has {has} 'expressions': give one of them")
    texts = [single] if several is None else several
    if not isinstance(texts, list) or not texts:
        raise DatasetFileError(
            f"'expressions' must be a list of texts, got {type(texts).__name__} {str(texts)[:40]!r}"
        )
    for text in texts:
        if not isinstance(text, str) or not is_visible(plain_expression(text)):
            raise DatasetFileError(f"an expression must be a text that is not empty, got {str(text)[:40]!r}")
    return texts


def _key_frame(entry: Mapping) -> int | None:
    frame = entry.get("key_frame")
    if isinstance(frame, str) and re.fullmatch(r"\d{1,9}", frame):
        frame = int(frame)
    if frame is not None and (not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < 1 << 31):
        raise DatasetFileError(f"'key_frame' must be the number of a frame, counted from 0, got {frame!r}")
    return frame


def _with_tar_in(video: str, folder: Path) -> str:
    """An address `tar://MEMBER::FILE` with the file in the folder of the manifest."""
    if not video.startswith("tar://"):
        return video
    member, separator, tar = video.partition("::")
    if not separator or not tar or member == "tar://":
        raise DatasetFileError(f"{video!r}: write tar://MEMBER::FILE, as tar://clips/dog.mp4::shard-0.tar")
    return f"{member}::{os.path.join(folder, tar)}"


# --- the three formats -----------------------------------------------------------------------------------------------


def _json_entries(path: Path) -> Iterator[Entry]:
    for number, entry in read_lines(path):
        if isinstance(entry, str):
            raise DatasetFileError(f"{path}, line {number}: {entry}; correct it")
        yield f"line {number}", entry


def _csv_entries(path: Path) -> Iterator[Entry]:
    text = read_text(path, "csv", DatasetFileError)
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if not {"video", "expression"} <= set(lines.fieldnames or ()):
            raise DatasetFileError(f"{path}: has no columns 'video' and 'expression' in its first line: add them")
        _check_columns(path, lines.fieldnames)
        for entry in lines:
            if None in entry or None in entry.values():
                wrong = "more" if None in entry else "fewer"
                raise DatasetFileError(
                    f"{path}, line {lines.line_num}: has {wrong} cells than the first line: correct it"
                )
            yield f"line {lines.line_num}", {name: cell for name, cell in entry.items() if cell != ""}
    except csv.Error as error:
        raise DatasetFileError(f"{path}, line {lines.line_num}: is not CSV ({error}); correct it") from None


def _check_columns(path: Path, names: Iterable[str]) -> None:
    twice = first_repeated(name for name in names if name in FIELDS)
    if twice is not None:
        raise DatasetFileError(f"{path}: has two columns {twice!r}: remove or rename one")


def _parquet_entries(path: Path) -> Iterator[Entry]:
    import pyarrow

    try:
        yield from _numbered(_parquet_rows(path))
    except UnicodeDecodeError as error:
        raise DatasetFileError(f"{path}: holds a text that is not UTF-8 ({error.reason}); write it again") from None
    except (pyarrow.ArrowException, OSError) as error:  # ArrowException has several parents
        reason = str(error).splitlines()[0]
        raise DatasetFileError(f"{path}: is not a readable Parquet file ({reason}); write it again") from None


def _numbered(rows: Iterable[Mapping]) -> Iterator[Entry]:
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", {name: value for name, value in row.items() if value is not None}


def _parquet_rows(path: Path) -> Iterator[dict]:
    """Rows with the known fields alone; few at a time, and counted before any is read."""
    import pyarrow.parquet

    check_regular(path, "parquet", DatasetFileError)
    texts = _leaves(path)
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
        _check_columns(path, file.schema_arrow.names)
        names = [name for name in FIELDS if name in file.schema_arrow.names]
        for field in (file.schema_arrow.field(name) for name in names):
            _check_type(path, field)
        if file.metadata.num_rows > MAX_EXPRESSIONS or _most_values(file, names) > MAX_EXPRESSIONS:
            raise DatasetFileError(f"{path}: lists more than {MAX_EXPRESSIONS} expressions: split the manifest")
        for batch in file.iter_batches(batch_size=256, columns=names):
            yield from batch.to_pylist()


def _leaves(path: Path) -> list[str]:
    """Paths of the columns of texts; each different text of them is then held once."""
    import pyarrow.parquet

    schema = pyarrow.parquet.read_metadata(path).schema
    columns = map(schema.column, range(len(schema)))
    known = [column for column in columns if column.path.partition(".")[0] in FIELDS]
    return [column.path for column in known if column.physical_type == "BYTE_ARRAY"]


def _check_type(path: Path, field) -> None:
    import pyarrow.types as types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    is_text = types.is_string(kind) or types.is_large_string(kind)
    allowed = {"expressions": types.is_list(kind) or types.is_large_list(kind), "key_frame": types.is_integer(kind)}
    is_id = field.name.endswith("_id") and types.is_integer(kind)
    if not (is_text or is_id or allowed.get(field.name, False) or types.is_null(kind)):
        raise DatasetFileError(f"{path}: column {field.name!r} holds {str(kind)[:60]}; write texts, or see the fields")


def _most_values(file, names: list[str]) -> int:
    """Values of the fullest column, those in lists counted."""
    totals: dict[str, int] = {}
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema.partition(".")[0] in names:
                totals[column.path_in_schema] = totals.get(column.path_in_schema, 0) + column.num_values
    return max(totals.values(), default=0)


__all__ = ["LISTED", "SUFFIXES", "read_video_list"]
