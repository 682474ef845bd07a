"""One row schema and one builder base for all referring video segmentation datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import datasets

from ..errors import DatasetContentError, DatasetFileError
from ..media.rle import Track, unite_tracks
from .dataset_files import check_name


_STRINGS = datasets.List(datasets.Value("string"))
_RLE = {"size": datasets.List(datasets.Value("int32")), "counts": datasets.Value("string")}
FEATURES = datasets.Features(
    {
        "dataset": datasets.Value("string"),
        "video_id": datasets.Value("string"),
        "expression_id": datasets.Value("string"),
        "expression": datasets.Value("string"),
        "expression_type": datasets.Value("string"),
        "frames": _STRINGS,
        "frame_paths": _STRINGS,
        "height": datasets.Value("int32"),
        "width": datasets.Value("int32"),
        "object_ids": _STRINGS,
        "annotation_ids": _STRINGS,
        "masks": datasets.List(_RLE),
        "object_masks": datasets.List(datasets.List(_RLE)),
        "foreground": datasets.List(_RLE),
        "source": datasets.Value("string"),
    }
)


@dataclass
class VideoEntry:
    """What all rows of one video share.

    Attributes:
        dataset: name of the dataset.
        video_id: as in the files; may hold `_` and `/`.
        frames: stems in order.
        frame_paths: one address per frame, see [`read_frame`].
        size: `(height, width)` in pixels; None until the masks tell it.
        origin: file that lists the video, for errors.
    """

    dataset: str
    video_id: str
    frames: list[str]
    frame_paths: list[str]
    size: tuple[int, int] | None
    origin: str = ""
    unions: dict[tuple, Track] = field(default_factory=dict, repr=False)


def make_row(
    video: VideoEntry,
    expression_id: str,
    expression: str,
    *,
    expression_type: str | None = None,
    object_ids: Sequence = (),
    annotation_ids: Sequence = (),
    tracks: Sequence[Track] | None = None,
    foreground: Track | None = None,
    source: str | None = None,
) -> dict:
    """One row of [`FEATURES`].

    Args:
        video: what the video's rows share. Unions of masks are kept there, so that expressions of the same objects
            share them.
        expression_id: unchanged from the file.
        expression: raw text.
        expression_type: see docs/datasets.md.
        object_ids, annotation_ids: of the objects that are meant, in the same order as `tracks`.
        tracks: per object one run-length mask or None per frame, as [`clean_track`] returns them. An empty list says
            that nothing is meant (all masks None); None says that the split has no ground truth.
        foreground: ReVOS' union of all objects.
        source: ReasonVOS' origin of the video.

    Raises:
        DatasetFileError: the id is no plain name or the expression is not a text.

    Example:
        >>> video = VideoEntry("own", "v", ["0"], ["/data/v/0.jpg"], (1, 4))
        >>> row = make_row(video, "0", "the cat", tracks=[[{"size": [1, 4], "counts": "013"}]])
        >>> row["masks"], row["object_masks"]
        ([{'size': [1, 4], 'counts': '013'}], None)
    """
    name = f"video {video.video_id!r}, expression {expression_id!r}"
    check_name(expression_id, f"video {video.video_id!r}: expression id", video.origin)
    if not isinstance(expression, str):
        found = type(expression).__name__
        raise DatasetFileError(f"{video.origin}: {name}: the text is a {found}, not a string: repair it")
    object_ids, annotation_ids = [str(item) for item in object_ids], [str(item) for item in annotation_ids]
    for ids, kind in ((object_ids, "object"), (annotation_ids, "annotation")):
        if len(set(ids)) != len(ids):
            raise DatasetContentError(f"{video.origin}: {name}: names an {kind} id twice: {', '.join(ids)}")
    masks = None
    if tracks is not None:
        key = (tuple(annotation_ids), tuple(object_ids))
        masks = video.unions.get(key)
        if masks is None:
            masks = video.unions[key] = unite_tracks(tracks, len(video.frames))
    return {
        "dataset": video.dataset,
        "video_id": video.video_id,
        "expression_id": expression_id,
        "expression": expression,
        "expression_type": expression_type,
        "frames": video.frames,
        "frame_paths": video.frame_paths,
        "height": video.size[0],
        "width": video.size[1],
        "object_ids": object_ids,
        "annotation_ids": annotation_ids,
        "masks": masks,
        "object_masks": list(tracks) if tracks is not None and len(tracks) > 1 else None,
        "foreground": foreground,
        "source": source,
    }
