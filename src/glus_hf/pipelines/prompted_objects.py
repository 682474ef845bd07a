"""transformers' task of masks for an image, with models that take points, boxes and masks as prompts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from transformers.image_utils import load_image
from transformers.pipelines.base import Pipeline

from ..errors import UserError
from ..models.refusals import explained


PROMPTS = ("input_points", "input_labels", "input_boxes", "segmentation_maps", "is_scribble")
AT_ONCE = 8  # prompts that are answered together
PREDICTIONS = ("logits", "pred_boxes", "pred_masks", "confidence_logits", "padded_size")
KINDS = ("input_points", "input_boxes", "segmentation_maps")


class PromptedObjectsPipeline(Pipeline):
    """The objects of an image that prompts mean, one mask each.

    Made by `glus_hf.pipeline("mask-generation", model=...)`. Other than transformers' pipeline of this task, which
    covers an image with points itself, it answers the prompts of the call.

    Example:

        >>> import glus_hf
        >>> pipe = glus_hf.pipeline("mask-generation", model="glee-tiny")  # doctest: +SKIP
        >>> found = pipe("street.jpg", input_points=[[[120, 80]]])  # doctest: +SKIP
        >>> found["masks"].shape, found["scores"]  # doctest: +SKIP
        ((1, 480, 640), [0.93])
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __call__(self, image, **kwargs) -> dict:
        """Segment the objects of one image.

        Args:
            image: PIL image, path or address.
            input_points: x and y in pixels, `[objects, points, 2]`; several points of an object are a scribble.
            input_labels: 1 for every point; others are refused.
            input_boxes: x0, y0, x1, y1 in pixels, `[objects, 4]`.
            segmentation_maps: masks `[objects, height, width]`.
            is_scribble: the maps are lines drawn on the objects.
            score_source: "confidence" or "text"; see [`GLEEProcessor.post_process_prompts`].

        Returns:
            `masks [objects, height, width]` of bool, `scores`, and `boxes` of four numbers: x0, y0, x1, y1 in pixels;
            in the order points, boxes, maps.

        Raises:
            UserError: no prompt, or one that the processor refuses; one line.
        """
        return super().__call__(image, **kwargs)

    def _sanitize_parameters(self, score_source=None, **prompts):
        unknown = [name for name in prompts if name not in PROMPTS]
        if unknown:
            raise UserError(f"unknown argument {unknown[0]}; use {', '.join(PROMPTS)} or score_source")
        return prompts, {}, {} if score_source is None else {"score_source": score_source}

    def preprocess(self, image, input_labels=None, is_scribble=False, **prompts):
        """Inputs of the model: one batch for each kind of prompt."""
        image = load_image(image).convert("RGB")
        given = {name: prompts[name] for name in KINDS if prompts.get(name) is not None}
        if not given:
            raise UserError(f"pass prompts for the objects that are meant: {', '.join(KINDS)}")
        options = {"input_points": {"input_labels": input_labels}, "segmentation_maps": {"is_scribble": is_scribble}}
        batches = [self.processor(image, **{name: [each]}, **options.get(name, {})) for name, each in given.items()]
        return {"size": torch.tensor([[image.height, image.width]]), "batches": batches}

    def _forward(self, model_inputs):
        outputs = []
        with explained(self.model):
            for batch in model_inputs["batches"]:
                outputs += [self._answer(batch, slice(at, at + AT_ONCE)) for at in _starts(batch["prompt_images"])]
        return {"size": model_inputs["size"], "outputs": outputs}

    def _answer(self, batch, part: slice) -> dict:
        prompts = {name: batch[name][part] for name in ("prompt_masks", "prompt_kinds", "prompt_images")}
        output = self.model(**{**batch, **prompts})
        return {name: output[name] for name in PREDICTIONS if name in output} | {"images": prompts["prompt_images"]}

    def postprocess(self, model_outputs, score_source="confidence"):
        """Masks, scores and boxes of all prompts."""
        size, masks, scores, boxes = model_outputs["size"].tolist(), [], [], []
        for output in model_outputs["outputs"]:
            predictions, images = SimpleNamespace(**output), output["images"]
            (found,) = self.processor.post_process_prompts(predictions, size, images, score_source)
            masks.append(found["masks"].cpu().numpy())
            scores += found["scores"].tolist()
            boxes += found["boxes"].tolist()
        return {"masks": np.concatenate(masks), "scores": scores, "boxes": boxes}


def _starts(prompts) -> range:
    return range(0, len(prompts), AT_ONCE)


__all__ = ["PromptedObjectsPipeline"]
