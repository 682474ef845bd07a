"""Region similarity J and contour accuracy F of the DAVIS benchmark."""

import datasets
import evaluate
import numpy as np

from glus_hf.metrics import j_and_f as definition
from glus_hf.metrics import mask_metric


_DESCRIPTION = """\
J, the intersection over union of two masks, and F, the agreement of their contours within 0.8 % of the image diagonal,
averaged over the frames of each expression and then over expressions; J&F is the mean of the two. Equal to the DAVIS
2017 evaluation bit for bit.
"""
_INPUTS = """
Args:
    predictions: for each expression its predicted masks, a boolean array `[frames, height, width]` or a list of COCO
        run-length dicts, None for an empty mask.
    references: the true masks in the same form.
    per_expression: also return the scores of each expression.
Returns:
    `J`, `F`, `J&F` in `[0, 1]`, and with `per_expression` a dict of lists under that name.
"""
_CITATION = """\
@inproceedings{perazzi2016benchmark,
  title={A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation},
  author={Perazzi, F. and Pont-Tuset, J. and McWilliams, B. and Van Gool, L. and Gross, M. and Sorkine-Hornung, A.},
  booktitle={CVPR},
  year={2016}
}
"""


class JAndF(mask_metric.MaskMetric):
    """Metric `j_and_f`: J, F and J&F of clips.

    Example:
        >>> masks = np.zeros((2, 48, 64), dtype=bool)
        >>> JAndF().compute(predictions=[masks], references=[masks])
        {'J': 1.0, 'F': 1.0, 'J&F': 1.0}
    """

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": mask_metric.CLIP, "references": mask_metric.CLIP}),
        )

    def _compute(self, predictions, references, per_expression=False):
        pairs = [mask_metric.clip_masks(*pair) for pair in zip(predictions, references, strict=True)]
        scores = [definition.j_and_f(*pair) for pair in pairs]
        j, f = [score["j"] for score in scores], [score["f"] for score in scores]
        means = {"J": float(np.mean(j)), "F": float(np.mean(f))}
        means["J&F"] = (means["J"] + means["F"]) / 2
        return means | ({"per_expression": {"J": j, "F": f}} if per_expression else {})
