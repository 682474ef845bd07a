"""`glus-hf track`: masks, boxes and points on frames of a video, to an overlay and palette PNGs."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from glus_hf.cli.main import app
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.video import load_video
from glus_hf.predictions.id_png import number_by_ids, save_id_png
from tests.models.glee.small_glee import small_model, small_processor


CLIP = generate_clip(3, split="test", size=64, num_frames=3)
FIRST = number_by_ids({3: CLIP.masks[0, 0], 7: CLIP.masks[1, 0]})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    small_model(seed=2).save_pretrained(path)
    small_processor().save_pretrained(path)
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(CLIP.frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{index:05d}.png")
    save_id_png(tmp_path / "first.png", FIRST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def track(*arguments, code=0):
    done = CliRunner().invoke(app, ["track", *arguments, "--device", "cpu"])
    assert done.exit_code == code, done.output
    return done


def test_ids_of_the_first_frame_go_through_the_video(folder, model):
    prompts = ["--masks", "first.png", "--box", "1=5,5,30,40", "--point", "2=20,30"]
    done = track("frames", *prompts, "--model", model, "-o", "out.gif", "--ids-dir", "ids", "--json", "--quiet")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert [each["id"] for each in summary["objects"]] == [3, 7, 8, 9] and summary["num_frames"] == 3
    ids = [np.asarray(Image.open(folder / "ids" / f"{index:05d}.png")) for index in range(3)]
    assert all(set(np.unique(each)) <= {0, 3, 7, 8, 9} for each in ids)
    inside = FIRST > 0  # what came later takes no pixel of the given masks
    np.testing.assert_array_equal(ids[0][inside], FIRST[inside])
    counted = [sum(bool((each == row["id"]).any()) for each in ids) for row in summary["objects"]]
    assert counted == [row["frames_with_mask"] for row in summary["objects"]]
    drawn = load_video(folder / "out.gif")
    assert len(drawn) == 3 and (drawn.frames[0] != CLIP.frames[0]).any()


def test_forward_alone_starts_at_the_prompt(folder, model):
    options = ["--masks", "1=first.png", "--no-backward", "--ids-dir", "ids", "--reference", "previous"]
    done = track("frames", *options, "--model", model)
    assert "2/3" in done.stdout and "frames_tracked.mp4" in done.stdout
    ids = [np.asarray(Image.open(folder / "ids" / f"{index:05d}.png")) for index in range(3)]
    assert not ids[0].any()
    np.testing.assert_array_equal(ids[1], FIRST)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing says which object to follow"),
        (["--masks", "3=first.png"], "there is no frame 3: the video has 3"),
        (["--masks", "none.png"], "none.png"),
        (["--box", "1=2,3"], "write X0,Y0,X1,Y1"),
        (["--masks", "first.png", "-o", "out.png"], "is no name of an overlay"),
        (["--masks", "first.png", "--reference", "last"], "reference must be one of"),
    ],
)
def test_one_line_about_what_is_wrong(folder, model, arguments, message):
    done = track("frames", *arguments, "--model", model, "--quiet", code=2)
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_model_that_follows_no_prompts_is_refused(folder):
    assert "use a GLEE model" in track("frames", "--masks", "first.png", "--model", "glus-tiny", code=2).stderr
