"""transformers' task of finding objects by names, with models that look for all names in one pass."""

from __future__ import annotations

import math
from numbers import Real
from types import SimpleNamespace

import torch
from transformers.image_utils import load_image
from transformers.pipelines import ZeroShotObjectDetectionPipeline

from ..errors import UserError
from ..models.refusals import explained


PREDICTIONS = ("logits", "pred_boxes", "pred_masks", "padded_size")


class ObjectsByNamePipeline(ZeroShotObjectDetectionPipeline):
    """Takes and gives what transformers' pipeline of this task does, which runs the model once for each name.

    Made by `glus_hf.pipeline("zero-shot-object-detection", model=...)`. With `masks=True` every object has its "mask",
    too: `[height, width]`, bool.

    Example:

        >>> import glus_hf
        >>> pipe = glus_hf.pipeline("zero-shot-object-detection", model="my-glee")  # doctest: +SKIP
        >>> pipe("street.jpg", candidate_labels=["car", "red bus"])  # doctest: +SKIP
        [{'score': 0.71, 'label': 'car', 'box': {'xmin': 324, 'ymin': 20, 'xmax': 640, 'ymax': 373}}]
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def check_model_type(self, supported_models) -> None:
        """The families that look for names are in `model_families.FINDS_NAMES`, not in transformers' table."""

    def _sanitize_parameters(self, masks=None, **kwargs):
        threshold = kwargs.get("threshold", 0.0)
        if not isinstance(threshold, Real) or not math.isfinite(threshold):
            raise UserError(f"threshold must be a finite number, got {threshold!r:.60}; use 0 to 1")
        preprocess, forward, postprocess = super()._sanitize_parameters(**kwargs)
        return preprocess, forward, postprocess if masks is None else {**postprocess, "masks": masks}

    def preprocess(self, inputs, timeout=None):
        """One part with all names, where transformers has one for each."""
        if not isinstance(inputs, dict) or inputs.get("candidate_labels") is None:
            raise UserError("pass candidate_labels: the names of what to look for")
        names = inputs["candidate_labels"]
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        names = self.processor.check_names(names)
        image = load_image(inputs["image"], timeout=timeout).convert("RGB")
        size = torch.tensor([[image.height, image.width]], dtype=torch.int32)
        yield {"is_last": True, "target_size": size, "names": names, **self.processor(image, names)}

    def _forward(self, model_inputs):
        kept = {name: model_inputs.pop(name) for name in ("is_last", "target_size", "names")}
        with explained(self.model):
            output = self.model(**model_inputs)
        return {**kept, **{name: output[name] for name in PREDICTIONS}}

    def postprocess(self, model_outputs, threshold=0.1, top_k=None, masks=False):
        """Objects of one image, best first."""
        (part,) = model_outputs
        predictions = SimpleNamespace(**{name: part[name] for name in PREDICTIONS})
        options = {"threshold": threshold, "category_names": part["names"]}
        (found,) = self.processor.post_process_instance_segmentation(predictions, part["target_size"], **options)
        columns = zip(found["scores"].tolist(), found["text_labels"], found["boxes"], strict=True)
        boxed = [{"score": score, "label": name, "box": self._get_bounding_box(box)} for score, name, box in columns]
        if masks:
            pairs = zip(boxed, found["masks"].cpu().numpy(), strict=True)
            boxed = [{**each, "mask": mask} for each, mask in pairs]
        return boxed[:top_k] if top_k else boxed


__all__ = ["ObjectsByNamePipeline"]
