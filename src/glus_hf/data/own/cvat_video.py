"""CVAT for video 1.1 XML with masks, converted into the layout of own data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from transformers.utils import logging

from ...errors import DatasetContentError, DatasetFileError
from ...media.rle import encode_rle
from ...media.sizes import check_size
from ...models.expressions import plain_expression
from ...safe_files import read_text
from .own_folder import new_own_folder
from .videos import OwnVideo


logger = logging.get_logger(__name__)

MAX_PARTS = 4_000_000  # each takes up to 200 bytes of memory
EXPRESSION = "expression"  # attribute with the text of a label that was too short for it
OTHER_SHAPES = ("box", "polygon", "polyline", "points", "cuboid", "ellipse", "skeleton")


def convert_cvat(
    annotations: str | os.PathLike, video: str | os.PathLike, output: str | os.PathLike, copy: bool = False
) -> dict[str, int]:
    """Convert the masks of a CVAT task, exported as "CVAT for video 1.1", into own data (docs/own-data.md).

    A label, or its attribute `expression`, is an expression. Tracks with one label and one group are one object,
    tracks of other groups are further objects of the same expression. Shapes other than masks are left out with
    a warning.

    Args:
        annotations: the XML file.
        video: the video file of the task, or the folder of its frames.
        output: folder to make; it appears complete or not at all.
        copy: copy the video. Otherwise it is a symbolic link.

    Returns:
        `{"videos", "expressions", "frames"}`, numbers of each.

    Raises:
        ValueError: the XML is malformed or does not fit the video, or `output` is taken. One line.

    Example:

        >>> convert_cvat("annotations.xml", "park.mp4", "own")  # doctest: +SKIP
        {'videos': 1, 'expressions': 2, 'frames': 250}
    """
    file, video = Path(annotations), Path(video)
    root = _read_xml(file)
    if not video.exists():
        raise DatasetFileError(f"{video}: no such video: name the file or the folder of frames of the task")
    with new_own_folder(Path(output), copy) as own:
        opened = own.add_video(video, video.stem if video.is_file() else video.absolute().name)
        _check_task(file, root, opened)
        for text, groups in _masks_by_text(file, root, opened).items():
            own.add_expression(opened, text, _objects(groups, len(opened.frames)))
    return own.counts


def _read_xml(file: Path) -> ElementTree.Element:
    """The root of an XML file without a document type, which could make the reader fill the memory."""
    text = read_text(file, "xml", DatasetFileError)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DatasetFileError(f"{file}: has a document type, which CVAT does not write; export it again")
    if text.count("<") + text.count("=") > MAX_PARTS:
        raise DatasetFileError(f"{file}: has more than {MAX_PARTS} elements and attributes; export fewer frames")
    try:
        root = ElementTree.fromstring(text)
    except (ValueError, ElementTree.ParseError) as error:
        raise DatasetFileError(f"{file}: is not XML ({error}): export it again") from None
    if root.tag != "annotations":
        raise DatasetFileError(f"{file}: starts with <{root.tag}>, not <annotations>: export it as CVAT for video 1.1")
    if root.find("image") is not None:
        raise DatasetFileError(f"{file}: is CVAT for images: export it as CVAT for video 1.1")
    return root


def _check_task(file: Path, root: ElementTree.Element, video: OwnVideo) -> None:
    size = [root.findtext(f".//original_size/{side}") for side in ("height", "width")]
    if all(side is not None and re.fullmatch("[0-9]{1,9}", side) for side in size):
        check_size(file, [int(side) for side in size], video.size, error=DatasetFileError)


def _masks_by_text(file: Path, root: ElementTree.Element, video: OwnVideo) -> dict[str, dict[str, dict]]:
    """`{expression: {group: {frame: mask}}}`."""
    found: dict[str, dict[str, dict]] = {}
    for number, track in enumerate(root.iter("track")):
        where = f"{file}: track {track.get('id', number)}"
        for shape in track.iter("mask"):
            if shape.get("outside") == "1":
                continue
            text = (shape.findtext(f"attribute[@name='{EXPRESSION}']") or track.get("label") or "").strip()
            if not plain_expression(text):
                raise DatasetContentError(f"{where}: has no label")
            frame, mask = _mask(where, shape, video)
            masks = found.setdefault(text, {}).setdefault(track.get("group_id", "0"), {})
            masks[frame] = masks[frame] | mask if frame in masks else mask
    _warn_of_others(file, root)
    if not found:
        raise DatasetFileError(f"{file}: has no masks: draw some, or convert its polygons to masks in CVAT")
    return found


def _warn_of_others(file: Path, root: ElementTree.Element) -> None:
    others = {name: sum(1 for _ in root.iter(name)) for name in OTHER_SHAPES}
    left_out = ", ".join(f"{count} {name}" for name, count in others.items() if count)
    if left_out:
        logger.warning(f"{file}: left out {left_out}: only masks are converted")


def _mask(where: str, shape: ElementTree.Element, video: OwnVideo) -> tuple[int, np.ndarray]:
    """Frame and `[height, width]` bool mask of an element."""
    try:
        frame, left, top, width, height = (int(shape.attrib[k]) for k in ("frame", "left", "top", "width", "height"))
        runs = np.array([int(run) for run in shape.attrib["rle"].split(",")], dtype=np.int64)
    except (KeyError, ValueError, OverflowError):
        raise DatasetContentError(f"{where}: a mask needs frame, left, top, width, height and rle, numbers") from None
    if not 0 <= frame < len(video.frames):
        raise DatasetContentError(f"{where}: has a mask in frame {frame} of a video of {len(video.frames)} frames")
    inside = min(left, top) >= 0 and min(width, height) > 0
    if not inside or left + width > video.size[1] or top + height > video.size[0]:
        raise DatasetContentError(f"{where}: the mask of frame {frame} is not inside the video of {list(video.size)}")
    # each run is checked: a sum can overflow
    if runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
        raise DatasetContentError(f"{where}: the runs of frame {frame} do not cover its {width} x {height} box")
    mask = np.zeros(video.size, dtype=bool)
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask[top : top + height, left : left + width] = values.reshape(height, width)
    return frame, mask


def _objects(groups: dict[str, dict[int, np.ndarray]], num_frames: int) -> Iterable[dict]:
    for number, masks in enumerate(groups.values()):
        yield {"id": str(number), "masks": list(_track(masks, num_frames))}


def _track(masks: dict[int, np.ndarray], num_frames: int) -> Iterator[dict | None]:
    for frame in range(num_frames):
        yield encode_rle(masks[frame]) if frame in masks and masks[frame].any() else None


__all__ = ["convert_cvat"]
