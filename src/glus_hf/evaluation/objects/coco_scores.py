"""Average precision of objects found by names: COCO's, by pycocotools, and LVIS's on top of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ...errors import UserError


KINDS = {"box": "bbox", "mask": "segm"}
COCO_SCORES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
LVIS_MOST = 300  # objects of an image, of all names together
FREQUENCIES = ("r", "c", "f")  # of LVIS's names: rare, common, frequent
AREAS = ("all", "s", "m", "l")  # in the order of pycocotools


class ObjectTruth:
    """The ground truth of a split as pycocotools reads it.

    Args:
        rows: of `load_object_dataset`.
        names: of the categories.

    Attributes:
        content: images, annotations and categories.
        numbers: of the images, by their ids: the ids themselves where all are numbers.
        absent: `(image, name)` of names that were looked for and are not there, as numbers.
        incomplete: `(image, name)` of names of which not every object is marked.

    Raises:
        UserError: an image has no ground truth, or an object no name of the list.
    """

    def __init__(self, rows: Iterable[Mapping], names: Sequence[str]):
        self.names = list(names)
        self.categories = {name: number for number, name in enumerate(names, 1)}
        self.numbers: dict[str, int] = {}
        self.absent: set[tuple[int, int]] = set()
        self.incomplete: set[tuple[int, int]] = set()
        categories = [{"id": number, "name": name} for name, number in self.categories.items()]
        self.content = {"images": [], "annotations": [], "categories": categories}
        rows = list(rows)
        self.numbers = image_numbers([row["image_id"] for row in rows])
        for row in rows:
            self._add(row)

    def _add(self, row: Mapping) -> None:
        image = self.numbers[row["image_id"]]
        if row["objects"] is None:
            raise UserError(f"image {row['image_id']}: has no ground truth to score against")
        self.content["images"].append({"id": image, "height": row["height"], "width": row["width"]})
        for found in row["objects"]:
            self.content["annotations"].append(self._annotation(row, image, found))
        for names, pairs in ((row["absent_names"], self.absent), (row["incomplete_names"], self.incomplete)):
            pairs.update((image, self.categories[name]) for name in names)

    def _annotation(self, row: Mapping, image: int, found: Mapping) -> dict:
        if found["name"] not in self.categories:
            what = f"image {row['image_id']}, object {found['object_id']}"
            raise UserError(f"{what}: its name {found['name']!r:.80} is none of the dataset; check the annotations")
        x0, y0, x1, y1 = found["box"]
        annotation = {"id": len(self.content["annotations"]) + 1, "image_id": image, "area": found["area"]}
        annotation |= {"category_id": self.categories[found["name"]], "iscrowd": int(found["is_crowd"])}
        mask = found["mask"] or {"size": [row["height"], row["width"]], "counts": [row["height"] * row["width"]]}
        return {**annotation, "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": dict(mask)}

    def results(self, answers: Iterable[tuple[str, Sequence[Mapping]]], kind: str) -> list[dict]:
        """What was found, as pycocotools takes it: of boxes the area is that of the box, of masks that of the mask.

        Args:
            answers: image ids, and per object its `name`, `score`, `box` and, of masks, `segmentation`.
            kind: "box" or "mask".
        """
        results = []
        for image_id, objects in answers:
            for each in objects:
                x0, y0, x1, y1 = each["box"]
                shape = {"bbox": [x0, y0, x1 - x0, y1 - y0]}
                shape = shape if kind == "box" else {"segmentation": dict(each["segmentation"])}
                ids = {"image_id": self.numbers[image_id], "category_id": self.categories[each["name"]]}
                results.append({**ids, "score": each["score"], **shape})
        return results


def image_numbers(image_ids: Sequence[str]) -> dict[str, int]:
    """Numbers for pycocotools: the ids themselves where all are whole numbers, which keeps its order of images.

    Example:
        >>> image_numbers(["139", "285"]), image_numbers(["5/0", "5/1"])
        ({'139': 139, '285': 285}, {'5/0': 1, '5/1': 2})
    """
    are_numbers = all(name.isdecimal() and len(name) < 19 for name in image_ids)
    numbers = {name: int(name) if are_numbers else index for index, name in enumerate(image_ids, 1)}
    if len(set(numbers.values())) < len(image_ids):
        raise UserError("two images of the dataset have one id; check its annotations")
    return numbers


def score_coco(truth: ObjectTruth, results: list[dict], kind: str) -> dict[str, float | None]:
    """The twelve scores of COCO, from 0 to 1; None where there is no object to find.

    Args:
        truth: what is there.
        results: what was found, of [`ObjectTruth.results`] with the same `kind`.
        kind: "box" or "mask".

    Example:
        >>> box = {"object_id": "1", "name": "dog", "box": [0, 0, 9, 9], "area": 81, "is_crowd": False, "mask": None}
        >>> row = {"image_id": "1", "height": 9, "width": 9, "objects": [box], "absent_names": []}
        >>> truth = ObjectTruth([{**row, "incomplete_names": []}], ["dog"])
        >>> found = [("1", [{"name": "dog", "score": 0.5, "box": [0, 0, 9, 8]}])]
        >>> scores = score_coco(truth, truth.results(found, "box"), "box")
        >>> round(scores["AP"], 3), round(scores["AP75"], 3), scores["APl"]
        (0.8, 1.0, None)
    """
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(*_both(truth.content, results), KINDS[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: _known(value) for name, value in zip(COCO_SCORES, evaluation.stats, strict=True)}


def score_lvis(
    truth: ObjectTruth, results: list[dict], kind: str, frequencies: Mapping[str, str] | None = None
) -> dict[str, float | None]:
    """The scores of LVIS, from 0 to 1: at most 300 objects of an image; a name counts in the images where it was
    looked for; what is found beside the marked objects of an incomplete name is no error.

    Args:
        truth, results, kind: as for [`score_coco`].
        frequencies: "r", "c" or "f" by name; without them there are no `APr`, `APc` and `APf`.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _LvisEval(truth, results, KINDS[kind])
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = (evaluation.eval[name][..., -1] for name in ("precision", "recall"))
    scores = {"AP": _mean(precision[..., 0]), "AP50": _mean(precision[0, ..., 0]), "AP75": _mean(precision[5, ..., 0])}
    scores |= {f"AP{area}": _mean(precision[..., number]) for number, area in enumerate(AREAS) if number}
    for frequency in FREQUENCIES if frequencies else ():
        own = [number for number, name in enumerate(truth.names) if frequencies.get(name) == frequency]
        scores[f"AP{frequency}"] = _mean(precision[:, :, own, 0])
    scores[f"AR{LVIS_MOST}"] = _mean(recall[..., 0])
    return scores | {f"AR{area}": _mean(recall[..., number]) for number, area in enumerate(AREAS) if number}


