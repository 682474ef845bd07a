"""Modes that are faster and not the same: one argument, the same on every road, recorded where a run is resumed."""

import json

import numpy as np
import pytest
import torch

from glus_hf import load_referring_dataset, pipeline
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.errors import UserError
from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.inference.frame_masks import fast_modes
from tests.models.tiny_family import TinyForVideoSegmentation


CLIP = generate_clip(1, split="test", size=64, num_frames=9)
TEXTS = [expression.text for expression in CLIP.expressions[:2]]
MODES = [{"window": "whole"}, {"frame_stride": 3}]


@pytest.fixture(scope="module")
def pipe():
    return pipeline("referring-video-segmentation", model="glus-tiny", device="cpu")


@pytest.mark.parametrize("mode", MODES, ids=["whole", "stride"])
def test_the_pipeline_takes_them(pipe, mode, monkeypatch):
    read, read_windows = [], pipe.model.read_windows
    monkeypatch.setattr(pipe.model, "read_windows", lambda *a: read.append(len(a[1])) or read_windows(*a))
    logits = [result["logits"] for result in pipe(CLIP.frames, TEXTS, output="logits", **mode)]
    apart = mode.get("frame_stride", pipe.model.config.num_query_frames)
    assert sum(read) == -(-9 // apart) * len(TEXTS)  # windows; the exact mode reads one per frame
    session = pipe.processor.init_video_session(list(CLIP.frames), TEXTS)
    outputs = list(pipe.model.propagate_in_video_iterator(session, **mode))
    np.testing.assert_array_equal(np.stack(logits), torch.stack([output.mask_logits for output in outputs], 1).numpy())


def test_an_evaluation_records_them(pipe, tmp_path):
    rows = load_referring_dataset("motion_shapes", split="test", num_videos=1, size=48, num_frames=5)
    run = lambda options: evaluate_model(pipe.model, pipe.processor, rows, tmp_path, split="test", options=options)
    run(EvaluationOptions(window="whole"))
    settings = json.loads((tmp_path / ".glus_hf" / "settings.json").read_text())
    assert settings["window"] == "whole" and "frame_stride" not in settings
    with pytest.raises(UserError, match='another window \\("whole" then, null now\\)'):
        run(EvaluationOptions())
    assert run(EvaluationOptions(window="whole")).totals["J&F"] > 0


@pytest.mark.parametrize("mode", [{"window": "hole"}, {"frame_stride": 0}, {"window": "whole", "frame_stride": 2}])
def test_impossible_modes(pipe, mode):
    with pytest.raises(UserError, match="window must be one of|frame_stride"):
        pipe(CLIP.frames, TEXTS, **mode)
    with pytest.raises(UserError, match="window must be one of|frame_stride must be"):
        EvaluationOptions(**mode)


def test_a_model_without_them_says_so():
    assert fast_modes(TinyForVideoSegmentation) == {}
    with pytest.raises(UserError, match="has no mode window='whole': leave it out"):
        fast_modes(TinyForVideoSegmentation, "whole")
