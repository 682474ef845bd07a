"""GLEE goes the ways of every family: Auto classes, pipeline, evaluation and command line."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor
from typer.testing import CliRunner

from glus_hf import (
    AutoModelForReferringVideoSegmentation,
    CheckpointError,
    GLEEForVideoSegmentation,
    GLEEImageProcessor,
    GLEEProcessor,
    pipeline,
)
from glus_hf.cli.main import app
from glus_hf.data.frames import read_frames
from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.predictions.prediction_tree import read_prediction
from tests.evaluation.evaluation_data import shape_rows, tree
from tests.models.common import assert_same
from tests.models.glee.small_glee import small_model, small_processor


FRAMES = np.random.default_rng(0).integers(0, 256, (5, 40, 60, 3), dtype=np.uint8)
TEXTS = ["the red circle", "dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("glee")
    small_model().save_pretrained(path)
    small_processor().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("referring-video-segmentation", model=str(folder), device="cpu")


def test_auto_classes(folder):
    assert AutoConfig.from_pretrained(folder).model_type == "glee"
    assert type(AutoProcessor.from_pretrained(folder)) is GLEEProcessor
    assert type(AutoProcessor.from_pretrained(folder).image_processor) is GLEEImageProcessor
    for auto in (AutoModel, AutoModelForReferringVideoSegmentation):
        loaded = auto.from_pretrained(folder)
        assert type(loaded) is GLEEForVideoSegmentation
    assert_same(dict(loaded.state_dict()), dict(small_model().state_dict()))


def test_a_checkpoint_of_another_family_is_refused(folder):
    with pytest.raises(CheckpointError, match="holds a 'glus' model, not 'glee'") as error:
        GLEEForVideoSegmentation.from_pretrained("glus-tiny")
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_size_is_refused(folder, tmp_path):
    small_model(d_model=64, group_norm_groups=8).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="wrong shape|shape") as error:
        GLEEForVideoSegmentation.from_pretrained(tmp_path, config=config)
    assert "\n" not in str(error.value)


def test_options_of_the_link_are_set_when_loading(folder):
    loaded = GLEEForVideoSegmentation.from_pretrained(folder, temporal_similarity=None, multi_object_threshold=0.5)
    assert loaded.config.temporal_similarity is None and loaded.config.multi_object_threshold == 0.5
    with pytest.raises(ValueError, match="temporal_similarity must be one of .*got 'euclid'"):
        GLEEForVideoSegmentation.from_pretrained(folder, temporal_similarity="euclid")


def test_pipeline(pipe):
    results = pipe(FRAMES, TEXTS, key_frame=[2, 0])
    assert [result["label"] for result in results] == TEXTS
    session = pipe.processor.init_video_session(FRAMES, TEXTS)
    expected = {
        (text, output.frame_idx): output.mask_logits[row] > 0
        for output in pipe.model.propagate_in_video_iterator(session, key_frame=[2, 0])
        for row, text in enumerate(output.text_indices)
    }
    for text, result in enumerate(results):
        assert result["masks"].shape == (5, 40, 60) and result["missing_seg_frames"] == []
        for frame in range(5):
            np.testing.assert_array_equal(result["masks"][frame], expected[text, frame])


def test_evaluation_writes_what_the_pipeline_gives(pipe, tmp_path):
    rows = list(shape_rows(tmp_path / "cache", num_videos=1, num_frames=3))
    report = evaluate_model(pipe.model, pipe.processor, rows, tmp_path / "out")
    assert report.counts["failed"] == 0 and 0 <= report.totals["J&F"] <= report.totals["scale"]
    row = rows[0]
    masks = pipe(read_frames(row["frame_paths"]), row["expression"])["masks"]
    for frame, name in enumerate(row["frames"]):
        np.testing.assert_array_equal(read_prediction(tmp_path / "out", row, name), masks[frame])
    before = tree(tmp_path / "out")
    evaluate_model(pipe.model, pipe.processor, rows, tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_command_line(folder, tmp_path):
    data = ["--dataset", "motion_shapes", "--split", "test", "--num-videos", "1"]
    data += ["--data-option", "size=48", "--data-option", "num_frames=3"]
    call = [
        "evaluate",
        "--model",
        str(folder),
        "--device",
        "cpu",
        "--json",
        "--quiet",
        "-o",
        str(tmp_path / "out"),
        *data,
    ]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failed"] == 0 and 0 <= report["J&F"] <= 100
    shown = CliRunner().invoke(app, ["info", "--model", str(folder)])
    assert shown.exit_code == 0 and "pixel_decoder" in shown.output


def test_gradients_of_a_frame_do_not_leak_into_inference(pipe):
    """Inference keeps no graph."""
    session = pipe.processor.init_video_session(FRAMES[:2], "dog")
    outputs = list(pipe.model.propagate_in_video_iterator(session))
    assert not any(output.mask_logits.requires_grad for output in outputs)
    assert all(isinstance(output.scores, torch.Tensor) and output.scores.dtype == torch.float32 for output in outputs)
