"""N-acc, T-acc and Final of MeViSv2."""

import datasets
import evaluate
import numpy as np

from glus_hf.metrics import j_and_f, mask_metric
from glus_hf.metrics import no_target as definition


_DESCRIPTION = """\
N-acc, how many expressions without a target were answered with nothing; T-acc, how many expressions with a target were
not; Final, the mean of J&F, N-acc and T-acc, by which MeViSv2 ranks.
"""
_INPUTS = """
Args:
    predictions: for each expression its predicted masks, a boolean array `[frames, height, width]` or a list of COCO
        run-length dicts, None for an empty mask.
    references: the true masks in the same form; an expression whose masks are all empty has no target.
    j_and_f_without_no_target: leave expressions without target out of J and F.
Returns:
    `J`, `F`, `J&F`, `N-acc`, `T-acc` and `Final` in `[0, 1]`, None where no expression counts.
"""
_CITATION = """\
@article{ding2025mevis,
  title={MeViS: A Multi-Modal Dataset for Referring Motion Expression Video Segmentation},
  author={Ding, Henghui and Liu, Chang and He, Shuting and Ying, Kaining and Jiang, Xudong and Loy, Chen Change and
    Jiang, Yu-Gang},
  journal={TPAMI},
  year={2025}
}
"""


class NAccTAcc(mask_metric.MaskMetric):
    """Metric `n_acc_t_acc`: N-acc, T-acc and Final of clips.

    Example:
        >>> nothing, something = np.zeros((2, 1, 4, 4), dtype=bool)
        >>> something[:, 1:3] = True
        >>> NAccTAcc().compute(predictions=[nothing, something], references=[nothing, something])["Final"]
        1.0
    """

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": mask_metric.CLIP, "references": mask_metric.CLIP}),
        )

    def _compute(self, predictions, references, j_and_f_without_no_target=False):
        pairs = [mask_metric.clip_masks(*pair) for pair in zip(predictions, references, strict=True)]
        has_target = [bool(target.any()) for _, target in pairs]
        accuracy = definition.n_acc_t_acc([bool(masks.any()) for masks, _ in pairs], has_target)
        wanted = [target or not j_and_f_without_no_target for target in has_target]
        scores = [j_and_f.j_and_f(*pair) for pair, counts in zip(pairs, wanted) if counts]
        if not scores:
            return {"J": None, "F": None, "J&F": None, **accuracy, "Final": None}
        j, f = (float(np.mean([score[name] for score in scores])) for name in ("j", "f"))
        mean = (j + f) / 2
        final = definition.final_score(mean, accuracy["N-acc"], accuracy["T-acc"])
        return {"J": j, "F": f, "J&F": mean, **accuracy, "Final": final}
