"""Trees of predicted masks: one PNG per frame of every expression, laid out as each benchmark's server expects.

An expression is one row of `load_referring_dataset`. Its folder appears in the tree complete or not at all: the PNGs
are written under `.glus_hf/partial` of the tree and the folder is renamed into place when the last one is there.
"""

from __future__ import annotations

import io
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from ..atomic_write import full_disk_named
from ..errors import MissingPrediction, UserError
from ..media.open_image import open_image
from ..media.sizes import check_size
from ..output_claim import FileRecord, Records, bytes_record, files_below, read_records


ANNOTATIONS_ON_TOP = ("refer_youtube_vos", "long_rvos")
"""Datasets whose trees start with a folder `Annotations`."""

PRIVATE_FOLDER = ".glus_hf"
"""Where a tree keeps what is not part of the submission: half-written expressions, manifests."""

RESULT_FILES = ("results.jsonl", "summary.json", "key_frames.json")
"""What an evaluation writes beside the expressions."""

MAX_NAME = 200  # bytes of an id; file systems end at 255

_READABLE_MODES = ("L", "1", "P")
_GREY = np.array([9797, 19234, 3737])
"""Weights of red, green and blue in 1/32768, those of libpng, with which the public evaluators read colours."""


def expression_folder(row: Mapping) -> str:
    """Folder of one expression inside a tree of predictions, in the layout of its dataset's server.

    Args:
        row: `dataset`, `video_id` and `expression_id` are read.

    Returns:
        Path relative to the tree's root, with forward slashes.

    Raises:
        ValueError: an id would leave the tree (`..`, an absolute path) or is empty.

    Example:
        >>> expression_folder({"dataset": "mevis", "video_id": "0ab4afe7fb46", "expression_id": "2"})
        '0ab4afe7fb46/2'
        >>> expression_folder({"dataset": "refer_youtube_vos", "video_id": "003234408d", "expression_id": "0"})
        'Annotations/003234408d/0'
    """
    folder = f"{_checked_id(row, 'video_id')}/{_checked_id(row, 'expression_id')}"
    return f"Annotations/{folder}" if row["dataset"] in ANNOTATIONS_ON_TOP else folder


def check_places_apart(rows: Iterable[Mapping], path_of: Callable[[Mapping], str] = expression_folder) -> None:
    """Refuse expressions that would be written over or into each other, such as expression "0" of a video "park" and
    the expressions of a video "park/0".

    Args:
        rows: `dataset`, `video_id` and `expression_id` are read.
        path_of: relative folder or file of an expression.

    Raises:
        UserError: names both expressions; one line.

    Example:
        >>> ids = [("park", "0"), ("park", "1")]
        >>> check_places_apart({"dataset": "own", "video_id": video, "expression_id": name} for video, name in ids)
    """
    taken = {name: f"the result {name}" for name in RESULT_FILES}
    names = {}
    for row in rows:
        place = path_of(row)
        name = f"video {row['video_id']}, expression {row['expression_id']}"
        if any(len(part.encode("utf-8", "surrogatepass")) > MAX_NAME for part in place.split("/")):
            raise UserError(f"{name}: an id is longer than {MAX_NAME} bytes; give it a shorter one")
        if place in names or place in taken:
            _refuse_places(names.get(place) or taken[place], name)
        names[place] = name
    for place, name in names.items():
        for parent in PurePosixPath(place).parents:
            other = names.get(str(parent)) or taken.get(str(parent))
            if other is not None:
                _refuse_places(other, name)


def _refuse_places(first: str, second: str) -> None:
    raise UserError(f"{first} and {second} would be written into each other's place; rename one of the videos")


def find_expression_folder(root: str | os.PathLike, row: Mapping) -> Path | None:
    """Where a tree, ours or another project's, holds one expression; None where it does not.

    Accepted with and without the folder `Annotations` on top, and for ReasonVOS also under VideoLISA's name
    `<source>_<video>_<object>/<expression>`.

    Args:
        root: the tree.
        row: `dataset`, `video_id` and `expression_id` are read; for ReasonVOS `source` and `object_ids` too.

    Example:
        >>> find_expression_folder("preds", {"dataset": "mevis", "video_id": "v", "expression_id": "0"}) is None
        True
    """
    plain = f"{_checked_id(row, 'video_id')}/{_checked_id(row, 'expression_id')}"
    names = [expression_folder(row), plain, f"Annotations/{plain}"]
    if row["dataset"] == "reasonvos" and row.get("source"):
        for object_id in row.get("object_ids") or ():
            names.append(f"{row['source']}_{row['video_id']}_{object_id}/{row['expression_id']}")
    for name in dict.fromkeys(names):
        if (Path(root) / name).is_dir():
            return Path(root) / name
    return None


