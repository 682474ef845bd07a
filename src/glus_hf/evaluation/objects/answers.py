"""What a model finds in one image of a dataset of objects: by names, by expressions, or by a click or a box each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from ...media.rle import decode_rle, encode_rle
from ...models.refusals import explained


TASKS = ("detection", "instance", "referring", "interactive")
BY_NAME = ("detection", "instance")
AT_ONCE = 8  # expressions of an image that are read together
SCORE_DIGITS, BOX_DIGITS = 6, 3
NOT_BELOW = -1.0  # keeps an answer whose mask is empty


@dataclass(frozen=True)
class ObjectFinder:
    """A model, and what it is asked for.

    Attributes:
        pipe: a pipeline: of "mask-generation" for the task "interactive", else of any task of a model that finds
            objects by names.
        task: one of `TASKS`.
        names: of the dataset; for the tasks "detection" and "instance".
        top_k: most objects of an image, by the score of the name.
        score_source: of "interactive", what chooses the answer: "confidence", or "text", the name "object".
    """

    pipe: object
    task: str
    names: Sequence[str] = ()
    top_k: int = 100
    score_source: str = "confidence"

    def __post_init__(self):
        if self.task not in TASKS:
            raise UserError(f"the task {self.task!r:.80} is unknown; use {', '.join(TASKS)}")
        if (
            self.score_source not in ("confidence", "text")
            or self.score_source == "text"
            and self.task != "interactive"
        ):
            raise UserError(f"score_source {self.score_source!r:.80}: use confidence, or text of the task interactive")
        if self.task in BY_NAME and not self.names:
            raise UserError(f"the dataset has no names to look for; use another task than {self.task}")
        if self.task in BY_NAME:
            self.pipe.processor.check_names(self.names)

    def num_questions(self, row: Mapping) -> int:
        """How often an image is decoded."""
        return 1 if self.task in BY_NAME else len(self.question(row))

    def answer(self, row: Mapping) -> list[dict]:
        """What is found in the image of a row, JSON-able.

        Raises:
            UserError: the image cannot be read or has another size than the annotations say; one line.
        """
        from ...data.frames import read_frame

        image = read_frame(row["image_path"])
        if image.shape[:2] != (row["height"], row["width"]):
            stated = f"{row['height']} x {row['width']}"
            raise UserError(
                f"{row['image_path']}: is {image.shape[0]} x {image.shape[1]}, the annotations say {stated}; "
                "download it again"
            )
        return self.find(image, row)

    @property
    def find(self) -> Callable[[np.ndarray, Mapping], list[dict]]:
        """From an image `[height, width, 3]` and its row to what is found, JSON-able."""
        kinds = {"referring": self._refer, "interactive": self._prompt}
        return kinds.get(self.task, self._by_name)

    def question(self, row: Mapping) -> list:
        """What is asked of one image alone: expressions with their objects, or prompts; JSON-able."""
        if self.task in BY_NAME:
            return []
        if self.task == "referring":
            return [[each["object_id"], text] for each, text in expressions(row)]
        return [[each["object_id"], each["box"], each["mask"]["counts"]] for each in prompted(row)]

    def settings(self) -> dict:
        """What is asked of all images; JSON-able."""
        if self.task not in BY_NAME:
            return {"task": self.task} | ({"score_source": "text"} if self.score_source == "text" else {})
        return {"task": self.task, "top_k": self.top_k, "names": _hash(list(self.names))}

    def digest(self, row: Mapping) -> str:
        """Of all in a row that the answers depend on; of the image, its name and size."""
        name = row["image_path"].rpartition("/")[2]
        return _hash([name, row["height"], row["width"], self.question(row)])

    def _by_name(self, image: np.ndarray, row: Mapping) -> list[dict]:
        found = self._run([image], list(self.names), threshold=0.0, top_k=self.top_k, category_names=self.names)[0]
        masks = found["masks"] if self.task == "instance" else None
        return [{"name": name, **_described(found, index, masks)} for index, name in enumerate(found["text_labels"])]

    def _refer(self, image: np.ndarray, row: Mapping) -> list[dict]:
        asked, answers = expressions(row), []
        for at in range(0, len(asked), AT_ONCE):
            part = asked[at : at + AT_ONCE]
            texts = [text for _, text in part]
            found = self._run([image] * len(part), text=texts, threshold=NOT_BELOW, top_k=1)
            rows = zip(part, found, strict=True)
            answers += [
                {"object_id": each["object_id"], "expression": text, **_described(best, 0, best["masks"])}
                for (each, text), best in rows
            ]
        return answers

    def _run(self, images: list[np.ndarray], names: list[str] | None = None, text=None, **options) -> list[dict]:
        import torch
        from PIL import Image

        model, processor = self.pipe.model, self.pipe.processor
        inputs = processor([Image.fromarray(each) for each in images], names, text=text).to(model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.inference_mode(), explained(model):
            outputs = model(**inputs)
        sizes = [each.shape[:2] for each in images]
        return processor.post_process_instance_segmentation(outputs, sizes, **options)

    def _prompt(self, image: np.ndarray, row: Mapping) -> list[dict]:
        from PIL import Image

        objects = prompted(row)
        if not objects:
            return []
        size, picture, answers = (row["height"], row["width"]), Image.fromarray(image), []
        points = [[inner_point(decode_rle(each["mask"], size))] for each in objects]
        boxes = [each["box"] for each in objects]
        for kind, prompts in (("point", {"input_points": points}), ("box", {"input_boxes": boxes})):
            found = self.pipe(picture, **prompts, score_source=self.score_source)
            answers += [
                {"object_id": each["object_id"], "prompt": kind, **_described(found, index, found["masks"])}
                for index, each in enumerate(objects)
            ]
        return answers


def expressions(row: Mapping) -> list[tuple[Mapping, str]]:
    """Objects of an image with each of their descriptions."""
    return [(each, text) for each in row["objects"] or () for text in each["descriptions"]]


def prompted(row: Mapping) -> list[Mapping]:
    """The objects of an image that a prompt can mean: those with a mask that are no crowds."""
    return [each for each in row["objects"] or () if each["mask"] is not None and not each["is_crowd"]]


def inner_point(mask: np.ndarray) -> list[int]:
    """x and y of the pixel of a mask that is farthest from its edge and from that of the image; the first of several.

    Args:
        mask: `[height, width]`, bool, not empty.

    Example:
        >>> mask = np.zeros((9, 9), bool)
        >>> mask[2:7, 1:6] = True
        >>> inner_point(mask)
        [3, 4]
    """
    import cv2

    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(distance[1:-1, 1:-1].argmax()), mask.shape)
    return [int(column), int(row)]


def _hash(content: list) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _described(found: Mapping, index: int, masks) -> dict:
    box = [round(float(side), BOX_DIGITS) for side in found["boxes"][index]]
    answer = {"score": round(float(found["scores"][index]), SCORE_DIGITS), "box": box}
    return answer if masks is None else {**answer, "segmentation": encode_rle(np.asarray(_on_cpu(masks[index])))}


def _on_cpu(mask):
    return mask.cpu() if hasattr(mask, "cpu") else mask


__all__ = ["BY_NAME", "TASKS", "ObjectFinder", "expressions", "inner_point", "prompted"]
