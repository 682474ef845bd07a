"""Objects followed through a video, as the files of two benchmarks: YouTube-VIS (masks) and TAO (boxes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..media.rle import encode_rle


DECIMALS = 6
TAO_TRACKS = 50  # most tracks of a video, by which the released code counts
MIN_CELLS = 6  # places of the feature map inside a mask; smaller ones are dropped for TAO
NMS_IOU = 0.5


@dataclass
class InstanceTracks:
    """What was found in a video, frame by frame. Only run lengths and boxes are kept.

    Args:
        num_names: of the names that objects have; labels are numbers of them.

    Example:

        >>> tracks = InstanceTracks(num_names=2)
        >>> for output in model.track_instances(session):  # doctest: +SKIP
        ...     tracks.add(output)
        >>> tracks.youtube_vis(video_id=1)
        []
    """

    num_names: int
    object_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    masks: list[list[dict | None]] = field(default_factory=list)  # by object and frame
    boxes: list[list[list[float]]] = field(default_factory=list)
    cells: list[list[int]] = field(default_factory=list)

    def add(self, output) -> None:
        """Take a frame.

        Args:
            output: has `object_ids`, `labels`, `scores [n]`, `mask_logits [n, height, width]`, `boxes [n, 4]` and
                `mask_cells [n]`; the same objects on every frame.
        """
        if not self.object_ids:
            self.object_ids, self.labels = list(output.object_ids), list(output.labels)
            self.scores = [round(score, DECIMALS) for score in output.scores.tolist()]
            self.masks, self.boxes, self.cells = ([[] for _ in self.object_ids] for _ in range(3))
        masks, boxes = (output.mask_logits > 0).cpu().numpy(), output.boxes.double().cpu().numpy().round(2).tolist()
        for row, (mask, box, cells) in enumerate(zip(masks, boxes, output.mask_cells.tolist(), strict=True)):
            self.masks[row].append(encode_rle(mask) if mask.any() else None)
            self.boxes[row].append(box)
            self.cells[row].append(cells)

    def youtube_vis(self, video_id: int, category_ids: Sequence[int] | None = None) -> list[dict]:
        """Results as the server of YouTube-VIS (and OVIS, LV-VIS) takes them.

        Args:
            video_id: of the data set's file.
            category_ids: of each name; 1, 2, ... by default.

        Returns:
            Per object `video_id`, `category_id`, `score` and `segmentations`, for every frame COCO run lengths, or
            None without a mask.
        """
        ids = self._category_ids(category_ids)
        rows = zip(self.labels, self.scores, self.masks, strict=True)
        return [
            {"video_id": video_id, "category_id": ids[label], "score": score, "segmentations": masks}
            for label, score, masks in rows
        ]

    def tao(
        self, video_id: int, image_ids: Sequence[int] | None = None, category_ids: Sequence[int] | None = None
    ) -> list[dict]:
        """Results as the evaluation of TAO takes them: boxes on frames.

        As in the released code, a box whose mask covers less than six places of the feature map is left out, and one
        that overlaps a better one of its frame by more than half.

        Args:
            video_id: of the data set's file.
            image_ids: of each frame; 1, 2, ... by default.
            category_ids: of each name; 1, 2, ... by default.

        Returns:
            Per box `image_id`, `video_id`, `track_id`, `category_id`, `score` and `bbox`: x, y, width and height in
            pixels.

        Raises:
            ValueError: there are more than 50 objects: their numbers would be those of the next video.
        """
        if not self.object_ids:
            return []
        if len(self.object_ids) > TAO_TRACKS:
            raise ValueError(
                f"there are {len(self.object_ids)} objects, TAO takes {TAO_TRACKS}; pass top_k={TAO_TRACKS}."
            )
        ids, num_frames = self._category_ids(category_ids), len(self.masks[0])
        images = range(1, num_frames + 1) if image_ids is None else image_ids
        results = []
        for frame, image_id in zip(range(num_frames), images, strict=True):
            seen = [row for row, cells in enumerate(self.cells) if cells[frame] >= MIN_CELLS]
            boxes = np.array([self.boxes[row][frame] for row in seen]).reshape(-1, 4)
            for place in without_overlaps(boxes, NMS_IOU):
                row, (x0, y0, x1, y1) = seen[place], boxes[place].tolist()
                result = {"image_id": image_id, "video_id": video_id, "track_id": row + TAO_TRACKS * video_id}
                box = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
                results.append(
                    {**result, "category_id": ids[self.labels[row]], "score": self.scores[row], "bbox": box}
                )
        return results

    def _category_ids(self, given: Sequence[int] | None) -> Sequence[int]:
        ids = range(1, self.num_names + 1) if given is None else given
        if len(ids) != self.num_names:
            raise ValueError(f"there are {self.num_names} names but {len(ids)} category_ids; pass one each.")
        return ids


def without_overlaps(boxes: np.ndarray, most: float) -> list[int]:
    """The boxes `[n, 4]` (x0, y0, x1, y1; best first) that overlap no better one that stays by more than `most`.

    Example:

        >>> without_overlaps(np.array([[0, 0, 10, 10], [0, 0, 10, 8], [5, 5, 15, 15]]), 0.5)
        [0, 2]
    """
    kept: list[int] = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for index, box in enumerate(boxes):
        corners = np.minimum(boxes[kept, 2:], box[2:]) - np.maximum(boxes[kept, :2], box[:2])
        shared = corners.clip(min=0).prod(1)
        if (shared <= most * (areas[kept] + areas[index] - shared)).all():
            kept.append(index)
    return kept


__all__ = ["InstanceTracks", "without_overlaps"]
