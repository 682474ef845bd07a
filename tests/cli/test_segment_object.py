"""`glus-hf segment-object`: points, boxes, lines and masks on an image, to pictures, ids and JSON."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import glus_hf
from glus_hf.cli.main import app
from glus_hf.cli.prompt_options import read_boxes, read_points
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.rle import decode_rle
from glus_hf.media.video import write_video
from tests.models.glee.small_glee import small_model, small_processor


CLIP = generate_clip(0, split="test", size=64, num_frames=2)
LINES = np.zeros((64, 64, 3), np.uint8)
LINES[10, 8:20], LINES[40:50, 30] = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    small_model(seed=2).save_pretrained(path)
    small_processor().save_pretrained(path)
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    Image.fromarray(CLIP.frames[0]).save(tmp_path / "image.png")
    Image.fromarray(LINES).save(tmp_path / "lines.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segment(*arguments, code=0):
    done = CliRunner().invoke(app, ["segment-object", *arguments, "--device", "cpu"])
    assert done.exit_code == code, done.output
    return done


def test_every_prompt_is_an_object(folder, model):
    prompts = ["--point", "20,30", "--point", "10,12 14,12", "--box", "5,5,30,40", "--scribble", "lines.png"]
    outputs = ["-o", "out.png", "--ids", "ids.png", "--objects", "found.json", "--json", "--quiet"]
    done = segment("image.png", *prompts, *outputs, "--model", model)
    summary, found = json.loads(done.stdout.splitlines()[-1]), json.loads((folder / "found.json").read_text())
    assert [each["prompt"] for each in found["objects"]] == ["point", "points", "box", "scribble", "scribble"]
    assert summary["output"] == "out.png" and summary["ids_file"] == "ids.png"
    assert Image.open(folder / "out.png").size == (384, 384)
    pipe = glus_hf.pipeline("mask-generation", model=model, device="cpu")
    image = Image.open(folder / "image.png")
    maps = np.stack([LINES[..., 2] > 0, LINES[..., 0] > 0])  # by the value of the colour
    direct = [
        pipe(image, input_points=[[[20, 30]], [[10, 12], [14, 12]]], input_boxes=[[5, 5, 30, 40]]),
        pipe(image, segmentation_maps=maps, is_scribble=True),
    ]
    masks, scores = np.concatenate([each["masks"] for each in direct]), direct[0]["scores"] + direct[1]["scores"]
    ids = np.asarray(Image.open(folder / "ids.png"))
    assert Image.open(folder / "ids.png").mode == "P" and set(np.unique(ids)) <= set(range(6))
    for number, (each, mask, score) in enumerate(zip(found["objects"], masks, scores, strict=True), 1):
        np.testing.assert_array_equal(decode_rle(each["segmentation"], (64, 64)), mask)
        assert each["id"] == number and each["area"] == mask.sum() and each["score"] == pytest.approx(score, abs=1e-4)
        assert mask[ids == number].all()
    assert (ids > 0).sum() == masks.any(0).sum()


def test_the_table_and_the_score(folder, model):
    by_confidence = segment("image.png", "--box", "5,5,30,40", "--model", model, "--json", "-o", "a.png")
    by_text = segment("image.png", "--box", "5,5,30,40", "--model", model, "--json", "-o", "b.png", "--score", "text")
    score = lambda done: json.loads(done.stdout.splitlines()[-1])["objects"][0]["score"]
    assert score(by_confidence) != score(by_text)
    done = segment("image.png", "--mask", "lines.png", "--model", model)
    assert "Picture: image_objects.png" in done.stdout and "mask" in done.stdout


def test_output_is_claimed(folder, model):
    arguments = ["image.png", "--point", "20,30", "--model", model, "--quiet", "-o", "out.png"]
    segment(*arguments)
    assert "out.png" in segment(*arguments, code=2).stderr
    segment(*arguments, "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["image.png"], "nothing says which object"),
        (["image.png", "--point", "20"], "--point 20: write X,Y"),
        (["image.png", "--box", "1,2,3"], "--box 1,2,3: write X0,Y0,X1,Y1"),
        (["image.png", "--box", "9,2,3,8"], "has no area"),
        (["image.png", "--point", "200,3"], "is outside the image of 64 x 64 pixels"),
        (["image.png", "--scribble", "none.png"], "none.png"),
        (["image.png", "--point", "2,3", "--score", "best"], "--score best is unknown"),
        (["image.png", "--point", "2,3", "-o", "out.mp4"], "is no name of an image"),
        (["image.png", "--point", "2,3", "--ids", "ids.jpg"], "let it end in .png"),
        (["clip.mp4", "--point", "2,3", "-o", "out.png"], "is a video"),
    ],
)
def test_one_line_about_what_is_wrong(folder, model, arguments, message):
    if arguments[0] == "clip.mp4":
        write_video(folder / "clip.mp4", CLIP.frames, fps=8)
    done = segment(*arguments, "--model", model, "--quiet", code=2)
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_texts_of_options():
    assert read_points([" 1,2  3.5,4"]) == [[[1.0, 2.0], [3.5, 4.0]]] and read_points(None) == []
    assert read_boxes(["0, 1, 2.5, 3"]) == [[0.0, 1.0, 2.5, 3.0]]
