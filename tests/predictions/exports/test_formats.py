"""Every format, read back by the tools that it is for, mask by mask."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.errors import UserError
from glus_hf.media.rle import decode_rle
from glus_hf.predictions.exports.formats import FORMATS, export_masks, find_formats
from glus_hf.predictions.exports.video_masks import masks_of_results
from tests.predictions.exports.hard_masks import LABELS, apart_masks, overlapping_masks, results_of, video_of


def export(folder, name, masks, **options):
    (path,) = export_masks(video_of(masks, **options), name, folder / "out")
    return path


def read_rle(track, size):
    return np.stack([decode_rle(rle, size) for rle in track])


def test_rle_lines(tmp_path):
    masks = overlapping_masks()
    text = (export(tmp_path, "rle-jsonl", masks) / "masks.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["expression"] for line in lines] == LABELS
    for line, mask in zip(lines, masks, strict=True):
        np.testing.assert_array_equal(read_rle(line["masks"], line["size"]), mask)
        assert line["video"] == "clips/one" and line["fps"] == 8 and line["frames"][-1] == "00004"
        assert line["scores"] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9], abs=1e-5)
    assert lines[3]["masks"] == [None] * 5


def test_coco_video(tmp_path):
    masks = overlapping_masks()
    folder = export(tmp_path, "youtube-vis", masks)
    content = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    (video,) = content["videos"]
    assert (video["width"], video["height"], video["length"], video["fps"]) == (53, 37, 5, 8)
    assert all(Image.open(folder / "JPEGImages" / name).size == (53, 37) for name in video["file_names"])
    for annotation, mask in zip(content["annotations"], masks, strict=True):
        np.testing.assert_array_equal(read_rle(annotation["segmentations"], (37, 53)), mask)
        assert [area or 0 for area in annotation["areas"]] == mask.sum(axis=(1, 2)).tolist()
    assert content["annotations"][0]["bboxes"][1] == [0, 0, 53, 37]
    assert [category["name"] for category in content["categories"]] == LABELS


def test_coco_is_read_by_pycocotools(tmp_path):
    masks = overlapping_masks()
    folder = export(tmp_path, "fiftyone", masks)
    coco = COCO(folder / "labels.json")
    labels = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert len(coco.imgs) == 5 and (folder / "data" / coco.imgs[1]["file_name"]).is_file()
    found = np.zeros_like(masks)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        index = LABELS.index(labels[annotation["category_id"]])
        frame = coco.imgs[annotation["image_id"]]["frame_index"]
        found[index, frame] = coco.annToMask(annotation)
        left, top, width, height = annotation["bbox"]
        assert (
            found[index, frame, int(top) : int(top + height), int(left) : int(left + width)].sum()
            == annotation["area"]
        )
    np.testing.assert_array_equal(found, masks)


def test_davis_keeps_masks_that_are_apart(tmp_path, caplog):
    masks = apart_masks()
    folder = export(tmp_path, "davis", masks)
    for frame in range(5):
        image = Image.open(folder / "Annotations" / "clips/one" / f"{frame:05d}.png")
        assert image.mode == "P" and image.getpalette()[3:6] == [128, 0, 0]
        for index, mask in enumerate(masks):
            np.testing.assert_array_equal(np.asarray(image) == index + 1, mask[frame])
    assert not caplog.records
    assert json.loads((folder / "expressions.json").read_text(encoding="utf-8"))["clips/one"]["2"] == LABELS[1]


def test_davis_gives_shared_pixels_to_the_smaller_mask_and_says_so(tmp_path, caplog):
    masks = np.zeros((2, 2, 37, 53), dtype=bool)
    masks[0, 1, 5:15, 5:15] = masks[1, 1, 10:12, 10:40] = True  # 100 and 60 pixels
    folder = export(tmp_path, "davis", masks, frames=None)
    ids = np.asarray(Image.open(folder / "Annotations" / "clips/one" / "00001.png"))
    np.testing.assert_array_equal(ids == 2, masks[1, 1])
    np.testing.assert_array_equal(ids == 1, masks[0, 1] & ~masks[1, 1])
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 1 and "10 pixels are in several masks (first in frame 00001)" in logged[0]


def test_davis_refuses_more_expressions_than_a_pixel_can_name(tmp_path):
    masks = np.zeros((1, 1, 2, 2), dtype=bool)
    results = [{"label": str(number), "masks": masks[0], "scores": np.zeros(1)} for number in range(255)]
    with pytest.raises(UserError, match="holds 254 expressions per video, not 255"):
        export_masks(masks_of_results(results), "davis", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_png_is_own_data(tmp_path):
    masks = overlapping_masks()
    folder = export(tmp_path, "png", masks)
    assert sorted(np.unique(np.asarray(Image.open(folder / "masks/clips/one/0/00000.png")))) == [0, 255]
    rows = load_referring_dataset("own", folder, cache_dir=tmp_path / "cache")
    assert list(rows["expression"]) == LABELS
    for row, mask in zip(rows, masks, strict=True):
        np.testing.assert_array_equal(read_rle(row["masks"], (37, 53)), mask)


def test_several_formats_and_videos_go_into_one_folder(tmp_path):
    videos = [video_of(apart_masks(), video=name) for name in ("a", "b")]
    folders = export_masks(videos, [*FORMATS, "youtube-vis"], tmp_path / "out")
    assert sorted(folder.name for folder in folders) == sorted(FORMATS)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FORMATS)
    for inside in ("davis/Annotations/b/00004.png", "cvat/b/annotations.xml", "yolo/labels/train/b/00000.txt"):
        assert (tmp_path / "out" / inside).is_file()


@pytest.mark.parametrize("name", ["../up", "/abs", "a/../b", "", "."])
def test_names_of_videos_stay_in_the_folder(tmp_path, name):
    with pytest.raises(UserError, match="cannot become a folder"):
        export_masks(video_of(apart_masks(), video=name), "davis", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match="--format 'davos' is unknown; use coco-video, "):
        find_formats("davis,davos")
    with pytest.raises(UserError, match="no masks"):
        export_masks([], "davis", tmp_path / "out")
    with pytest.raises(UserError, match="one shape"):
        masks_of_results([*results_of(apart_masks()), {"label": "x", "masks": np.zeros((1, 2, 3), dtype=bool)}])
    with pytest.raises(UserError, match="5 frames but 1 names"):
        masks_of_results(results_of(apart_masks()), frame_names=["0"])
