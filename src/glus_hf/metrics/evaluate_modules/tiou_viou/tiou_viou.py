"""tIoU and vIoU of Long-RVOS."""

import datasets
import evaluate
import numpy as np

from glus_hf.metrics import j_and_f, mask_metric
from glus_hf.metrics import temporal_iou as definition


_DESCRIPTION = """\
tIoU, the overlap of the frames that have a prediction with those that have a target, and vIoU, the sum of J over the
frames with both divided by the frames with either; both averaged over expressions.
"""
_INPUTS = """
Args:
    predictions: for each expression its predicted masks, a boolean array `[frames, height, width]` or a list of COCO
        run-length dicts, None for an empty mask.
    references: the true masks in the same form.
Returns:
    `tIoU` and `vIoU` in `[0, 1]`.
"""
_CITATION = """\
@inproceedings{liang2026longrvos,
  title={Long-RVOS: A Comprehensive Benchmark for Long-term Referring Video Object Segmentation},
  booktitle={CVPR},
  year={2026}
}
"""


class TiouViou(mask_metric.MaskMetric):
    """Metric `tiou_viou`: tIoU and vIoU of clips.

    Example:
        >>> target = np.zeros((2, 4, 4), dtype=bool)
        >>> target[0, 1:3] = True
        >>> TiouViou().compute(predictions=[np.stack([target[0], target[0]])], references=[target])
        {'tIoU': 0.5, 'vIoU': 0.5}
    """

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": mask_metric.CLIP, "references": mask_metric.CLIP}),
        )

    def _compute(self, predictions, references):
        scores = []
        for clips in zip(predictions, references, strict=True):
            predicted, target = mask_metric.clip_masks(*clips)
            j = [j_and_f.region_similarity(*pair) for pair in zip(predicted, target)]
            scores.append(definition.temporal_iou(predicted.any(axis=(1, 2)), target.any(axis=(1, 2)), j))
        return {name: float(np.mean([score[name] for score in scores])) for name in ("tIoU", "vIoU")}
