"""Scores of followed objects: the average precision of YouTube-VIS, and HOTA by the library TrackEval.

Tracks are those of `VideoRows`, answers those of `TrackFinder`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment

from ...errors import UserError
from .coco_scores import COCO_SCORES, image_numbers


AREAS = [[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]]  # pixels: all, small, medium, large
MATCHED = 0.5  # overlap, by the rules of TAO
HOTA_SCORES = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")


def score_ytvis(videos: Sequence[tuple[Mapping, Sequence[Mapping]]], names: Sequence[str]) -> dict[str, float | None]:
    """The twelve scores of YouTube-VIS, from 0 to 1; None where there is no object to find.

    They are those of COCO, with the masks of a whole video in the place of a mask: intersections and unions are
    summed over the frames, and an object's area is its mean over the frames that show it; small is below 128 x 128
    and large above 256 x 256 pixels. (Yang et al., "Video Instance Segmentation", ICCV 2019.)

    Args:
        videos: each with what was found in it.
        names: of the categories.
    """
    numbers = image_numbers([video["image_id"] for video, _ in videos])
    categories = {name: number for number, name in enumerate(names, 1)}
    truth, found = [], []
    for video, answers in videos:
        number = numbers[video["image_id"]]
        for track in video["objects"]:
            shape = _shape(track["masks"], [area for area in track["areas"] if area])
            truth.append({**_keys(number, categories, track), **shape, "iscrowd": int(track["is_crowd"])})
        for track in answers:
            shape = _shape(track["segmentations"], _areas(track["segmentations"]))
            found.append({**_keys(number, categories, track), **shape, "iscrowd": 0, "score": track["score"]})
    ids = {"images": [{"id": number} for number in numbers.values()]}
    ids["categories"] = [{"id": number, "name": name} for name, number in categories.items()]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _VideoEval(_index(ids, truth), _index(ids, found), "bbox")
        evaluation.params.areaRng = AREAS
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: None if value < 0 else float(value) for name, value in zip(COCO_SCORES, evaluation.stats)}


class _VideoEval(COCOeval):
    """Overlaps of whole videos."""

    def computeIoU(self, video, category):  # noqa: N802 - pycocotools' name
        truth, found = self._gts[video, category], self._dts[video, category]
        if not truth and not found:
            return []
        order = np.argsort([-each["score"] for each in found], kind="mergesort")
        best = [found[index] for index in order[: self.params.maxDets[-1]]]
        return np.array([[track_iou(each["masks"], other["masks"]) for other in truth] for each in best]).reshape(
            len(best), len(truth)
        )


def track_iou(one: Sequence[Mapping | None], other: Sequence[Mapping | None]) -> float:
    """Intersections over unions of two tracks, each summed over the frames.

    Args:
        one, other: by frame, run lengths or None.
    """
    shared = union = 0.0
    for first, second in zip(one, other, strict=True):
        masks = [_encoded(each) for each in (first, second) if each]
        if masks:
            union += float(coco_mask.area(coco_mask.merge(masks)))
        if len(masks) == 2:
            shared += float(coco_mask.area(coco_mask.merge(masks, intersect=True)))
    return shared / union if union else 0.0


def _keys(video: int, categories: Mapping[str, int], track: Mapping) -> dict:
    if track["name"] not in categories:
        what = f"track {track['track_id']}: its name {track['name']!r:.80}"
        raise UserError(f"{what} is none of the dataset; check the annotations")
    return {"image_id": video, "category_id": categories[track["name"]]}


def _shape(masks: Sequence, areas: Sequence[float]) -> dict:
    return {"masks": masks, "area": float(np.mean(areas)) if len(areas) else 0.0}


def _areas(masks: Sequence[Mapping | None]) -> list[float]:
    areas = [float(coco_mask.area(_encoded(each))) for each in masks if each]
    return [area for area in areas if area]


def _encoded(mask: Mapping) -> dict:
    return {"size": list(mask["size"]), "counts": mask["counts"].encode("ascii")}


def _index(ids: Mapping, annotations: list[dict]) -> COCO:
    """What pycocotools looks up."""
    content = COCO()
    content.dataset = {**ids, "annotations": [{**each, "id": number} for number, each in enumerate(annotations, 1)]}
    content.createIndex()
    return content


# --- HOTA ------------------------------------------------------------------------------------------------------------


def score_hota(
    videos: Iterable[tuple[Mapping, Sequence[Mapping]]],
    names: Sequence[str],
    shape: str = "mask",
    federated: bool = False,
) -> dict[str, dict]:
    """HOTA and its parts by TrackEval, means over its 19 thresholds, from 0 to 1.

    Names are scored one by one. `names` is the mean over those that are there or were found, `objects` weighs them by
    their objects. Crowds are left out. (Luiten et al., "HOTA", IJCV 2021.)

    Args:
        videos: each with what was found in it.
        names: of the categories.
        shape: "mask" or "box", of which overlaps are taken.
        federated: by the rules of TAO and BURST, as in TrackEval. A name counts if a video has an object of it, in the
            videos that have one or in whose `absent_names` it is. What matches no object of a name is left out on
            frames that have none of it, unless it is absent and the frame has other objects; and everywhere, if the
            name is one of `incomplete_names`.

    Raises:
        UserError: TrackEval is missing.
    """
    metric, results = _track_eval(), {}
    videos = list(videos)
    for name in names:
        parts = {}
        for video, answers in videos:
            truth, found = _of_name(video, answers, name)
            if federated and not truth and name not in video["absent_names"]:
                continue
            data = hota_data(truth, found, shape)
            parts[video["image_id"]] = _counted(data, video, name) if federated else data
        if any(data["num_gt_dets"] or data["num_tracker_dets"] and not federated for data in parts.values()):
            scores = {key: metric.eval_sequence(data) for key, data in parts.items()}
            results[name] = metric.combine_sequences(scores)
    if not results:
        return {}
    by_name = metric.combine_classes_class_averaged(results, ignore_empty_classes=True)
    by_object = metric.combine_classes_det_averaged(results)
    means = {"names": by_name, "objects": by_object}
    return {kind: {score: float(np.mean(each[score])) for score in HOTA_SCORES} for kind, each in means.items()}


def _track_eval():
    try:
        from trackeval.metrics import HOTA
    except ImportError:
        raise UserError("HOTA needs TrackEval; pip install glus-hf[tracking]") from None
    return HOTA()


def check_track_eval() -> None:
    """Refuse before any work what [`score_hota`] would refuse after it.

    Raises:
        UserError: TrackEval is missing.
    """
    _track_eval()


def _of_name(video: Mapping, answers: Sequence[Mapping], name: str) -> tuple[list, list]:
    truth = [each for each in video["objects"] if each["name"] == name and not each["is_crowd"]]
    return truth, [each for each in answers if each["name"] == name]


def hota_data(truth: Sequence[Mapping], found: Sequence[Mapping], shape: str) -> dict:
    """A video as TrackEval's metrics take it: by frame the numbers of the tracks and their overlaps."""
    keys = {"mask": ("masks", "segmentations"), "box": ("boxes", "boxes")}[shape]
    tracks = [[each[key] for each in group] for key, group in zip(keys, (truth, found), strict=True)]
    tracks = [[track for track in group if any(track)] for group in tracks]
    frames = max((len(track) for group in tracks for track in group), default=0)
    data: dict = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for time in range(frames):
        seen = [[number for number, track in enumerate(group) if track[time]] for group in tracks]
        shapes = [[group[number][time] for number in ids] for group, ids in zip(tracks, seen, strict=True)]
        data["gt_ids"].append(np.array(seen[0], int))
        data["tracker_ids"].append(np.array(seen[1], int))
        data["similarity_scores"].append(_overlaps(*shapes, shape))
    for name, key, group in (("gt", "gt_ids", tracks[0]), ("tracker", "tracker_ids", tracks[1])):
        data |= {f"num_{name}_ids": len(group), f"num_{name}_dets": sum(map(len, data[key]))}
    return data