def read_prediction(root: str | os.PathLike, row: Mapping, frame: str, follows_links: bool = True) -> np.ndarray:
    """The predicted mask of one frame; every pixel that is not black is foreground.

    Args:
        root: the tree.
        row: the expression; `height` and `width` are what the PNG must have.
        frame: stem of the frame's name, one of `row["frames"]`.
        follows_links: below the root; for what shows the mask to others it must not.

    Returns:
        `[height, width]`, bool.

    Raises:
        MissingPrediction: no such file.
        UserError: the file cannot be read, is not an 8-bit image of one channel, has another size, or is a link that
            is not followed.

    Example:
        >>> read_prediction("preds", row, "00005").dtype  # doctest: +SKIP
        dtype('bool')
    """
    if not follows_links:
        _refuse_links(root, row, frame)
    return read_prediction_raw(root, row, frame) > 0


def _refuse_links(root: str | os.PathLike, row: Mapping, frame: str) -> None:
    folder = find_expression_folder(root, row) or Path(root)
    path = folder / _frame_file(frame)
    places = [path, *path.parents][: len(path.parts) - len(Path(root).parts)]
    link = next((place for place in reversed(places) if place.is_symlink()), None)
    if link is not None:
        raise UserError(f"{link}: is a link, which is not followed; put a copy of what it leads to there")


def read_prediction_raw(root: str | os.PathLike, row: Mapping, frame: str) -> np.ndarray:
    """Grey levels: as they are in the PNG, of the palette's colours, or 0 and 255 of a 1-bit image.

    The public evaluators read PNGs so. Arguments, errors as for [`read_prediction`]. ReVOS' published numbers depend
    on these values.

    Returns:
        `[height, width]`, uint8.

    Example:
        >>> int(read_prediction_raw("preds", row, "00005").max())  # doctest: +SKIP
        255
    """
    folder = find_expression_folder(root, row)
    if folder is None:
        path = Path(root) / expression_folder(row)
        raise MissingPrediction(f"{path}: there is no prediction of this expression")
    path = folder / _frame_file(frame)
    if not os.path.lexists(path):
        raise MissingPrediction(f"{path}: the prediction of this frame is missing; segment the video again")
    image = open_image(path, formats=("PNG",), kind="mask", remedy="write this expression again", error=UserError)
    pixels = _grey_levels(image, path) if image.mode in _READABLE_MODES else None
    if pixels is None:
        raise UserError(f"{path}: has mode {image.mode}, not 8 bits of one channel; save masks as mode 'L', 0 and 255")
    check_size(path, image.size[::-1], (row["height"], row["width"]), remedy="save masks at the video's size")
    return pixels


def _grey_levels(image: Image.Image, path: Path) -> np.ndarray:
    if image.mode != "P":
        return np.array(image.convert("L"))
    colours = np.array(image.getpalette(), dtype=np.int64).reshape(-1, 3)
    if not len(colours):
        raise UserError(f"{path}: cannot be read (its palette is missing); write this expression again")
    levels = np.zeros(256, dtype=np.int64)
    levels[: len(colours)] = colours @ _GREY >> 15
    return np.array(image.point(levels.tolist()))


def write_expression(root: str | os.PathLike, row: Mapping, masks: Iterable[np.ndarray]) -> None:
    """Write all masks of one expression under the names of its frames; an older version is replaced.

    Args:
        root: the tree; created if needed.
        row: `dataset`, `video_id`, `expression_id`, `frames`, `height` and `width` are read.
        masks: `[height, width]` bool, one per entry of `row["frames"]` in that order; a generator is consumed lazily.

    Raises:
        ValueError: too few or too many masks, or one of another type or size; the tree is as before.

    Example:
        >>> write_expression("preds", row, (logits > 0 for logits in all_logits))  # doctest: +SKIP
    """
    with ExpressionWriter(root, row) as writer:
        count = len(row["frames"])
        for index, mask in enumerate(masks):
            if index >= count:
                raise UserError(f"{writer.name}: there are more masks than the {count} frames")
            writer.write(index, mask)
        writer.commit()


