"""Training samples of videos with tracked objects: some frames that are near each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...errors import UserError
from .instance_dataset import InstanceDataset


class ClipDataset(InstanceDataset):
    """Rows of a dataset of videos, one sample per frame that has objects: this frame and others of its video.

    With prompts the frame that has objects comes first, for the prompt is on it; otherwise frames are in their order,
    and the contrastive loss teaches which objects are the same.

    Args:
        rows, names, labels, options: as for [`InstanceDataset`]; objects have `track_id`.
        num_frames: of a clip, 2 or more.
        frame_range: how many frames of the dataset the others are away at most.

    Raises:
        UserError: the rows are no frames of videos, or an option is impossible; one line.

    Example:

        >>> from glus_hf import load_object_dataset
        >>> rows = load_object_dataset("motion_shapes", split="test", num_videos=1, num_frames=4, size=48)
        >>> [frame.object_ids for frame in ClipDataset(rows, num_frames=3)[0]["clip"]]
        [(0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 2, 3)]
    """

    def __init__(
        self, rows, names=(), labels: str = "categories", num_frames: int = 2, frame_range: int = 10, **options
    ):
        super().__init__(rows, names, labels, **options)
        if num_frames < 2 or frame_range < 1:
            raise UserError(f"frames must be 2 or more and frame_range 1 or more, got {num_frames}, {frame_range}")
        if labels not in ("categories", "objects"):
            raise UserError(f"clips have the labels categories or objects, got {labels}; use single frames")
        self.num_frames, self.frame_range = num_frames, frame_range
        self._order, self._place, self._bounds = _videos(rows, self.name)

    @property
    def extra_terms(self) -> tuple[str, ...]:
        """As of [`InstanceDataset`], and that of the contrastive loss."""
        return (*super().extra_terms, *(("track_loss",) if self.prompts < 1 else ()))

    def _make(self, number: int, rng: np.random.Generator) -> dict:
        numbers = self._frames(number, rng)
        rows = [self.rows[each] for each in numbers]
        chosen = [self._chosen(row, rng) for row in rows]
        tracks = dict.fromkeys(each["track_id"] for objects, _ in chosen for each in objects)
        if None in tracks:
            raise UserError("an object has no track_id; use single frames of this dataset")
        ids = {track: index for index, track in enumerate(tracks)}
        clip = [
            self._image(row, objects, texts, tuple(ids[each["track_id"]] for each in objects))
            for row, (objects, texts) in zip(rows, chosen, strict=True)
        ]
        if any(frame.masks is None for frame in clip):
            clip = [replace(frame, masks=None) for frame in clip]
        return {"clip": clip, "frame_names": [row["image_id"] for row in rows]}

    def _frames(self, number: int, rng: np.random.Generator) -> list[int]:
        """Rows of a clip around one."""
        place = self._place[number]
        first, last = self._bounds[number]
        near = np.arange(max(first, place - self.frame_range), min(last, place + self.frame_range + 1))
        near = near[near != place]
        wanted = self.num_frames - 1
        if len(near) == 0:
            near = np.array([place])
        others = rng.choice(near, wanted, replace=len(near) < wanted)
        places = [place, *sorted(others)] if self.prompts else sorted([place, *others])
        return [int(self._order[each]) for each in places]


def _videos(rows, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows in the order of their videos and frames; the place of each row in it; first and last place of its video."""
    columns = rows.select_columns(["video_id", "frame_idx"])[:]
    if not len(rows) or None in columns["video_id"]:
        raise UserError(f"{name} has no videos, of which clips could be made; use single images")
    videos = np.unique(columns["video_id"], return_inverse=True)[1]
    order = np.lexsort([columns["frame_idx"], videos])
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    bounds = [np.searchsorted(videos[order], videos, side=side) for side in ("left", "right")]
    return order, place, np.stack(bounds, 1)


__all__ = ["ClipDataset"]
