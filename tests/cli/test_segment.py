"""`glus-hf segment` as a user runs it: a process, a real mp4."""

import contextlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from glus_hf import GLUSImageProcessor, pipeline
from glus_hf.cli.main import app
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.rle import decode_rle
from glus_hf.media.video import load_video, write_video
from glus_hf.pipelines import factory
from glus_hf.pipelines.referring_video_segmentation import ReferringVideoSegmentationPipeline
from tests.cli.command import run, start
from tests.local_files import LocalFiles


CLIP = generate_clip(0, split="test", size=64, num_frames=5)


@pytest.fixture
def folder(tmp_path):
    write_video(tmp_path / "clip.mp4", CLIP.frames, fps=8)
    return tmp_path


def here(folder, *arguments):
    """Exit code, stdout and stderr of `glus-hf segment ARGUMENTS` in `folder`, without a process of its own."""
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, ["segment", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_segment(folder):
    texts = ["the red circle", "the [small] square moving left"]
    code, out, err = run(folder, "segment", "clip.mp4", *texts, "--masks-dir", "masks", "--key-frame", "2")
    assert code == 0, err
    assert texts[0] in out and texts[1] in out and "clip_segmented.mp4" in out
    assert "segmenting" in err
    overlay = load_video(folder / "clip_segmented.mp4")
    assert len(overlay) == 5 and overlay.fps == pytest.approx(8)
    files = sorted(str(path.relative_to(folder)) for path in folder.glob("masks/*/*"))
    assert files == [f"masks/{index}/{frame:05d}.png" for index in range(2) for frame in range(5)]
    mask = np.asarray(Image.open(folder / files[0]))
    assert mask.shape == (64, 64) and set(np.unique(mask)) <= {0, 255}


def test_segment_json_quiet_and_options(folder):
    options = ["-o", "sub/out.gif", "--max-frames", "3", "--dtype", "float32", "--device", "cpu", "--json", "--quiet"]
    code, out, err = here(folder, "clip.mp4", "the red circle", *options)
    assert code == 0 and err == ""
    summary = json.loads(out.splitlines()[-1])
    assert summary["num_frames"] == 3 and summary["output"] == "sub/out.gif"
    (expression,) = summary["expressions"]
    assert expression["label"] == "the red circle" and 0 <= expression["frames_with_mask"] <= 3
    assert (folder / "sub" / "out.gif").is_file()


def test_segment_writes_other_formats(folder, monkeypatch):
    monkeypatch.chdir(folder)
    options = ["--format", "rle-jsonl,davis,yolo", "--with-frames", "--masks-dir", "masks", "--json", "--quiet"]
    result = CliRunner().invoke(app, ["segment", "clip.mp4", "the red circle", "-o", "out.gif", *options])
    assert result.exit_code == 0, result.stderr
    formats = json.loads(result.stdout.splitlines()[-1])["formats"]
    assert formats == {name: f"clip_export/{name}" for name in ("rle-jsonl", "davis", "yolo")}
    (line,) = [json.loads(line) for line in (folder / "clip_export/rle-jsonl/masks.jsonl").read_text().splitlines()]
    assert line["expression"] == "the red circle" and line["fps"] == 8 and len(line["scores"]) == 5
    for frame, rle in enumerate(line["masks"]):
        saved = np.asarray(Image.open(folder / "masks" / "0" / f"{frame:05d}.png")) > 0
        np.testing.assert_array_equal(decode_rle(rle, (64, 64)), saved)
        numbers = np.asarray(Image.open(folder / "clip_export/davis/Annotations/clip" / f"{frame:05d}.png"))
        np.testing.assert_array_equal(numbers == 1, saved)
    assert len(list((folder / "clip_export/yolo/images/train/clip").glob("*.jpg"))) == 5
    assert json.loads((folder / "masks" / "masks.json").read_text())["expressions"] == {"0": "the red circle"}


def test_segment_an_address(folder):
    with LocalFiles({"/films/my%20clip.mp4": (folder / "clip.mp4").read_bytes()}) as server:
        url = f"{server.url}/films/my%20clip.mp4?token=secret"
        code, out, err = here(folder, url, "the red circle")
        assert code == 2 and "private address 127.0.0.1" in err and "secret" not in err and server.seen == []
        code, out, err = here(folder, url, "the red circle", "--allow-private-addresses")
    assert code == 0, err
    assert "downloading" in err
    assert len(load_video(folder / "my clip_segmented.mp4")) == 5


def test_segment_an_image(folder, monkeypatch):
    monkeypatch.chdir(folder)
    Image.fromarray(CLIP.frames[0]).save("photo.png")
    result = CliRunner().invoke(app, ["segment", "photo.png", "the red circle", "--masks-dir", "masks", "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout.splitlines()[-1])["num_frames"] == 1
    assert [str(path) for path in sorted(Path("masks").glob("*/*"))] == ["masks/0/00000.png"]


def test_threshold_batch_size_and_views(folder, monkeypatch):
    monkeypatch.chdir(folder)
    used, made = [], []
    views = GLUSImageProcessor.device_views
    monkeypatch.setattr(GLUSImageProcessor, "device_views", lambda *each: made.append(views(*each)) or made[-1])
    call = ReferringVideoSegmentationPipeline.__call__
    spy = lambda self, *arguments, **options: used.append(options) or call(self, *arguments, **options)
    monkeypatch.setattr(ReferringVideoSegmentationPipeline, "__call__", spy)
    base = ["segment", "clip.mp4", CLIP.expressions[0].text, "--json", "--overwrite", "-o", "out.mp4"]
    base += ["--views", "device", "--threshold"]
    found = {}
    for threshold in ("-3", "0", "1e6"):
        result = CliRunner().invoke(app, [*base, threshold, "--batch-size", "2"])
        assert result.exit_code == 0, result.stderr
        found[threshold] = json.loads(result.stdout.splitlines()[-1])["expressions"][0]["frames_with_mask"]
    assert found["1e6"] == 0 < found["0"] <= found["-3"]
    assert [options["batch_size"] for options in used] == [2, 2, 2]
    assert made and all(made)


def test_notes_about_expressions(folder):
    code, out, err = run(folder, "segment", "clip.mp4", "the dog", "the cat", "--json")
    assert code == 0
    dog, cat = json.loads(out.splitlines()[-1])["expressions"]
    assert dog["unknown_words"] == ["dog"] and cat["same_as"] == ["the dog"]
    assert err.count("does not know the word 'dog' in 'the dog'") == 1 and err.count("does not tell them apart") == 1
    code, out, err = here(folder, "clip.mp4", "the dog", "-o", "again.mp4", "--quiet")
    assert (code, out, err) == (0, "", "")


def test_segment_with_a_preset(folder, monkeypatch):
    used = []
    monkeypatch.setattr(factory, "pipeline", lambda **kwargs: used.append(pipeline(**kwargs)) or used[-1])
    arguments = ["segment", "clip.mp4", "the red circle", "-o", "out.gif", "--compat", "paper", "--quiet"]
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert used[0].model.config.seg_hidden_state == "penultimate"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["clip.mp4", "a dog", "--compat", "papers"], "unknown compat 'papers'"),
        (["no-such.mp4", "a dog"], "no such file"),
        (["notes.txt", "a dog"], "cannot be opened"),
        (["clip.mp4", " "], "empty"),
        (["clip.mp4", "a dog", "--model", "no-such-model"], "no such folder"),
        (["clip.mp4", "a dog", "--model", "."], "config.json"),
        (["clip.mp4", "a dog", "--model", "glus-7b"], "convert"),
        (["clip.mp4", "a dog", "--key-frame", "5"], "0..4"),
        (["clip.mp4", "a dog", "--key-frame", "9" * 5000], "counted from 0"),
        (["s3://bucket/clip.mp4", "a dog"], "s3://bucket/clip.mp4: is not opened"),
        (["https://127.0.0.1/clip.mp4", "a dog"], "https://127.0.0.1/clip.mp4: leads to the private address"),
        (["clip.mp4", "a dog", "--threshold", "nan"], "threshold must be a finite number"),
        (["clip.mp4", "a dog", "--model", "owner/name"], "HF_HUB_OFFLINE is set"),
        (["clip.mp4", "a dog", "--max-frames", "0"], "max_frames"),
        (["clip.mp4", "a dog", "--decode-limit", "file_bytes=1kB"], "more than the 1 kB of a video"),
        (["clip.mp4", "a dog", "--decode-limit", "frame_pixels=4095"], "more than the 4095"),
        (["clip.mp4", "a dog", "--decode-limit", "height=1"], "write NAME=VALUE, as memory=12GB"),
        (["clip.mp4", "a dog", "--decode-limit", "memory=0"], "memory must be a positive number"),
        (["clip.mp4", "a dog", "--device", "abacus"], "--device"),
        (["clip.mp4", "a dog", "--dtype", "int3"], "--dtype"),
        (["clip.mp4", "a dog", "-o", "out.avi"], ".avi"),
        (["clip.mp4", "a dog", "-o", "out"], "out: is no name of an overlay; let it end in .mp4"),
        (["clip.mp4", "a dog", "-o", "clip.mp4"], "the input"),
        (["clip.mp4", "a dog", "--format", "davos"], "'davos' is unknown"),
        (["clip.mp4", "a dog", "--with-frames"], "belong to --format"),
        (["clip.mp4", "a dog", "--format", "davis", "--export-dir", "notes.txt"], "notes.txt: is a file"),
    ],
    ids=lambda value: "-".join(value).replace(" ", "_") if isinstance(value, list) else "",
)
def test_errors_are_one_line(folder, arguments, words, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GLUS_HF_CACHE", str(folder / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (folder / "notes.txt").write_text("not a video")
    result = CliRunner().invoke(app, ["segment", *arguments])
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert result.exit_code == 2 and result.stdout == ""
    assert len(lines) == 1 and words in lines[0] and result.stderr.rstrip().endswith(lines[0])
    assert not list(folder.glob("*_segmented*"))


def test_an_error_of_the_process_is_one_line(folder):
    code, out, err = run(folder, "segment", "no-such.mp4", "a dog")
    assert (code, out) == (2, "")
    assert err == "Error: no-such.mp4: no such file or folder: check the path\n"


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_leaves_nothing_half_written(folder):
    write_video(folder / "long.mp4", np.concatenate([CLIP.frames] * 60), fps=8)
    process = start(folder, "segment", "long.mp4", "the red circle")
    shown = b""
    while shown.count(b"segmenting") < 2:  # what is there now: a progress bar ends no line; the first is half made
        shown += os.read(process.stderr.fileno(), 1000)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "long.mp4"]


