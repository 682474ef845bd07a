"""All formats by name, and the one function that writes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...atomic_write import new_folder
from ...errors import UserError
from ...rows import first_repeated
from .coco import write_coco, write_coco_video
from .cvat import write_cvat
from .davis import write_davis
from .label_studio import write_label_studio
from .lines import write_rle_lines
from .png import write_png
from .video_masks import VideoMasks
from .yolo import write_yolo


@dataclass(frozen=True)
class MaskFormat:
    """A format: `write(folder, videos)`, and one line about it."""

    write: Callable[[Path, list[VideoMasks]], None]
    summary: str


FORMATS = {
    "coco-video": MaskFormat(write_coco_video, "YouTube-VIS JSON: a track of run lengths per expression"),
    "coco": MaskFormat(write_coco, "COCO JSON: every frame is an image; FiftyOne and others read it"),
    "rle-jsonl": MaskFormat(write_rle_lines, "JSON lines with COCO run lengths, one line per expression"),
    "davis": MaskFormat(write_davis, "palette PNG, pixels are the number of the expression"),
    "png": MaskFormat(write_png, "binary PNG, in the layout of own data"),
    "yolo": MaskFormat(write_yolo, "polygons of YOLO segmentation"),
    "cvat": MaskFormat(write_cvat, "CVAT for video 1.1 XML with masks"),
    "label-studio": MaskFormat(write_label_studio, "boxes for the video tag, brush masks per frame"),
}
SYNONYMS = {"youtube-vis": "coco-video", "fiftyone": "coco"}


def find_formats(names: str | Sequence[str]) -> list[str]:
    """Names of formats, of a list or a text with commas.

    Raises:
        UserError: a name is unknown.

    Example:
        >>> find_formats("davis,youtube-vis")
        ['davis', 'coco-video']
    """
    names = names.split(",") if isinstance(names, str) else names
    names = [name.strip().lower() for name in names]
    for name in names:
        if name not in FORMATS and name not in SYNONYMS:
            raise UserError(f"--format {name!r} is unknown; use {', '.join([*FORMATS, *SYNONYMS])}")
    return list(dict.fromkeys(SYNONYMS.get(name, name) for name in names))


def export_masks(videos: VideoMasks | Iterable[VideoMasks], formats: str | Sequence[str], output) -> list[Path]:
    """Write masks in other programs' formats, each as `<output>/<format>`.

    Args:
        videos: masks of one or several videos, see [`~video_masks.masks_of_results`].
        formats: names, as a list or a text with commas; see docs/formats.md.
        output: folder to make; it appears complete or not at all.

    Returns:
        The folder of each format.

    Raises:
        UserError: a format is unknown or cannot hold these masks, or `output` is taken.

    Example:
        >>> export_masks(masks_of_results(results), "davis,yolo", "exported")  # doctest: +SKIP
        [PosixPath('exported/davis'), PosixPath('exported/yolo')]
    """
    names, output = find_formats(formats), Path(os.fspath(output))
    with new_folder(output) as folder:
        write_formats(videos, names, folder)
    return [output / name for name in names]


def write_formats(videos: VideoMasks | Iterable[VideoMasks], formats: Sequence[str], folder: Path) -> None:
    """Write every format into its folder in `folder`; see [`export_masks`]."""
    videos = [videos] if isinstance(videos, VideoMasks) else list(videos)
    _check_names(videos)
    for name in formats:
        (folder / name).mkdir(parents=True)
        FORMATS[name].write(folder / name, videos)


def _check_names(videos: list[VideoMasks]) -> None:
    if not videos or not all(video.labels for video in videos):
        raise UserError("there are no masks to export")
    names = [video.video for video in videos]
    for name in names:
        parts = PurePosixPath(name).parts
        if "/".join(parts) != name or not parts or {"..", ".", "/"} & set(parts) or not _is_text(name):
            raise UserError(f"the video name {name!r} cannot become a folder; choose another")
    if (twice := first_repeated(names)) is not None:
        raise UserError(f"two videos have the name {twice!r}; choose another for one of them")
    for text in (text for video in videos for text in (*video.labels, *video.frame_names)):
        if not _is_text(text):
            raise UserError(f"{text!r:.80} is no name of an expression or a frame: it is not UTF-8; choose another")


def _is_text(name: str) -> bool:
    try:
        return "\0" not in name and bool(name.encode("utf-8"))
    except UnicodeEncodeError:
        return False


__all__ = ["FORMATS", "SYNONYMS", "MaskFormat", "export_masks", "find_formats", "write_formats"]
