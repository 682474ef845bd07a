"""`glus-hf export-masks`, and the way back with `glus-hf data convert-*`."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from glus_hf.cli.main import app
from glus_hf.media.mask_png import save_mask_png
from glus_hf.media.rle import decode_rle
from glus_hf.media.video import write_video
from glus_hf.predictions.exports.mask_folders import read_mask_folder, write_note
from tests.predictions.exports.hard_masks import LABELS, apart_masks, overlapping_masks, write_video_folder


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def write_masks(folder, masks):
    """As `segment --masks-dir` does."""
    for index, track in enumerate(masks):
        for frame, mask in enumerate(track):
            save_mask_png(folder / str(index) / f"{frame:05d}.png", mask)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_masks(tmp_path / "masks", overlapping_masks())
    write_note(tmp_path / "masks", "park", 8.0, LABELS)
    return tmp_path


def test_masks_of_segment_are_read_with_their_expressions(folder):
    (video,) = read_mask_folder(folder / "masks")
    assert (video.video, video.fps, video.labels, video.size) == ("park", 8.0, LABELS, (37, 53))
    for index, track in enumerate(overlapping_masks()):
        for frame, mask in enumerate(track):
            np.testing.assert_array_equal(video.mask(index, frame), mask)


def test_export_and_back(folder):
    for track in (folder / "masks").glob("[0-9]"):
        for file in track.iterdir():
            mask = apart_masks()[int(track.name), int(file.stem)]
            save_mask_png(file, mask)
    write_video_folder(folder / "films" / "park")
    formats = ["--format", "davis,coco-video,cvat,png", "--video", "films/park"]
    code, out, err = invoke("export-masks", "masks", *formats, "-o", "out")
    assert (code, err) == (0, "") and out.splitlines()[0] == "davis: out/davis"
    backs = [
        ["convert-davis", "--masks", "out/davis/Annotations", "--frames", "films"],
        ["convert-coco", "--annotations", "out/coco-video/instances.json", "--frames", "films"],
        ["convert-cvat", "--annotations", "out/cvat/park/annotations.xml", "--video", "films/park"],
    ]
    for number, back in enumerate(backs):
        code, out, err = invoke("data", *back, "-o", f"own{number}", "--json", "--quiet")
        assert code == 0, err
        assert json.loads(out)["frames"] == 5 and (folder / f"own{number}" / "videos/park/00000.png").is_symlink()
        for line in (folder / f"own{number}" / "expressions.jsonl").read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            expected = apart_masks()[LABELS.index(entry["expression"])]
            for rle, mask in zip(entry["objects"][0]["masks"], expected, strict=True):
                np.testing.assert_array_equal(decode_rle(rle, (37, 53)), mask)
        code, _, err = invoke("data", *back, "-o", f"own{number}", "--quiet")
        assert code == 2 and "use --overwrite" in err
        assert invoke("data", *back, "-o", f"own{number}", "--quiet", "--overwrite")[0] == 0


def test_the_output_of_an_earlier_export_is_replaced_only_with_overwrite(folder):
    arguments = ["export-masks", "masks", "--format", "rle-jsonl", "-o", "out"]
    assert invoke(*arguments)[0] == 0
    code, _, err = invoke(*arguments)
    assert code == 2 and "out: exists already, from an earlier run; use --overwrite" in err
    assert invoke(*arguments, "--overwrite")[0] == 0
    (folder / "out" / "precious").touch()
    code, _, err = invoke(*arguments, "--overwrite")
    assert code == 2 and "holds precious" in err and (folder / "out" / "precious").exists()


def test_frames_of_a_video_file_are_exported(folder):
    write_video(folder / "clip.mp4", np.zeros((5, 36, 52, 3), dtype=np.uint8), fps=8)
    write_masks(folder / "even", overlapping_masks()[:1, :, :36, :52])
    arguments = ["even", "--format", "yolo", "--video", "clip.mp4", "--with-frames", "-o", "out", "--json"]
    code, out, err = invoke("export-masks", *arguments)
    assert code == 0, err
    assert json.loads(out) == {"formats": {"yolo": "out/yolo"}, "videos": 1, "expressions": 1}
    assert len(list((folder / "out/yolo/images/train/even").glob("*.jpg"))) == 5


def test_masks_of_the_start_of_a_video_go_with_its_first_frames(folder):
    write_video(folder / "clip.mp4", np.zeros((7, 36, 52, 3), dtype=np.uint8), fps=8)
    write_masks(folder / "even", overlapping_masks()[:1, :, :36, :52])  # of 5 frames
    arguments = ["even", "--format", "yolo,coco", "--video", "clip.mp4", "--with-frames", "-o", "out"]
    code, _, err = invoke("export-masks", *arguments)
    assert (code, err) == (0, "")
    for images in ("yolo/images/train/even", "coco/data/even"):
        assert len(list((folder / "out" / images).glob("*.jpg"))) == 5


def test_a_tree_of_several_videos(folder):
    for name in ("a", "b/c"):
        write_masks(folder / "tree" / "Annotations" / name, overlapping_masks()[:2])
    (folder / "tree" / ".glus_hf" / "partial" / "x").mkdir(parents=True)
    Image.new("L", (4, 4)).save(folder / "tree/.glus_hf/partial/x/00000.png")
    (folder / "texts.json").write_text(json.dumps({"b/c": {"1": "the dog"}}))
    code, _, err = invoke("export-masks", "tree", "--format", "rle-jsonl", "--texts", "texts.json", "-o", "out")
    assert code == 0, err
    lines = [json.loads(line) for line in (folder / "out/rle-jsonl/masks.jsonl").read_text().splitlines()]
    assert [(line["video"], line["expression"]) for line in lines] == [
        ("a", "0"),
        ("a", "1"),
        ("b/c", "0"),
        ("b/c", "the dog"),
    ]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["masks", "-o", "out"], "--format is missing"),
        (["masks", "-o", "out", "--format", "gif"], "'gif' is unknown; use coco-video"),
        (["none", "-o", "out", "--format", "davis"], "none: no such folder of masks"),
        (["empty", "-o", "out", "--format", "davis"], "empty: has no masks"),
        (["masks", "-o", "masks/out", "--format", "davis"], "lies in masks, which is read"),
        (["masks", "-o", "full", "--format", "davis"], "full: exists already"),
        (["masks", "-o", "out", "--format", "davis", "--with-frames"], "--with-frames needs --video"),
        (["masks", "-o", "out", "--format", "davis", "--video", "none.mp4"], "none.mp4: no such file"),
        (["masks", "-o", "out", "--format", "davis", "--video", "short"], "short: has no frame 00003"),
        (["masks", "-o", "out", "--format", "davis", "--video", "small.mp4"], "small.mp4: is [8, 8]"),
        (["masks", "-o", "out", "--format", "davis", "--texts", "broken.json"], "broken.json: is not of the form"),
        (["gap", "-o", "out", "--format", "davis"], "every expression needs a mask of every frame"),
        (["damaged", "-o", "out", "--format", "davis"], "damaged/masks.json: is damaged"),
    ],
)
def test_errors_are_one_line(folder, arguments, words):
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "precious").touch()
    short = write_video_folder(folder / "short")
    for number in (3, 4):
        os.unlink(short / f"0000{number}.png")
    write_video(folder / "small.mp4", np.zeros((5, 8, 8, 3), dtype=np.uint8))
    (folder / "broken.json").write_text('{"park": ["a"]}')
    for name in ("gap", "damaged"):
        write_masks(folder / name, overlapping_masks()[:2, :2])
    (folder / "gap" / "1" / "00001.png").unlink()
    (folder / "damaged" / "masks.json").write_text('{"video": "x", "fps": "fast", "expressions": {}}')
    before = sorted(folder.rglob("*"))
    code, out, err = invoke("export-masks", *arguments)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("Error: ") and words in err
    assert sorted(folder.rglob("*")) == before
