"""Trees of mask PNGs, DAVIS' palette files or binary ones, converted into the layout of own data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...errors import DatasetFileError
from ...media.mask_png import read_mask_values
from ...media.rle import Track, encode_rle
from ..png_tracks import ID, VOID
from .own_folder import find_source, mask_folders, new_own_folder, read_texts
from .videos import OwnVideo, read_track


def convert_davis(
    masks: str | os.PathLike,
    frames: str | os.PathLike,
    output: str | os.PathLike,
    texts: str | os.PathLike | None = None,
    copy: bool = False,
) -> dict[str, int]:
    """Convert palette PNGs `<masks>/<video>/<frame>.png`, whose pixels are ids of objects, into own data.

    Args:
        masks: the folder (`Annotations`). 0 is background, 255 is void and belongs to nothing.
        frames: folder with `<video>/`, images of the same names, or `<video>.mp4` and other video files.
        output: folder to make; it appears complete or not at all.
        texts: JSON file `{video: {id: expression}}`; by default the `expressions.json` beside `masks`. An object that
            it does not name is "object <id>".
        copy: copy the frames. Otherwise they are symbolic links.

    Returns:
        `{"videos", "expressions", "frames"}`, numbers of each.

    Raises:
        ValueError: a mask or a frame is missing or broken, or `output` is taken. One line.

    Example:

        >>> convert_davis("Annotations", "JPEGImages", "own")  # doctest: +SKIP
        {'videos': 30, 'expressions': 61, 'frames': 1999}
    """
    masks, frames = Path(masks), Path(frames)
    known = _known_texts(masks, texts)
    with new_own_folder(Path(output), copy) as own:
        for folder in mask_folders(masks):
            name = folder.relative_to(masks).as_posix()
            video, table = own.add_video(find_source(frames, name), name), known.get(name, {})
            ids = [int(number) for number in table if re.fullmatch(ID, number) and 0 < int(number) < VOID]
            tracks = {str(number): track for number, track in _index_tracks(folder, video, ids).items()}
            own.add_objects(video, tracks, {number: table.get(number, f"object {number}") for number in tracks})
    return own.counts


def convert_png(
    masks: str | os.PathLike,
    frames: str | os.PathLike,
    output: str | os.PathLike,
    texts: str | os.PathLike | None = None,
    copy: bool = False,
) -> dict[str, int]:
    """Convert binary PNGs `<masks>/<video>/<object>/<frame>.png` into own data. Every value but 0 is the object; a PNG
    that is missing says that it is not in that frame.

    Arguments, results and errors are those of [`convert_davis`]; `texts` has the folders of the objects as keys. An
    object that it does not name is called as its folder, with spaces for `_`.

    Example:

        >>> convert_png("masks", "videos", "own")  # doctest: +SKIP
        {'videos': 1, 'expressions': 2, 'frames': 16}
    """
    masks, frames = Path(masks), Path(frames)
    known, by_video = _known_texts(masks, texts), {}
    for folder in mask_folders(masks):
        by_video.setdefault(folder.parent, []).append(folder)
    if masks in by_video:
        raise DatasetFileError(f"{masks}: expects <video>/<object>/<frame>.png; name the folder above this one")
    with new_own_folder(Path(output), copy) as own:
        for parent, folders in by_video.items():
            name = parent.relative_to(masks).as_posix()
            video, table = own.add_video(find_source(frames, name), name), known.get(name, {})
            tracks = {folder.name: read_track(parent, folder.name, video) for folder in folders}
            own.add_objects(video, tracks, {key: table.get(key, key.replace("_", " ")) for key in tracks})
    return own.counts


def _known_texts(masks: Path, texts: str | os.PathLike | None) -> dict[str, dict[str, str]]:
    beside = masks.absolute().parent / "expressions.json"
    path = beside if texts is None else Path(texts)
    return read_texts(path) if texts is not None or path.is_file() else {}


def _index_tracks(folder: Path, video: OwnVideo, ids: Iterable[int]) -> dict[int, Track]:
    """A track per id of `ids` and of the files, in order. Every frame needs a file."""
    strays = sorted({file.stem for file in folder.glob("*.png")} - set(video.frames))
    if strays:
        raise DatasetFileError(f"{folder / strays[0]}.png: video {video.name!r} has no such frame; remove it")
    found: dict[int, Track] = {number: [None] * len(video.frames) for number in ids}
    for frame, stem in enumerate(video.frames):
        remedy = "keep only the frames that have a mask"
        values = read_mask_values(folder / f"{stem}.png", video.size, f"video {video.name}", remedy)
        for number in np.unique(values):
            if 0 < number < VOID:
                track = found.setdefault(int(number), [None] * len(video.frames))
                track[frame] = encode_rle(values == number)
    return dict(sorted(found.items()))


__all__ = ["convert_davis", "convert_png"]
