"""`glus-hf detect`: names in an image and in a video, to pictures and JSON."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import glus_hf
from glus_hf.cli.main import app
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.rle import decode_rle
from glus_hf.media.video import load_video, write_video
from tests.cli.command import run
from tests.models.glee.small_glee import small_model, small_processor


NAMES = ["red dog", "cat"]
CLIP = generate_clip(0, split="test", size=64, num_frames=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    small_model(seed=2).save_pretrained(path)
    small_processor().save_pretrained(path)
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_video(tmp_path / "clip.mp4", CLIP.frames, fps=8)
    Image.fromarray(CLIP.frames[0]).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def detect(*arguments, code=0):
    done = CliRunner().invoke(app, ["detect", *arguments, "--device", "cpu"])
    assert done.exit_code == code, done.output
    return done


def test_an_image(folder, model):
    options = [
        "--model",
        model,
        "--threshold",
        "0.3",
        "--top-k",
        "4",
        "--objects",
        "found.json",
        "--json",
        "--quiet",
    ]
    done = detect("image.png", *NAMES, *options)
    summary, found = json.loads(done.stdout.splitlines()[-1]), json.loads((folder / "found.json").read_text())
    assert summary["output"] == "image_detected.png" and summary["objects_file"] == "found.json"
    assert summary["names"] == found["names"] == NAMES and summary["num_frames"] == 1
    pipe = glus_hf.pipeline("zero-shot-object-detection", model=model, device="cpu")
    image = Image.open(folder / "image.png")
    expected = pipe(image, candidate_labels=NAMES, threshold=0.3, top_k=4, masks=True)
    assert len(expected) > 0 and len(found["objects"]) == len(summary["objects"]) == len(expected)
    for ours, short, theirs in zip(found["objects"], summary["objects"], expected, strict=True):
        assert ours["label"] == short["label"] == theirs["label"] and ours["box"] == short["box"] == theirs["box"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4) and ours["frame_idx"] == 0
        np.testing.assert_array_equal(decode_rle(ours["segmentation"], (64, 64)), theirs["mask"])
    picture = np.asarray(Image.open(folder / "image_detected.png"))
    assert picture.shape == (384, 384, 3)  # small images are enlarged
    plain = np.asarray(image.resize((384, 384), Image.Resampling.LANCZOS))
    assert (picture != plain).any(-1).mean() > 0.005


def test_a_video(folder, model):
    done = detect("clip.mp4", *NAMES, "--model", model, "--threshold", "0.5", "--no-masks")
    assert "clip_detected.mp4" in done.stdout and all(name in done.stdout for name in NAMES)
    drawn = load_video(folder / "clip_detected.mp4")
    assert len(drawn) == 3 and drawn.fps == pytest.approx(8) and drawn.frames[0].shape == (384, 384, 3)


def test_objects_are_followed(folder, model):
    options = ["--model", model, "--track", "--threshold", "0.4", "--top-k", "4", "--objects", "found.json", "--json"]
    done = detect("clip.mp4", *NAMES, *options)
    summary, found = json.loads(done.stdout.splitlines()[-1]), json.loads((folder / "found.json").read_text())
    assert found["names"] == NAMES and found["num_frames"] == 3 and 0 < len(found["objects"]) <= 4
    assert [each["object_id"] for each in found["objects"]] == list(range(1, len(found["objects"]) + 1))
    scores = [each["score"] for each in found["objects"]]
    assert scores == sorted(scores, reverse=True) and min(scores) >= 0.4
    for each, short in zip(found["objects"], summary["objects"], strict=True):
        masks = each.pop("segmentations")
        assert each == short and len(masks) == len(each["boxes"]) == 3
        assert each["num_frames"] == sum(mask is not None for mask in masks)
        assert [box is None for box in each["boxes"]] == [mask is None for mask in masks]
    assert len(load_video(folder / "clip_detected.mp4")) == 3


@pytest.mark.parametrize(("kind", "field"), [("ytvis", "segmentations"), ("tao", "bbox")])
def test_followed_objects_are_written_for_benchmarks(folder, model, kind, field):
    options = ["--model", model, "--track", "--threshold", "0", "--quiet", "--objects", "found.json", "--format", kind]
    detect("clip.mp4", *NAMES, *options)
    results = json.loads((folder / "found.json").read_text())
    assert results and all(field in result and result["video_id"] == 1 for result in results)
    assert {result["category_id"] for result in results} <= {1, 2}


def test_repeated_names_are_merged_and_said(folder, model):
    done = detect("image.png", "cat", "cat", "--model", model, "--json")
    assert json.loads(done.stdout.splitlines()[-1])["names"] == ["cat"]
    assert "1 repeated names were merged" in done.stderr


def test_output_is_claimed(folder, model):
    first = ["image.png", "cat", "--model", model, "--quiet", "-o", "out.png"]
    detect(*first)
    assert "from an earlier run; use --overwrite" in detect(*first, code=2).stderr
    detect(*first, "--overwrite")
    (folder / "out.png").write_text("mine")
    assert "move it away first" in detect(*first, "--overwrite", code=2).stderr
    assert (folder / "out.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["image.png", "cat", "-o", "out.txt"], "out.txt: is no name of a picture"),
        (["clip.mp4", "cat", "-o", "out.png"], "out.png: is an image, but clip.mp4 has 3 frames"),
        (["none.png", "cat"], "none.png: no such file"),
        (["image.png", "cat", "--threshold", "nan"], "--threshold nan: must be a finite number; use 0 to 1"),
        (["clip.mp4", "cat", "--format", "coco"], "--format is coco; use one of objects, ytvis, tao"),
        (["clip.mp4", "cat", "--format", "ytvis"], "add --track and --objects FILE"),
        (["clip.mp4", " ", "--track"], "category name 0 is ' '"),
        (["image.png", " "], "category name 0 is ' '"),
        (["image.png", "dog " * 77], "tokens with start and end, the limit is"),
        (["image.png", *map(str, range(10_000))], "10000 category names, the limit is 2000"),
    ],
)
def test_bad_input_is_one_line(folder, model, arguments, message):
    done = detect(*arguments, "--model", model, "--quiet", code=2)
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "image.png"]


def test_a_model_that_knows_no_names(folder):
    done = detect("image.png", "cat", "--model", "glus-tiny", code=2)
    assert "glus-tiny does not find objects by names; use a model of the family glee" in done.stderr


def test_without_names_the_program_says_so(folder, model):
    code, _, err = run(folder, "detect", "image.png", "--model", model)
    assert code == 2 and "NAME" in err
