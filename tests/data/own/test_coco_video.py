import json
import os

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from glus_hf.data.frames import read_frame
from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.data.own.check import check_own_data
from glus_hf.data.own.coco_video import convert_coco_video
from glus_hf.media.rle import decode_rle
from glus_hf.predictions.exports.formats import export_masks
from tests.data.own.coco_files import CLIP, POLYGON, youtube_vis
from tests.predictions.exports.hard_masks import LABELS, overlapping_masks, video_of


def convert(folder, **options):
    return convert_coco_video(folder / "instances.json", folder / "JPEGImages", folder / "own", **options)


def test_convert_and_load(tmp_path):
    youtube_vis(tmp_path)
    assert convert(tmp_path) == {"videos": 2, "expressions": 4, "frames": 8, "empty_videos": 1}
    report = check_own_data(tmp_path / "own")
    assert (report.errors, report.warnings) == ([], [])
    rows = list(load_referring_dataset("own", tmp_path / "own", cache_dir=tmp_path / "cache"))
    assert [(row["video_id"], row["expression"], row["object_ids"]) for row in rows] == [
        ("a1", "the giant panda", ["11", "12"]),
        ("a1", "the dog", ["13"]),
        ("b2", "the dog that Größe", ["14"]),
        ("b2", "the first", ["14", "15"]),
    ]
    assert rows[0]["frames"] == ["00000", "00005", "00010", "00015"]
    np.testing.assert_array_equal(read_frame(rows[2]["frame_paths"][3]), CLIP.frames[3])
    both = CLIP.masks[0] | CLIP.masks[1]
    for row, expected in ((rows[0], both), (rows[2], CLIP.masks[0]), (rows[3], both)):
        for rle, mask in zip(row["masks"], expected, strict=True):
            np.testing.assert_array_equal(decode_rle(rle, (64, 64)), mask)


def test_polygons(tmp_path):
    youtube_vis(tmp_path)
    convert(tmp_path)
    row = load_referring_dataset("own", tmp_path / "own", cache_dir=tmp_path / "cache")[1]
    assert [rle is None for rle in row["masks"]] == [False, True, True, False]
    mask = decode_rle(row["masks"][0], (64, 64))
    image = Image.new("1", (64, 64))
    ImageDraw.Draw(image).polygon(POLYGON, fill=1)
    drawn = np.asarray(image)
    assert (mask & drawn).sum() / (mask | drawn).sum() > 0.9  # Pillow counts the outline in
    expected = coco_mask.decode(coco_mask.frPyObjects([POLYGON], 64, 64))[..., 0]
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(decode_rle(row["masks"][3], (64, 64)), mask)


@pytest.mark.parametrize("copy", [False, True])
def test_frames_are_linked_or_copied(tmp_path, copy):
    youtube_vis(tmp_path)
    convert(tmp_path, copy=copy)
    files = sorted((tmp_path / "own" / "videos").rglob("*.png"))
    assert len(files) == 8 and all(file.is_symlink() != copy for file in files)


def test_names_that_do_not_fit(tmp_path):
    """Frames out of order get numbers; videos that share a folder get their ids."""
    content = youtube_vis(tmp_path)
    content["videos"][0]["file_names"].reverse()
    content["videos"][1]["file_names"] = [f"a1/{5 * index:05d}.png" for index in range(4)]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    convert(tmp_path)
    rows = load_referring_dataset("own", tmp_path / "own", cache_dir=tmp_path / "cache")
    assert [row["video_id"] for row in rows] == ["1", "1", "2", "2"]
    assert rows[0]["frames"] == ["00000", "00001", "00002", "00003"]
    assert rows[2]["frames"] == ["00000", "00005", "00010", "00015"]
    np.testing.assert_array_equal(read_frame(rows[0]["frame_paths"][0]), CLIP.frames[3])