def quick(folder, *arguments):
    """Exit code and stderr of a run in this process."""
    result = CliRunner().invoke(app, ["segment", *arguments, "--quiet"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """A folder "0" of frames, and nothing that works: whoever gets to the model fails."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").mkdir()
    for index, frame in enumerate(CLIP.frames):
        Image.fromarray(frame).save(tmp_path / "0" / f"{index:05d}.png")
    monkeypatch.setattr("glus_hf.cli.segment.load_pipeline", lambda *arguments: pytest.fail("the work began"))
    return tmp_path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--masks-dir", "."], ".: holds 0, which is read"),
        (["--masks-dir", "0"], "0: is the input itself"),
        (["--masks-dir", "0/new"], "0/new: lies in 0, which is read"),
        (["-o", "0/out.mp4"], "0/out.mp4: lies in 0, which is read"),
        (["-o", "/proc/x.mp4"], "/proc/x.mp4: cannot be written"),
        (["--masks-dir", "notes.txt"], "notes.txt: is a file; name a folder"),
        (["--masks-dir", "notes.txt/masks"], "notes.txt/masks: cannot be written"),
        (
            ["--masks-dir", "others", "--overwrite"],
            "others: exists already and holds 9/00000.png, which is not a run's",
        ),
        (["-o", "mine.mp4", "--overwrite"], "mine.mp4: exists already and is not a run's"),
        (["-o", "out.mp4", "--masks-dir", "out.mp4"], "out.mp4: is the place of two outputs"),
    ],
)
def test_outputs_are_refused_before_the_work(frames, options, words):
    (frames / "others" / "9").mkdir(parents=True)
    (frames / "others" / "9" / "00000.png").write_bytes(b"mine")
    (frames / "mine.mp4").write_bytes(b"mine")
    (frames / "notes.txt").touch()
    before = contents(frames)
    code, err = quick(frames, "0", "the red circle", *options)
    assert code == 2 and words in err and err.count("\n") == 1
    assert contents(frames) == before


def test_an_earlier_output_is_replaced_on_request_as_a_whole(folder, monkeypatch):
    monkeypatch.chdir(folder)
    arguments = ["clip.mp4", "the red circle", "--masks-dir", "masks"]
    assert quick(folder, *arguments, "a dog") == (0, "")
    before = contents(folder)
    code, err = quick(folder, *arguments)
    assert code == 2 and "clip_segmented.mp4: exists already, from an earlier run; use --overwrite" in err
    assert contents(folder) == before
    assert quick(folder, *arguments, "--max-frames", "3", "--overwrite") == (0, "")
    assert sorted(str(path) for path in (folder / "masks").rglob("*.png")) == [
        str(folder / "masks" / "0" / f"{frame:05d}.png") for frame in range(3)
    ]
    assert len(load_video(folder / "clip_segmented.mp4")) == 3


def test_two_inputs_with_one_default_output(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "other").mkdir()
    write_video(folder / "other" / "clip.mp4", CLIP.frames, fps=8)
    assert quick(folder, "clip.mp4", "the red circle")[0] == 0
    before = contents(folder)
    code, err = quick(folder, "other/clip.mp4", "the red circle")
    assert code == 2 and "clip_segmented.mp4: exists already" in err and contents(folder) == before


def test_a_name_that_is_not_utf8_is_said_before_the_work(frames):
    (frames / "0").rename(frames / os.fsdecode(b"caf\xe9"))
    code, err = quick(frames, os.fsdecode(b"caf\xe9"), "the red circle")
    assert code == 2 and r"b'caf\xe9_segmented.mp4': is no UTF-8 name; choose another output" in err


def test_control_characters_of_an_expression_are_not_printed(folder):
    code, out, err = here(folder, "clip.mp4", "the \x1b[31mred circle\x07")
    assert code == 0, err
    assert "\x1b[31m" not in out and "\x07" not in out and r"the \x1b[31mred circle\x07" in out


@pytest.mark.skipif(os.name == "nt", reason="kills")
@pytest.mark.slow
def test_a_killed_run_leaves_the_old_output_and_the_next_one_cleans_up(folder):
    write_video(folder / "long.mp4", np.concatenate([CLIP.frames] * 60), fps=8)
    assert run(folder, "segment", "clip.mp4", "a dog", "-o", "out.mp4", "--quiet")[0] == 0
    old = (folder / "out.mp4").read_bytes()
    process = start(folder, "segment", "long.mp4", "a dog", "-o", "out.mp4", "--overwrite")
    shown = b""
    while shown.count(b"segmenting") < 2:
        shown += os.read(process.stderr.fileno(), 1000)
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert (folder / "out.mp4").read_bytes() == old and list(folder.glob(".out.mp4-*.partial"))
    assert run(folder, "segment", "clip.mp4", "a dog", "-o", "out.mp4", "--quiet", "--overwrite")[0] == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == [".out.mp4.glus_hf.jsonl", "clip.mp4", "long.mp4", "out.mp4"]
