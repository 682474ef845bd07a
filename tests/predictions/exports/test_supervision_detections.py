import builtins

import numpy as np
import pytest

from glus_hf.errors import UserError
from glus_hf.predictions.exports.supervision_detections import to_detections
from tests.predictions.exports.hard_masks import LABELS, overlapping_masks, results_of


def test_detections_of_a_frame():
    supervision = pytest.importorskip("supervision")
    masks = overlapping_masks()
    results = results_of(masks)
    detections = to_detections(results, 1)
    assert isinstance(detections, supervision.Detections) and len(detections) == 3
    np.testing.assert_array_equal(detections.mask, masks[:3, 1])
    np.testing.assert_array_equal(detections.xyxy[0], [0, 0, 53, 37])
    np.testing.assert_array_equal(detections.area, masks[:3, 1].sum(axis=(1, 2)))
    assert detections["class_name"].tolist() == LABELS[:3]
    assert detections.confidence == pytest.approx([0.6] * 3)
    assert len(to_detections(results, 2)) == 1 and len(to_detections(results[3], 0)) == 0
    drawn = supervision.MaskAnnotator().annotate(np.zeros((37, 53, 3), dtype=np.uint8), detections)
    assert drawn.any()


def test_a_frame_that_is_not_there():
    pytest.importorskip("supervision")
    with pytest.raises(UserError, match="no frame 5 in 5 frames"):
        to_detections(results_of(overlapping_masks()), 5)


def test_without_supervision(monkeypatch):
    def refuse(name, *args, load=builtins.__import__, **kwargs):
        if name == "supervision":
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match="pip install supervision"):
        to_detections(results_of(overlapping_masks()), 0)
