"""Boxes with shared image features against the detector's own forward."""

import pytest
import torch

from glus_hf.models.grounded.detection_grounded import corners, detect, frames_to_search
from tests.models.grounded.small_grounded import DETECTORS, noise, small_model, small_processor


TEXTS = ["the red car", "a dog that turns left"]


@pytest.mark.parametrize("kind", DETECTORS)
def test_same_boxes_as_the_detector_alone(kind):
    model, processor, frames = small_model(kind), small_processor(), noise(4)
    session = processor.init_video_session(frames, TEXTS)
    found = detect(model, session, [[0, 1, 3], [2]], batch_size=2)
    for text, own, each in zip(TEXTS, [[0, 1, 3], [2]], found, strict=True):
        scores = {}
        for index in own:
            pixels = processor.image_processor([frames[index]], return_tensors="pt")
            with torch.no_grad():
                outputs = model.detector(**pixels, **processor.tokenize(text))
            score, query = outputs.logits[0].sigmoid().amax(-1).max(0)
            scores[index] = float(score), corners(outputs.pred_boxes[0, query])
        best = max(own, key=lambda index: scores[index][0])
        assert each.frame_idx == best
        assert each.score == pytest.approx(scores[best][0], abs=1e-5)
        torch.testing.assert_close(each.box, scores[best][1], atol=1e-4, rtol=0)


def test_image_features_are_computed_once(monkeypatch):
    model, calls = small_model(), []
    session = small_processor().init_video_session(noise(3), [*TEXTS, "the dog"])
    forward = model.detector.model.backbone.forward
    spy = lambda pixels, mask: (calls.append(len(pixels)), forward(pixels, mask))[1]
    monkeypatch.setattr(model.detector.model.backbone, "forward", spy)
    detect(model, session, [[0, 1, 2]] * 3, batch_size=2)
    assert calls == [2, 1]
    assert type(model.detector.model.backbone).__name__ == "GroundingDinoConvModel"  # the detector is as before


def test_frames_to_search():
    assert frames_to_search(90, 3) == [15, 45, 75] and frames_to_search(1, 8) == [0]
