"""`glus-hf segment -`: raw frames on standard input."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from glus_hf import pipeline
from glus_hf.cli.main import app
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.video import load_video


CLIP = generate_clip(0, split="test", size=64, num_frames=5)
TEXTS = [CLIP.expressions[0].text, "the blue dog"]
RAW = np.stack(CLIP.frames).tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segment(*arguments, raw=RAW):
    return CliRunner().invoke(app, ["segment", "-", *TEXTS, *arguments], input=raw)


def test_masks_and_overlay_of_a_stream(folder, caplog):
    result = segment("--size", "64x64", "--fps", "30", "--masks-dir", "masks", "--json", raw=RAW + b"cut")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    live = pipeline("referring-video-segmentation").open_live(TEXTS)
    expected = [live.push(frame) for frame in CLIP.frames]
    for frame in expected:
        for text, mask in enumerate(frame.masks):
            saved = np.asarray(Image.open(folder / "masks" / str(text) / f"{frame.frame_idx:05d}.png")) > 0
            np.testing.assert_array_equal(saved, mask)
    first, second = summary["expressions"]
    assert first["frames_with_mask"] == sum(bool(frame.masks[0].any()) for frame in expected) > 0
    assert first["mean_score"] == pytest.approx(float(np.mean([frame.scores[0] for frame in expected])), abs=1e-4)
    assert second["unknown_words"] == ["dog"] and summary["num_frames"] == 5
    overlay = load_video(folder / "stdin_segmented.mp4")
    assert len(overlay) == 5 and overlay.fps == pytest.approx(30)
    assert json.loads((folder / "masks" / "masks.json").read_text())["expressions"] == {"0": TEXTS[0], "1": TEXTS[1]}
    assert "ended within frame 00005 (3 of 12288 bytes)" in caplog.text


def test_the_first_frames_only(folder):
    result = segment("--size", "64x64", "--max-frames", "2", "--json", "--quiet", "-o", "two.webm", raw=RAW + b"cut")
    assert result.exit_code == 0 and json.loads(result.stdout)["num_frames"] == 2 and result.stderr == ""
    assert len(load_video(folder / "two.webm")) == 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "add their --size, as 640x360"),
        (["--size", "64"], "write WIDTHxHEIGHT"),
        (["--size", "6400x6400"], "ended after 61440 of 122880000 bytes of a 6400x6400 frame: check --size"),
        (["--size", "64x64", "--key-frame", "2"], "--key-frame needs the whole video"),
        (["--size", "64x64", "--format", "davis"], "--format needs the whole video"),
        (["--size", "64x64", "-o", "out.gif"], "holds all frames"),
        (["--size", "64x64", "--max-frames", "0"], "max_frames must be"),
        (["--size", "64x64", "--model", "glee-tiny"], "takes no frames one by one"),
    ],
)
def test_errors_are_one_line(folder, arguments, words):
    result = segment(*arguments)
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert result.exit_code == 2 and len(lines) == 1 and words in lines[0] and not list(folder.iterdir())


def test_size_belongs_to_standard_input(folder):
    result = CliRunner().invoke(app, ["segment", "clip.mp4", "the red circle", "--size", "64x64"])
    assert result.exit_code == 2 and "--size and --fps belong to raw frames" in result.stderr