def _counted(data: dict, video: Mapping, name: str) -> dict:
    """A video without the answers that TAO's rules leave out."""
    is_absent, is_incomplete = (name in video[key] for key in ("absent_names", "incomplete_names"))
    columns = [each["boxes"] for each in video["objects"] if not each["is_crowd"]]
    is_marked = [any(column[time] for column in columns) for time in range(len(data["gt_ids"]))]
    kept = [
        _matched(overlaps) if is_incomplete or not (len(truth) or is_absent and marked) else slice(None)
        for truth, overlaps, marked in zip(data["gt_ids"], data["similarity_scores"], is_marked, strict=True)
    ]
    found = [ids[each] for ids, each in zip(data["tracker_ids"], kept, strict=True)]
    overlaps = [scores[:, each] for scores, each in zip(data["similarity_scores"], kept, strict=True)]
    left = np.unique(np.concatenate([*found, np.zeros(0, int)]))
    numbered = [np.searchsorted(left, ids) for ids in found]
    counts = {"num_tracker_ids": len(left), "num_tracker_dets": sum(map(len, found))}
    return {**data, "tracker_ids": numbered, "similarity_scores": overlaps, **counts}


def _matched(overlaps: np.ndarray) -> np.ndarray:
    """The answers of a frame that overlap with an object by a half or more, each with another one."""
    enough = np.where(overlaps >= MATCHED - np.finfo(float).eps, overlaps, 0)
    objects, found = linear_sum_assignment(-enough)
    return np.sort(found[enough[objects, found] > 0])


def _overlaps(one: Sequence, other: Sequence, shape: str) -> np.ndarray:
    if not one or not other:
        return np.zeros((len(one), len(other)))
    if shape == "mask":
        pair = [[_encoded(each) for each in group] for group in (one, other)]
    else:
        pair = [np.array([[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in group], float) for group in (one, other)]
    return np.asarray(coco_mask.iou(*pair, [0] * len(other)))


__all__ = ["HOTA_SCORES", "check_track_eval", "hota_data", "score_hota", "score_ytvis", "track_iou"]
