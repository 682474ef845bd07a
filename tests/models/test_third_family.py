"""A family that knows nothing of GLUS goes every way that GLUS goes, by its names alone."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import torch

from glus_hf import AutoModelForReferringVideoSegmentation, CheckpointError, UserError, pipeline
from glus_hf.data.frames import read_frames
from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.inference.frame_selector import FrameSelector
from glus_hf.media.rle import encode_rle
from glus_hf.metrics.j_and_f import j_and_f
from glus_hf.predictions.prediction_tree import expression_folder, read_prediction
from tests.evaluation.evaluation_data import shape_rows, tree
from tests.models.tiny_family import TinyConfig, TinyForVideoSegmentation, TinyProcessor, registered
from tests.paths import ROOT
from tests.warm_python import warm_python


TASK = "referring-video-segmentation"
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
BRIGHT, DARK = "the bright pixels", "the dark pixels"


def masks_of(frames, text=BRIGHT, brightness=100):
    """What the model must find, computed anew."""
    light = np.stack(frames).astype(np.float32).mean(-1)
    return light < brightness if text == DARK else light > brightness


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny_family")
    TinyForVideoSegmentation(TinyConfig(brightness=100)).save_pretrained(path)
    TinyProcessor().save_pretrained(path)
    with registered():
        yield path


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline(TASK, model=str(folder), device="cpu")


# --- loading and the pipeline ---------------------------------------------------------------------------------------


def test_the_auto_class_loads_it(folder):
    model = AutoModelForReferringVideoSegmentation.from_pretrained(folder)
    assert type(model) is TinyForVideoSegmentation and model.config.brightness == 100


def test_wrong_checkpoints_are_refused_in_one_line(folder):
    with pytest.raises(CheckpointError, match="holds a 'glus' model, not 'tiny_family'"):
        TinyForVideoSegmentation.from_pretrained("glus-tiny")
    with pytest.raises(CheckpointError, match="compat") as error:  # an option of GLUS alone
        pipeline(TASK, model=str(folder), compat="released")
    assert "\n" not in str(error.value)


def test_the_base_output_leaves_out_what_a_family_does_not_know(pipe):
    session = pipe.processor.init_video_session(FRAMES, BRIGHT)
    output = next(pipe.model.propagate_in_video_iterator(session))
    assert [output.missing, output.object_ids, output.boxes, output.text_indices] == [None] * 4


@pytest.mark.parametrize("key_frame", [None, 0, 3, [4, 1]])
def test_pipeline_gives_the_exact_masks_of_every_text(pipe, key_frame):
    results = pipe(FRAMES, [BRIGHT, DARK], key_frame=key_frame)
    for text, result in zip([BRIGHT, DARK], results, strict=True):
        np.testing.assert_array_equal(result["masks"], masks_of(FRAMES, text))
        assert result["label"] == text and result["scores"].tolist() == [1.0] * 5
        assert result["frame_indices"].tolist() == [0, 1, 2, 3, 4] and result["missing_seg_frames"] == []


def test_pipeline_with_a_selector(pipe):
    class LikesFrameTwo:
        def score_frames(self, session, batch_size=None):
            return torch.tensor([[0.1, 0.2, 0.5, 0.3, 0.4]])

    selector = FrameSelector(LikesFrameTwo(), TinyProcessor(), "frame two")
    result = pipe(FRAMES, BRIGHT, key_frame="auto", selector=selector)
    assert result["key_frame"] == 2 and result["confidence"] == 0.5
    np.testing.assert_array_equal(result["masks"], masks_of(FRAMES))
    assert not pipe(FRAMES, BRIGHT, selector=selector, no_target_threshold=0.6)["masks"].any()


def test_pipeline_saved_and_loaded(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = pipeline(TASK, model=str(tmp_path), device="cpu")
    assert type(again.processor) is TinyProcessor
    np.testing.assert_array_equal(again(list(FRAMES), DARK)["masks"], masks_of(FRAMES, DARK))


# --- the evaluation -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Expressions about two generated videos."""
    return list(shape_rows(tmp_path_factory.mktemp("cache"), num_videos=2, num_frames=4))


def bright_masks(row):
    return masks_of(read_frames(row["frame_paths"]))


def test_evaluation_of_known_masks(pipe, rows, tmp_path):
    report = evaluate_model(pipe.model, pipe.processor, rows, tmp_path, options=EvaluationOptions(key_frame=2))
    for row, record in zip(rows, report.records, strict=True):
        written = np.stack([read_prediction(tmp_path, row, frame) for frame in row["frames"]])
        np.testing.assert_array_equal(written, bright_masks(row))
        assert record["mean_score"] == bright_masks(row).any(axis=(1, 2)).mean()
    assert (
        report.counts["missing_seg_frames"] == report.counts["expressions_missing_seg"] == report.counts["failed"] == 0
    )


