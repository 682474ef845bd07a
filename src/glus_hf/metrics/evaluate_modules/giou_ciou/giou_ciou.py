"""gIoU and cIoU of referring image segmentation."""

import datasets
import evaluate
import numpy as np

from glus_hf.media.rle import decode_rle, encode_rle
from glus_hf.metrics import iou as definition
from glus_hf.metrics import mask_metric


_DESCRIPTION = """\
gIoU, the mean of the IoU of each mask, and cIoU, the IoU of all pixels together, with the conventions of LISA or of
GRES for masks without target; GRES' N-acc and T-acc come along.
"""
_INPUTS = """
Args:
    predictions: the predicted masks, each a boolean array `[height, width]` or a COCO run-length dict, None for an
        empty mask.
    references: the true masks in the same form; or a uint8 array with 0, 1 and 255 for pixels that do not count.
    convention: "lisa" or "gres".
Returns:
    `gIoU` and `cIoU` in `[0, 1]`; with "gres" also `N-acc` and `T-acc`.
"""
_CITATION = """\
@inproceedings{lai2024lisa,
  title={LISA: Reasoning Segmentation via Large Language Model},
  author={Lai, Xin and Tian, Zhuotao and Chen, Yukang and Li, Yanwei and Yuan, Yuhui and Liu, Shu and Jia, Jiaya},
  booktitle={CVPR},
  year={2024}
}
@inproceedings{liu2023gres,
  title={GRES: Generalized Referring Expression Segmentation},
  author={Liu, Chang and Ding, Henghui and Jiang, Xudong},
  booktitle={CVPR},
  year={2023}
}
"""


class GiouCiou(mask_metric.MaskMetric):
    """Metric `giou_ciou`: gIoU and cIoU of single masks.

    Example:
        >>> prediction, target = np.array([[True, True, False]]), np.array([[1, 0, 255]], dtype=np.uint8)
        >>> GiouCiou().compute(predictions=[prediction], references=[target], convention="gres")["gIoU"]
        0.5
    """

    def _info(self):
        reference = mask_metric.RLE | {"ignored": datasets.Value("string")}  # the run lengths of what does not count
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": mask_metric.RLE, "references": reference}),
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add several masks; 255 in a uint8 reference becomes its ignored pixels."""
        references = [self._store(index, reference) for index, reference in enumerate(references)]
        super().add_batch(predictions=predictions, references=references, **kwargs)

    @staticmethod
    def _store(index, reference):
        ignored = ""
        reference = np.asarray(reference) if hasattr(reference, "__array__") else reference  # a tensor
        if isinstance(reference, np.ndarray) and reference.dtype == np.uint8:
            definition.check_labels(index, reference)
            ignored = encode_rle(reference == definition.IGNORED)["counts"]
            reference = reference == 1
        stored = mask_metric.to_stored(reference)
        if not isinstance(stored, dict):
            raise ValueError(f"reference {index} must be one mask, [height, width], not a clip: add frames one by one")
        return stored | {"ignored": ignored}

    def _compute(self, predictions, references, convention="lisa"):
        pairs = [self._decode(*pair) for pair in zip(predictions, references, strict=True)]
        return definition.giou_ciou([pair[0] for pair in pairs], [pair[1] for pair in pairs], convention)

    @staticmethod
    def _decode(prediction, reference):
        size = mask_metric.stored_size([prediction, reference])
        labels = mask_metric.stored_mask(reference, size).astype(np.uint8)
        if reference["ignored"]:
            labels[decode_rle({"size": size, "counts": reference["ignored"]}, size)] = definition.IGNORED
        return mask_metric.stored_mask(prediction, size), labels
