"""What `glus-hf segment` says of its engine: about footage, about the size of masks, about what it cannot do."""

import json

import pytest
from typer.testing import CliRunner

from glus_hf.cli.main import app
from glus_hf.media.video import load_video, write_video
from tests.media.other_videos import write_as_others
from tests.models.grounded.small_grounded import noise, small_model, small_processor


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_as_others("phone.mp4")
    write_video("drawn.mp4", noise(2), fps=8)
    return tmp_path


@pytest.fixture
def pair(folder):
    model, processor = small_model(), small_processor()
    model.save_pretrained(folder / "pair")
    processor.save_pretrained(folder / "pair")
    return "./pair"


def segment(*arguments):
    result = CliRunner().invoke(app, ["segment", *arguments, "--device", "cpu", "--overwrite"])
    return result.exit_code, result.stdout, result.stderr


def test_glus_tiny_on_footage_says_so_once(folder):
    code, _, err = segment("phone.mp4", "the red circle", "the square", "--max-frames", "1")
    (line,) = [line for line in err.splitlines() if "mean nothing on real footage" in line]
    assert code == 0 and "--model grounded-tiny" in line and "--model glus-7b" in line
    assert "footage" not in segment("drawn.mp4", "the red circle", "--max-frames", "1")[2]


def test_a_pair_says_what_it_is(pair):
    code, out, err = segment("phone.mp4", "the dog", "--model", pair, "--mask-size", "64", "--json")
    assert code == 0, err
    assert "footage" not in err and "px" not in err
    summary = json.loads(out.splitlines()[-1])
    assert "does not understand motion" in summary["notice"] and "not GLUS" in summary["notice"]
    _, out, _ = segment("phone.mp4", "the dog", "--model", pair, "--mask-size", "64")
    assert "does not understand motion" in out and len(load_video("phone_segmented.mp4")) == 3


def test_a_cpu_draws_smaller_masks_and_says_so(pair, monkeypatch):
    monkeypatch.setattr("glus_hf.models.grounded.modeling_grounded.GroundedForVideoSegmentation.mask_size_on_cpu", 64)
    _, _, err = segment("phone.mp4", "the dog", "--model", pair)
    assert "Masks are drawn at 64 px on a CPU; --mask-size 128 is finer and slower" in err


def test_mask_size_of_a_model_without_a_choice(folder):
    code, _, err = segment("drawn.mp4", "the dog", "--mask-size", "512")
    assert code == 2 and "a glus model has one mask size" in err