def test_evaluation_against_its_own_masks_is_perfect(pipe, rows, tmp_path):
    truth = [{**row, "masks": [encode_rle(mask) for mask in bright_masks(row)]} for row in rows]
    totals = evaluate_model(pipe.model, pipe.processor, truth, tmp_path).totals
    assert totals["J"] == totals["F"] == totals["J&F"] == totals["scale"]


def test_evaluation_gives_j_and_f_of_the_known_masks(pipe, rows, tmp_path):
    half = [bright_masks(row) & (np.arange(row["width"]) < 24) for row in rows]  # the left half is the truth
    truth = [{**row, "masks": [encode_rle(mask) for mask in masks]} for row, masks in zip(rows, half, strict=True)]
    totals = evaluate_model(pipe.model, pipe.processor, truth, tmp_path).totals
    expected = [j_and_f(bright_masks(row), masks)["j_and_f"] for row, masks in zip(rows, half, strict=True)]
    assert totals["J&F"] / totals["scale"] == pytest.approx(np.mean(expected)) and 0 < np.mean(expected) < 1


def test_evaluation_resumes(pipe, rows, tmp_path):
    run = lambda: evaluate_model(pipe.model, pipe.processor, rows, tmp_path)
    first, before = run(), tree(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    lost = tmp_path / expression_folder(rows[1])
    shutil.rmtree(lost)
    assert run() == first and tree(tmp_path) == before
    written = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert written == set(lost.iterdir())


def test_other_weights_are_another_run(pipe, rows, tmp_path):
    evaluate_model(pipe.model, pipe.processor, rows, tmp_path)
    with pytest.raises(UserError, match="another model"):
        evaluate_model(TinyForVideoSegmentation(TinyConfig(brightness=99)).eval(), TinyProcessor(), rows, tmp_path)


# --- the tables -----------------------------------------------------------------------------------------------------


TABLES = {  # file, the line that opens the table, what a new family adds
    "model_families.py": (
        "\nFAMILIES = {\n",
        '    "tiny_family": {\n'
        '        "config": "TinyConfig", "model": "TinyForVideoSegmentation", "processor": "TinyProcessor",\n'
        "    },\n",
    ),
    "__init__.py": (
        "\n_EXPORTS = {\n",
        "".join(
            f'    "{name}": "models.tiny_family.modeling_tiny_family",\n'
            for name in ("TinyConfig", "TinyForVideoSegmentation", "TinyProcessor")
        ),
    ),
}
EVALUATE = """
import sys
from transformers import AutoModel, AutoProcessor
from glus_hf import TinyConfig, TinyForVideoSegmentation, TinyProcessor
from glus_hf.cli.main import app

TinyForVideoSegmentation(TinyConfig(brightness=100)).save_pretrained("model")
TinyProcessor().save_pretrained("model")
assert type(AutoModel.from_pretrained("model")) is TinyForVideoSegmentation
assert type(AutoProcessor.from_pretrained("model")) is TinyProcessor
app(["evaluate", "--model", "model", "--device", "cpu", "--json", "--quiet", *sys.argv[1:]])
"""


def copy_with_the_family(root):
    """A copy of the sources with a third family: its folder, and its names in two tables."""
    package = root / "src" / "glus_hf"
    shutil.copytree(ROOT / "src" / "glus_hf", package, ignore=shutil.ignore_patterns("checkpoints", "__pycache__"))
    for folder in ("src/glus_hf/checkpoints", "datasets_scripts"):
        (root / folder).symlink_to(ROOT / folder)
    (package / "models" / "tiny_family").mkdir()
    (package / "models" / "tiny_family" / "__init__.py").touch()
    source = (ROOT / "tests" / "models" / "tiny_family.py").read_text()
    (package / "models" / "tiny_family" / "modeling_tiny_family.py").write_text(source)
    for name, (opening, added) in TABLES.items():
        text = (package / name).read_text()
        assert text.count(opening) == 1
        (package / name).write_text(text.replace(opening, opening + added))
    return package.parent


def test_names_in_two_tables_are_enough(pipe, rows, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(copy_with_the_family(tmp_path)), "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    data = ["--dataset", "motion_shapes", "--split", "test", "--num-videos", "2"]
    data += ["--data-option", "size=48", "--data-option", "num_frames=4"]
    call = [*warm_python(), "-c", EVALUATE, *data]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = evaluate_model(pipe.model, pipe.processor, rows, tmp_path / "here").to_dict()
    assert {**found, "output": ""} == {**expected, "output": ""}
