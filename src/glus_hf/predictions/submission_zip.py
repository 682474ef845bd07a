"""Submission archives: what each benchmark's server accepts, checked before the archive is written.

| dataset | server | inside the archive |
| --- | --- | --- |
| `mevis` | CodaLab 15094 (v1), Codabench 11420 (v2) | `<video>/<expression>/<frame>.png` |
| `refer_youtube_vos` | CodaLab 3282 | `Annotations/<video>/<expression>/<frame>.png` |
| `long_rvos` | none known; the layout of its own evaluation | `Annotations/<video>/<expression>/<frame>.png` |
| `ref_davis17` | none; what the DAVIS evaluation reads | `anno_<0-3>/<video>/<frame>.png` |
| `motion_shapes` | none; for practice, as MeViS | `<video>/<expression>/<frame>.png` |

Each PNG has 8 bits of one channel, 0 and 255 (Ref-DAVIS17: a palette and ids), at the video's size; all frames of all
expressions of the split are there.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np

from ..atomic_write import atomic_path
from ..errors import SubmissionError, UserError
from ..media.open_image import open_image
from ..media.sizes import check_size
from ..output_claim import FileRecord, Records, is_recorded
from ..rows import only_columns
from .davis_annotators import fused_png, rows_by_annotator
from .prediction_tree import expression_folder, find_expression_folder, tree_records


SUBMITTABLE = ("mevis", "refer_youtube_vos", "long_rvos", "ref_davis17", "motion_shapes")
"""Datasets with a server, or with a layout to hand in."""

_COLUMNS = ["dataset", "video_id", "expression_id", "frames", "height", "width", "source", "object_ids"]


def validate_submission(root: str | os.PathLike, rows: Iterable[Mapping], dataset: str, split: str) -> list[str]:
    """Check a tree of predictions against the rules of its dataset's server.

    Args:
        root: the tree, as [`write_expression`] writes it.
        rows: all expressions of the split, as `load_referring_dataset` gives them.
        dataset, split: their names.

    Returns:
        Problems, one line each that names the file; empty where the server would take the tree.

    Raises:
        ValueError: the dataset has no server.

    Example:
        >>> rows = [{"dataset": "mevis", "video_id": "v", "expression_id": "0", "frames": ["00000"],
        ...          "height": 4, "width": 6}]
        >>> validate_submission("nowhere", rows, "mevis", "valid")
        ['nowhere/v/0: the expression has no predictions']
    """
    check_submission("submission.zip", dataset)
    rows = only_columns(rows, _COLUMNS)
    problems = [] if len(rows) else [f"{dataset} {split}: there are no expressions"]
    for row in rows:
        if row["dataset"] != dataset:
            problems.append(f"{expression_folder(row)}: is of dataset {row['dataset']}, not {dataset}")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoding PNGs releases the interpreter
        for found in pool.map(partial(_expression_problems, root, tree_records(root)), rows):
            problems.extend(found)
    return problems


def write_submission_zip(
    root: str | os.PathLike, rows: Iterable[Mapping], dataset: str, split: str, output: str | os.PathLike
) -> None:
    """Check a tree, then write the archive for its dataset's server, complete or not at all.

    Equal trees give equal bytes.

    Args:
        root, rows, dataset, split: see [`validate_submission`].
        output: the `.zip` to write; parent folders are created.

    Raises:
        SubmissionError: the tree breaks the server's rules; its `problems` lists how.
        ValueError: the dataset has no server, or `output` is no `.zip`.

    Example:
        >>> write_submission_zip("preds", rows, "mevis", "valid", "mevis.zip")  # doctest: +SKIP
    """
    check_submission(output, dataset)
    rows = only_columns(rows, _COLUMNS)
    problems = validate_submission(root, rows, dataset, split)
    if problems:
        raise SubmissionError(root, problems)
    with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, read in sorted(_members(root, rows, dataset), key=itemgetter(0)):
            # a fixed date and mode, and no compression (PNGs are compressed): equal trees give equal archives
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, read())


def check_submission(output: str | os.PathLike, dataset: str) -> None:
    """Refuse what can never become an archive, before the long work.

    Raises:
        ValueError: `output` is no `.zip`, or the dataset has no server.
    """
    if Path(output).suffix.lower() != ".zip":
        raise UserError(f"{output}: a submission is a .zip file; choose such a name")
    if dataset not in SUBMITTABLE:
        known = ", ".join(SUBMITTABLE)
        raise UserError(f"{dataset} has no submission server (those with one: {known}); score the tree instead")


def _members(root: str | os.PathLike, rows, dataset: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """`(name in the archive, what gives its bytes)` of every file."""
    if dataset == "ref_davis17":
        yield from _fused_members(root, rows)
        return
    for row in rows:
        folder = find_expression_folder(root, row)
        for frame in row["frames"]:
            yield f"{expression_folder(row)}/{frame}.png", (folder / f"{frame}.png").read_bytes


def _fused_members(root: str | os.PathLike, rows) -> Iterator[tuple[str, Callable[[], bytes]]]:
    videos: dict[str, list[Mapping]] = {}
    for row in rows:
        videos.setdefault(row["video_id"], []).append(row)
    for video, listed in videos.items():
        for annotator, of_one in enumerate(rows_by_annotator(listed)):
            folders = [find_expression_folder(root, row) for row in of_one]
            for frame in listed[0]["frames"]:
                masks = [folder / f"{frame}.png" for folder in folders]
                yield f"anno_{annotator}/{video}/{frame}.png", partial(fused_png, masks)


def _expression_problems(root: str | os.PathLike, records: Records, row: Mapping) -> list[str]:
    folder = find_expression_folder(root, row)
    if folder is None:
        return [f"{Path(root) / expression_folder(row)}: the expression has no predictions"]
    name = folder.relative_to(root).as_posix()
    found = (
        _png_problem(folder / f"{frame}.png", row["width"], row["height"], records.get(f"{name}/{frame}.png"))
        for frame in row["frames"]
    )
    return [problem for problem in found if problem is not None]


def _png_problem(path: Path, width: int, height: int, known: set[FileRecord] | None = None) -> str | None:
    if not os.path.lexists(path):
        return f"{path}: the file is missing"
    try:
        image = open_image(path, formats=("PNG",), kind="mask", remedy="write this expression again", error=UserError)
        if image.mode != "L":
            return f"{path}: has mode {image.mode}, the server needs L (8 bits of one channel)"
        check_size(path, (image.height, image.width), (height, width))
        values = np.flatnonzero(np.bincount(np.asarray(image).ravel(), minlength=256))
    except UserError as error:
        return str(error)
    foreign = [int(value) for value in values if value not in (0, 255)]
    if foreign:
        return f"{path}: holds the value {foreign[0]}, masks have 0 and 255"
    if known is not None and not is_recorded(path, known):
        return f"{path}: was changed since the evaluation wrote it; run the evaluation again with --verify"
    return None


__all__ = ["SUBMITTABLE", "SubmissionError", "check_submission", "validate_submission", "write_submission_zip"]