class _LvisEval(COCOeval):
    """The rules of LVIS. Its own library needs `numpy.float`, which NumPy has no longer."""

    def __init__(self, truth: ObjectTruth, results: list[dict], kind: str):
        present = {(each["image_id"], each["category_id"]) for each in truth.content["annotations"]}
        self._incomplete, judged = truth.incomplete, present | truth.absent
        kept = [each for each in _best(results) if (each["image_id"], each["category_id"]) in judged]
        super().__init__(*_both(truth.content, kept), kind)
        self.params.maxDets = [LVIS_MOST]

    def evaluateImg(self, image, category, area, most):  # noqa: N802 - pycocotools' name
        found = super().evaluateImg(image, category, area, most)
        if found is not None and (image, category) in self._incomplete:
            found["dtIgnore"] = np.logical_or(found["dtIgnore"], found["dtMatches"] == 0)
        return found


def _best(results: list[dict]) -> list[dict]:
    """The best 300 of each image."""
    images: dict[int, list[dict]] = {}
    for each in results:
        images.setdefault(each["image_id"], []).append(each)
    best = [sorted(found, key=lambda each: -each["score"])[:LVIS_MOST] for found in images.values()]
    return [each for found in best for each in found]


def _both(content: Mapping, results: list[dict]) -> tuple[COCO, COCO]:
    """Truth and results; pycocotools writes into what it gets."""
    truth = COCO()
    truth.dataset = {**content, "annotations": [dict(each) for each in content["annotations"]]}
    truth.createIndex()
    if results:
        return truth, truth.loadRes([dict(each) for each in results])
    found = COCO()
    found.dataset = {**content, "annotations": []}
    found.createIndex()
    return truth, found


def _mean(values: np.ndarray) -> float | None:
    """Of those that are known: pycocotools writes -1 where there is no object."""
    values = values[values > -1]
    return float(values.mean()) if values.size else None


def _known(value: float) -> float | None:
    return None if value < 0 else float(value)


__all__ = ["COCO_SCORES", "LVIS_MOST", "ObjectTruth", "image_numbers", "score_coco", "score_lvis"]
