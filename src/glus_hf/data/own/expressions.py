"""Own data (docs/own-data.md): the lines of `expressions.jsonl`."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ...bounded_json import decode_json
from ...errors import DatasetFileError
from ...models.expressions import plain_expression
from ...safe_files import MB, open_file, readable_size
from ..dataset_files import check_name


EXPRESSIONS = "expressions.jsonl"
MAX_LINE = 64 * MB
MAX_LINES = 1_000_000
KEYS = ("video", "expression", "id", "type", "masks", "objects")
OBJECT_KEYS = ("id", "masks")


@dataclass(frozen=True)
class OwnExpression:
    """A line of `expressions.jsonl`. `objects` holds `(id, masks)` of each object, masks being a folder of PNGs
    (relative) or a list of run lengths; None where the line is not labelled, empty where nothing is meant."""

    line: int
    video: str
    id: str
    text: str
    type: str | None
    objects: list[tuple[str, str | list]] | None


def read_lines(file: Path) -> Iterator[tuple[int, dict | str]]:
    """Line numbers (from 1) with the JSON object of the line, or with a text that says why there is none."""
    with open_file(file, "jsonl", DatasetFileError) as lines:
        for number, raw in enumerate(iter(lambda: lines.readline(MAX_LINE + 1), b""), start=1):
            if len(raw) > MAX_LINE or number > MAX_LINES:
                most = f"{MAX_LINES} lines" if number > MAX_LINES else f"{readable_size(MAX_LINE)} in a line"
                raise DatasetFileError(f"{file}:{number}: more than {most}: split the file")
            if raw.removeprefix(codecs.BOM_UTF8).strip():
                yield number, _parse_line(raw)


def _parse_line(raw: bytes) -> dict | str:
    try:
        entry = decode_json(raw.rstrip())
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (byte {error.start + 1}): save the file as UTF-8"
    except json.JSONDecodeError as error:
        return f"is not JSON ({error.msg}, column {error.colno})"
    except ValueError as error:
        return f"is not JSON ({error})"
    return entry if isinstance(entry, dict) else f"is a JSON {type(entry).__name__}, not an object {{...}}"


def field_problems(entry: dict) -> Iterator[str]:
    """Everything that is wrong with the fields of one line, without looking at files."""
    unknown, misspelt = _unknown_fields(entry, KEYS)
    yield from unknown
    if "video" not in misspelt:
        yield from _name_problems(entry.get("video"), "video", slash=True)
    if "expression" not in misspelt:
        yield from _expression_problems(entry.get("expression"))
    if entry.get("id") is not None:
        yield from _name_problems(entry["id"], "id", slash=False)
    kind = entry.get("type")
    if kind is not None and (not isinstance(kind, str) or not kind):
        yield "'type' must be a text"
    if entry.get("masks") is not None and entry.get("objects") is not None:
        yield "has both 'masks' and 'objects'; keep one"
    yield from _objects_problems(entry)


def _unknown_fields(entry: dict, known: Sequence[str]) -> tuple[list[str], set[str]]:
    """The problem that there are unknown fields, if so, and the absent fields that they seem to be."""
    unknown = [name for name in entry if name not in known]
    near = {match for name in unknown for match in get_close_matches(name, known, n=1)}
    problem = f"unknown field {', '.join(map(repr, unknown))}; the fields are {', '.join(known)}"
    return [problem] if unknown else [], near - set(entry)


def _expression_problems(expression) -> Iterator[str]:
    if not isinstance(expression, str):
        yield f"'expression' must be a text, got {type(expression).__name__}"
    elif not plain_expression(expression):
        yield "'expression' is empty"


def _name_problems(value, field: str, slash: bool) -> Iterator[str]:
    """Names become paths that predictions are written to."""
    if isinstance(value, int) and not isinstance(value, bool) and field != "video":
        value = str(value)
    try:
        check_name(value, f"'{field}'", "")
    except DatasetFileError as error:
        yield str(error).removeprefix(": ")
    else:
        if "/" in value and not slash:
            yield f"{field!r} must not hold '/', got {value!r}"


def _objects_problems(entry: dict) -> Iterator[str]:
    yield from _masks_problems(entry.get("masks"), "'masks'")
    objects = entry.get("objects")
    if objects is None:
        return
    if not isinstance(objects, list):
        yield f"'objects' must be a list, got {type(objects).__name__}"
        return
    ids = []
    for number, item in enumerate(objects):
        name = f"object {number}"
        if not isinstance(item, dict):
            yield f"{name} must be an object {{...}}, got {type(item).__name__}"
            continue
        unknown, misspelt = _unknown_fields(item, OBJECT_KEYS)
        yield from (f"{name}: {problem}" for problem in unknown)
        if item.get("masks") is None and "masks" not in misspelt:
            yield f"{name} has no 'masks'"
        yield from _masks_problems(item.get("masks"), f"{name}: 'masks'")
        if item.get("id") is not None:
            yield from _name_problems(item["id"], "id", slash=True)
        ids += [("id", str(item["id"]))] if item.get("id") is not None else []
        ids += [("masks", item["masks"].rstrip("/"))] if isinstance(item.get("masks"), str) else []
    for field, value in (pair for pair, times in Counter(ids).items() if times > 1):
        yield f"two objects have the {field} {value!r}"


def _masks_problems(masks, name: str) -> Iterator[str]:
    if isinstance(masks, str):
        try:
            check_name(masks.rstrip("/"), name, "")
        except DatasetFileError as error:
            yield str(error).removeprefix(": ")
    elif masks is not None and not isinstance(masks, list):
        yield f"{name} must be a folder or a list of masks, got {type(masks).__name__}"


def scan_expressions(folder: Path) -> Iterator[tuple[int, OwnExpression | None, list[str]]]:
    """Line number, expression and problems of every line of `folder/expressions.jsonl`; None where there are problems.

    Raises:
        DatasetFileError: the file cannot be read, or is too large.
    """
    counts: dict[str, int] = {}
    first_lines: dict[tuple[str, str], int] = {}
    for line, entry in read_lines(folder / EXPRESSIONS):
        problems = [entry] if isinstance(entry, str) else list(field_problems(entry))
        expression = None
        if not problems:
            number = counts[entry["video"]] = counts.get(entry["video"], -1) + 1
            expression = make_expression(line, entry, number)
            first = first_lines.setdefault((expression.video, expression.id), line)
            if first != line:
                problems = [f"video {expression.video!r} has the expression id {expression.id!r} on line {first} too"]
        yield line, expression, problems


def read_expressions(folder: Path) -> dict[str, list[OwnExpression]]:
    """Expressions by video, in the order of the file.

    Raises:
        DatasetFileError: the first problem of the file, with its line.
    """
    videos: dict[str, list[OwnExpression]] = {}
    for line, expression, problems in scan_expressions(folder):
        if problems:
            raise own_data_error(folder, line, problems[0])
        videos.setdefault(expression.video, []).append(expression)
    if not videos:
        raise DatasetFileError(f"{folder / EXPRESSIONS}: has no expressions: write one JSON object per line")
    return videos


def own_data_error(folder: Path, line: int, problem: str) -> DatasetFileError:
    """The error about one line."""
    return DatasetFileError(f"{folder / EXPRESSIONS}:{line}: {problem}; `glus-hf data check` lists all problems")


def make_expression(line: int, entry: dict, number: int) -> OwnExpression:
    """The expression of a line without [`field_problems`]; `number` counts the expressions of its video from 0.

    An object without an id is named by its folder, so expressions that share masks share the object; one with masks in
    the line itself is an object of its own.
    """
    name = str(number if entry.get("id") is None else entry["id"])
    objects = entry.get("objects")
    if objects is None and entry.get("masks") is not None:
        objects = [{"masks": entry["masks"]}]
    if objects is not None:
        objects = [_object_of(item, f"{name}/{position}") for position, item in enumerate(objects)]
    kind = "no_target" if objects == [] and entry.get("type") is None else entry.get("type")
    return OwnExpression(line, entry["video"], name, entry["expression"], kind, objects)


def _object_of(item: dict, default: str) -> tuple[str, str | list]:
    masks = item["masks"].rstrip("/") if isinstance(item["masks"], str) else item["masks"]
    given = item.get("id")
    return (str(given) if given is not None else masks if isinstance(masks, str) else default), masks