def test_ids_do_not_lead_out_of_the_output(tmp_path):
    content = youtube_vis(tmp_path)
    for video, name in zip(content["videos"], ("../../out", "2"), strict=False):
        for item in content["annotations"]:
            item["video_id"] = name if item["video_id"] == video["id"] else item["video_id"]
        video["id"], video["file_names"] = name, content["videos"][0]["file_names"]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="video '../../out' is not a plain name"):
        convert(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["JPEGImages", "instances.json"]


def test_files_in_one_folder(tmp_path):
    content = youtube_vis(tmp_path)
    content["videos"], content["annotations"] = content["videos"][:1], content["annotations"][:1]
    content["videos"][0]["file_names"] = [f"{5 * index:05d}.png" for index in range(4)]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    convert_coco_video(tmp_path / "instances.json", tmp_path / "JPEGImages" / "a1", tmp_path / "own")
    assert os.listdir(tmp_path / "own" / "videos") == ["1"]


def change(path, value):
    """A change of one entry of the JSON file."""

    def apply(content):
        *keys, last = path
        for key in keys:
            content = content[key]
        content[last] = value

    return apply


DAMAGES = [
    (change(["annotations"], None), "has no list 'annotations'"),
    (change(["videos"], [3]), "has no list 'videos'"),
    (change(["annotations"], []), "no video has annotations"),
    (change(["annotations", 0, "video_id"], 9), "video_id 9"),
    (change(["annotations", 0, "video_id"], []), r"video_id \[\]"),
    (change(["annotations", 0, "id"], 12), "two annotations have the id 12"),
    (change(["videos", 0, "id"], 2), "two videos have the id 2"),
    (change(["videos", 0, "id"], None), "id None in videos"),
    (change(["videos", 0, "file_names"], []), "video 1: has no 'file_names'"),
    (change(["videos", 0, "file_names", 0], "../a1/00000.png"), "not a plain name"),
    (change(["videos", 0, "file_names", 3], "a1/00099.png"), "00099.png: no such frame of video 1"),
    (change(["videos", 0, "height"], 0), "video 1: has no 'height' and 'width'"),
    (change(["videos", 0, "height"], 32), r"00000.png: is \[64, 64\] .*, but video 1 is \[32, 64\]"),
    (change(["annotations", 0, "segmentations", 1], {"size": [32, 64], "counts": "0"}), "annotation 11, mask 1: is"),
    (change(["annotations", 0, "id"], "../11"), "annotation '../11' is not a plain name"),
    (change(["annotations", 0, "id"], "12"), "two annotations have the id 12"),
    (change(["annotations", 0, "segmentations"], []), "annotation 11 has 0 masks but its video has 4 frames"),
    (change(["annotations", 0, "segmentations"], None), "annotation 11 is a NoneType"),
    (change(["annotations", 0, "segmentations", 1], {"size": [64, 64], "counts": "0"}), "annotation 11, mask 1"),
    (change(["annotations", 2, "segmentations", 0], [[1, 2, 3, 4]]), "annotation 13, frame 0: a polygon"),
    (change(["annotations", 2, "segmentations", 0], [3]), "annotation 13, frame 0: a polygon"),
    *[
        (change(["annotations", 2, "segmentations", 0], [[0, 0, 9, 0, 9, far]]), "annotation 13, frame 0: .* outside")
        for far in (float("nan"), float("inf"), -1e9, 10**400)
    ],
    *[
        (change(["categories"], categories), "has no list 'categories'")
        for categories in (None, {"1": "dog"}, ["dog"])
    ],
    (change(["categories", 0, "id"], []), r"id \[\] in categories"),
    (change(["annotations", 0, "category_id"], []), "annotation 11: has no 'expression', no 'caption'"),
    (change(["annotations", 0, "category_id"], 7), "annotation 11: has no 'expression', no 'caption'"),
    (change(["annotations", 3, "expression"], ["a", " "]), "annotation 14: the expression ' '"),
]


@pytest.mark.parametrize("damage, words", DAMAGES, ids=range(len(DAMAGES)))
def test_malformed_files_leave_nothing_behind(tmp_path, damage, words):
    content = youtube_vis(tmp_path)
    damage(content)
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as error:
        convert(tmp_path)
    assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["JPEGImages", "instances.json"]


def test_no_json_and_no_file(tmp_path):
    (tmp_path / "instances.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        convert(tmp_path)
    (tmp_path / "instances.json").unlink()
    with pytest.raises(ValueError, match="no such file"):
        convert(tmp_path)


def test_existing_output_stays(tmp_path):
    youtube_vis(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "precious").touch()
    with pytest.raises(ValueError, match="exists already"):
        convert(tmp_path)
    assert os.listdir(tmp_path / "own") == ["precious"]


def test_our_own_export_comes_back(tmp_path):
    masks = overlapping_masks()
    (folder,) = export_masks(video_of(masks), "coco-video", tmp_path / "out")
    counts = convert_coco_video(folder / "instances.json", folder / "JPEGImages", tmp_path / "own")
    assert counts == {"videos": 1, "expressions": 4, "frames": 5, "empty_videos": 0}
    rows = list(load_referring_dataset("own", tmp_path / "own", cache_dir=tmp_path / "cache"))
    assert [row["expression"] for row in rows] == LABELS
    for row, mask in zip(rows, masks, strict=True):
        np.testing.assert_array_equal([decode_rle(rle, (37, 53)) for rle in row["masks"]], mask)