class ExpressionWriter:
    """Writes the masks of one expression in any order of frames, then puts its folder into the tree at once.

    Without a `commit` (an error, a kill) the tree does not change; the `with` block removes what was written.

    Args:
        root, row: as for [`write_expression`].

    Example:
        >>> with ExpressionWriter("preds", row) as writer:  # doctest: +SKIP
        ...     for index, mask in answers:
        ...         writer.write(index, mask)
        ...     writer.commit()
    """

    def __init__(self, root: str | os.PathLike, row: Mapping):
        self.root, self.name = Path(root), expression_folder(row)
        self.frames, self.size = list(row["frames"]), (row["height"], row["width"])
        if len(set(self.frames)) != len(self.frames):
            raise UserError(f"{self.name}: two frames of the video have the same name; rename one")
        self._files = [_frame_file(frame) for frame in self.frames]
        self._written: dict[int, FileRecord] = {}
        self._partial = new_partial_folder(self.root)

    def write(self, index: int, mask: np.ndarray) -> None:
        """Write `mask` (bool `[height, width]`) of frame number `index`; ValueError where it does not fit."""
        mask = np.asarray(mask)
        if not 0 <= index < len(self.frames):
            raise UserError(f"{self.name}: there is no frame number {index} in {len(self.frames)} frames")
        if mask.dtype != np.bool_ or mask.shape != self.size:
            found, wanted = f"{mask.dtype} {list(mask.shape)}", f"bool {list(self.size)} (height, width)"
            raise UserError(f"{self.name}: the mask of frame {self.frames[index]} is {found}, not {wanted}")
        png = io.BytesIO()
        Image.fromarray(mask.astype(np.uint8) * 255).save(png, format="PNG")
        with full_disk_named(self.root / self.name / self._files[index]):
            (self._partial / self._files[index]).write_bytes(png.getvalue())
        self._written[index] = bytes_record(png.getvalue())

    def commit(self, record: Callable[[Mapping[str, FileRecord]], None] | None = None) -> None:
        """Put the folder into its place.

        Args:
            record: gets size and hash of every file, by its relative path, before the folder is in place.

        Raises:
            UserError: a frame was not written, or the folder that is there holds something else than PNGs.
        """
        missing = [frame for index, frame in enumerate(self.frames) if index not in self._written]
        if missing:
            raise UserError(f"{self.name}: {len(missing)} frames have no mask, the first is {missing[0]}")
        target = self.root / self.name
        _refuse_other_files(target)
        if record is not None:
            record({f"{self.name}/{self._files[index]}": known for index, known in self._written.items()})
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # a folder cannot replace another one in one step
            replaced = new_partial_folder(self.root)
            os.rename(target, replaced / "replaced")
            os.rename(self._partial, target)
            shutil.rmtree(replaced)
        else:
            os.rename(self._partial, target)

    def close(self) -> None:
        """Remove what was written and not committed."""
        _remove_partial_folder(self._partial)

    def __enter__(self) -> ExpressionWriter:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def write_whole(
    root: str | os.PathLike,
    name: str,
    content: bytes,
    record: Callable[[Mapping[str, FileRecord]], None] | None = None,
) -> None:
    """Write a single file of a tree, complete or not at all.

    Args:
        root: of the tree.
        name: relative path.
        content: of the file.
        record: gets its size and hash, by its relative path, before it is in place.
    """
    if record is not None:
        record({name: bytes_record(content)})
    path, staged = Path(root) / name, new_partial_folder(Path(root))
    with full_disk_named(path):
        (staged / path.name).write_bytes(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / path.name, path)
    _remove_partial_folder(staged)


def _remove_partial_folder(partial: Path) -> None:
    """And the folders above it that are the tree's own, if nobody else writes in them."""
    shutil.rmtree(partial, ignore_errors=True)
    for folder in (partial.parent, partial.parent.parent):
        try:
            folder.rmdir()
        except OSError:  # still in use
            break


def _refuse_other_files(folder: Path) -> None:
    """The folder is replaced as a whole: it must hold nothing but masks."""
    if folder.is_symlink():
        raise UserError(f"{folder}: is a link, which is not followed; remove it or write to another folder")
    for name in files_below(folder):
        if "/" in name or not name.endswith(".png") or (folder / name).is_symlink():
            raise UserError(f"{folder / name}: is no mask of this expression; move it away or write to another folder")


def tree_records(root: str | os.PathLike) -> Records:
    """Sizes and hashes with which an evaluation wrote the files of a tree; empty for trees of other programs."""
    return read_records(*sorted((Path(root) / PRIVATE_FOLDER).glob("files-*.jsonl")))


def partial_folder(root: str | os.PathLike) -> Path:
    """Where a tree keeps half-written expressions. Whatever is in it while nobody writes is left from a kill."""
    return Path(root) / PRIVATE_FOLDER / "partial"


def new_partial_folder(root: Path) -> Path:
    """A folder of its own for what is half written, on the file system of the tree."""
    folder = partial_folder(root) / uuid.uuid4().hex[:12]
    for attempt in range(5):
        try:
            folder.mkdir(parents=True)
            return folder
        except FileNotFoundError:  # another writer has just removed the empty parent
            if attempt == 4:
                raise
    raise AssertionError("not reached")


def _checked_id(row: Mapping, key: str) -> str:
    """The id, if it is a path that stays inside the tree. Ids of videos may have slashes, as in ReVOS."""
    name = row[key]
    parts = PurePosixPath(name).parts
    in_order = "/".join(parts) == name and not any(part in ("..", ".", "/") for part in parts)
    if not parts or not in_order or parts[0] == PRIVATE_FOLDER or "\\" in name or "\0" in name:
        raise UserError(f"{key} {name!r} cannot be the name of a folder of predictions; rename it in the dataset")
    if key == "expression_id" and len(parts) > 1:
        raise UserError(
            f"expression_id {name!r} of video {row['video_id']} must not have a slash; rename it in the dataset"
        )
    return name


def _frame_file(frame: str) -> str:
    if not frame or "/" in frame or "\\" in frame or "\0" in frame:
        raise UserError(f"{frame!r} cannot be the name of a frame; rename it in the dataset")
    return f"{frame}.png"


__all__ = [
    "ANNOTATIONS_ON_TOP",
    "ExpressionWriter",
    "MissingPrediction",
    "RESULT_FILES",
    "check_places_apart",
    "expression_folder",
    "find_expression_folder",
    "new_partial_folder",
    "partial_folder",
    "read_prediction",
    "read_prediction_raw",
    "tree_records",
    "write_expression",
    "write_whole",
]
