"""Pixel accuracy A and robustness R of the ReVOS benchmark."""

import datasets
import evaluate
import numpy as np

from glus_hf.metrics import mask_metric
from glus_hf.metrics import robustness as definition


_DESCRIPTION = """\
A, the share of pixels that are right, and R, one minus falsely predicted pixels over pixels of any annotated object,
averaged over the frames of each expression and then over expressions. The published evaluators compute both on the
bytes of PNGs with 0 and 255; `mode="png255"` does so too.
"""
_INPUTS = """
Args:
    predictions: for each expression its predicted masks, a boolean array `[frames, height, width]` or a list of COCO
        run-length dicts, None for an empty mask.
    references: the true masks in the same form.
    foregrounds: the union of all annotated objects in the same form.
    mode: "binary", the metric as it is meant, or "png255", the numbers of published tables.
Returns:
    `A` and `R` in `[0, 1]`.
"""
_CITATION = """\
@inproceedings{yan2024visa,
  title={VISA: Reasoning Video Object Segmentation via Large Language Models},
  author={Yan, Cilin and Wang, Haochen and Yan, Shilin and Jiang, Xiaolong and Hu, Yao and Kang, Guoliang and
    Xie, Weidi and Gavves, Efstratios},
  booktitle={ECCV},
  year={2024}
}
"""
_MODES = ("binary", "png255")


class RevosRobustness(mask_metric.MaskMetric):
    """Metric `revos_robustness`: A and R of clips.

    Example:
        >>> masks = np.zeros((1, 4, 4), dtype=bool)
        >>> masks[:, 1:3, 1:3] = True
        >>> for mode in ("binary", "png255"):
        ...     RevosRobustness().compute(predictions=[masks], references=[masks], foregrounds=[masks], mode=mode)
        {'A': 1.0, 'R': 1.0}
        {'A': 0.75, 'R': 1.0}
    """

    def _info(self):
        clips = {name: mask_metric.CLIP for name in ("predictions", "references", "foregrounds")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(clips),
        )

    def _compute(self, predictions, references, foregrounds, mode="binary"):
        if mode not in _MODES:
            raise ValueError(f"mode {mode!r} is unknown; use {' or '.join(_MODES)}")
        scores = [
            self._score_expression(*mask_metric.clip_masks(*clips), mode)
            for clips in zip(predictions, references, foregrounds, strict=True)
        ]
        a, r = np.mean(scores, axis=0)
        return {"A": float(a), "R": float(r)}

    @staticmethod
    def _score_expression(predictions, references, foregrounds, mode):
        if mode == "png255":
            predictions, references = predictions * np.uint8(255), references.astype(np.uint8)
        a = [definition.pixel_accuracy(*pair) for pair in zip(predictions, references)]
        r = [definition.robustness(*masks) for masks in zip(predictions, references, foregrounds)]
        return np.mean(a), np.mean(r)
