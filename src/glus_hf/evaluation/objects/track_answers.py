"""What a model finds in one video of a dataset of objects: objects by names, each followed through the frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import UserError
from ...rows import column


TRACK_TASKS = ("vis", "tracking")
MOST = {"vis": 30, "tracking": 50}  # objects of a video, as the original code takes them
LEAST = {"vis": 0.0, "tracking": 0.2}  # score


class VideoRows(Sequence):
    """The videos of rows of frames.

    A video has `image_id` (its id), `height`, `width`, `frame_paths` and `objects`: per track `track_id`, `name`,
    `is_crowd` and by frame `masks`, `boxes` and `areas`, None where it is not seen. `objects` is None where no track
    is known. `absent_names` and `incomplete_names` are those of its frames.

    Args:
        rows: of `load_object_dataset`.
        most: videos.

    Raises:
        UserError: rows of images that are no frames.
    """

    def __init__(self, rows: Sequence[Mapping], most: int | None = None):
        self.rows, places = rows, {}
        frames = zip(column(rows, "video_id"), column(rows, "frame_idx"), strict=True)
        for index, (video_id, frame_idx) in enumerate(frames):
            if video_id is None:
                raise UserError("the dataset has images, no videos; use --task instance or detection")
            places.setdefault(video_id, []).append((frame_idx, index))
        self.places = dict(list(places.items())[:most])
        self.ids = list(self.places)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict:
        video_id = self.ids[index]
        frames = [self.rows[place] for _, place in sorted(self.places[video_id])]
        first, known = frames[0], all(each["objects"] is not None for each in frames)
        paths = [each["image_path"] for each in frames]
        video = {"image_id": video_id, "image_path": paths[0], "frame_paths": paths}
        video |= {name: first[name] for name in ("height", "width", "absent_names", "incomplete_names")}
        return {**video, "objects": _tracks(video_id, frames) if known else None}


def _tracks(video_id: str, frames: Sequence[Mapping]) -> list[dict]:
    tracks: dict[str, dict] = {}
    for time, frame in enumerate(frames):
        for each in frame["objects"]:
            key = each["track_id"]
            if key is None:
                raise UserError(f"video {video_id}: its objects are not tracked; use --task instance or detection")
            empty = {name: [None] * len(frames) for name in ("masks", "boxes", "areas")}
            kept = {"track_id": key, "name": each["name"], "is_crowd": each["is_crowd"], **empty}
            track = tracks.setdefault(key, kept)
            track["masks"][time], track["boxes"][time] = each["mask"], each["box"]
            track["areas"][time] = each["area"]
    return list(tracks.values())


@dataclass(frozen=True)
class TrackFinder:
    """A model that follows objects by names, and the names.

    Attributes:
        pipe: a pipeline of a model that has `track_instances`.
        task: "vis" or "tracking". For "tracking" a track has one name.
        names: of the dataset.
        top_k: most objects of a video; by default 30 for "vis" and 50 for "tracking".
        threshold: least score of an object, and of it on a frame; by default 0 and 0.2.
    """

    pipe: object
    task: str
    names: Sequence[str]
    top_k: int | None = None
    threshold: float | None = None

    def __post_init__(self):
        if self.task not in TRACK_TASKS:
            raise UserError(f"the task {self.task!r:.80} is unknown; use {' or '.join(TRACK_TASKS)}")
        if not hasattr(self.pipe.model, "track_instances"):
            raise UserError(
                f"a {self.pipe.model.config.model_type} model follows no objects by names; use one of GLEE"
            )
        self.pipe.processor.check_names(self.names)
        for name, by_task in (("top_k", MOST), ("threshold", LEAST)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, by_task[self.task])

    def settings(self) -> dict:
        """What is asked of all videos; JSON-able."""
        asked = {"task": self.task, "top_k": self.top_k, "threshold": self.threshold}
        return {**asked, "names": _hash(list(self.names))}

    def digest(self, row: Mapping) -> str:
        """Of all in a video that the answers depend on."""
        frames = [path.rpartition("/")[2] for path in row["frame_paths"]]
        return _hash([row["image_id"], frames, row["height"], row["width"]])

    def num_questions(self, row: Mapping) -> int:
        """How many frames are decoded."""
        return len(row["frame_paths"])

    def answer(self, row: Mapping) -> list[dict]:
        """What is found in a video: per object `name`, `score` and by frame `boxes` and `segmentations`, None where
        it is not seen; JSON-able."""
        from ...data.frames import open_frames
        from ...models.refusals import explained
        from ...predictions.instance_tracks import InstanceTracks

        model, tracks = self.pipe.model, InstanceTracks(len(self.names))
        frames = open_frames(row["frame_paths"], size=(row["height"], row["width"]))
        session = self.pipe.processor.init_instance_session(frames, list(self.names))
        options = {"top_k": self.top_k, "one_name_each": self.task == "tracking"}
        with explained(model):
            for output in model.track_instances(
                session, threshold=self.threshold, frame_threshold=self.threshold, **options
            ):
                tracks.add(output)
        return [
            {
                "name": self.names[label],
                "score": score,
                "boxes": [box if mask else None for box, mask in zip(boxes, masks, strict=True)],
                "segmentations": masks,
            }
            for label, score, boxes, masks in zip(
                tracks.labels, tracks.scores, tracks.boxes, tracks.masks, strict=True
            )
        ]


def _hash(content: list) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


__all__ = ["TRACK_TASKS", "TrackFinder", "VideoRows"]
