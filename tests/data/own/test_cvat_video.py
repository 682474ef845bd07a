"""CVAT for video, into own data: mask by mask."""

import os

import numpy as np
import pytest

from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.data.own import cvat_video
from glus_hf.data.own.cvat_video import convert_cvat
from glus_hf.errors import UserError
from glus_hf.media.rle import decode_rle
from glus_hf.predictions.exports.formats import export_masks
from glus_hf.predictions.exports.video_masks import masks_of_results
from tests.predictions.exports.hard_masks import LABELS, overlapping_masks, results_of, write_video_folder


MASK = '<mask frame="{}" outside="{}" occluded="0" keyframe="1" rle="2, 3, 1" left="4" top="5" width="3" height="2"/>'


def rows_of(folder, cache):
    rows = list(load_referring_dataset("own", folder, cache_dir=cache))
    return {
        row["expression"]: np.stack([decode_rle(rle, (row["height"], row["width"])) for rle in row["masks"]])
        for row in rows
    }


def write_xml(folder, tracks, size="<width>53</width><height>37</height>"):
    path = folder / "annotations.xml"
    meta = f"<meta><task><original_size>{size}</original_size></task></meta>"
    path.write_text(f"<annotations><version>1.1</version>{meta}{tracks}</annotations>", encoding="utf-8")
    return path


def test_there_and_back(tmp_path):
    masks = overlapping_masks()
    results = results_of(masks)
    results[0]["label"] = long = "the ring " + "that turns " * 10 + "& rolls"
    (folder,) = export_masks(masks_of_results(results, "one"), "cvat", tmp_path / "out")
    video = write_video_folder(tmp_path / "one")
    counts = convert_cvat(folder / "one" / "annotations.xml", video, tmp_path / "own")
    assert counts == {"videos": 1, "expressions": 3, "frames": 5}
    found = rows_of(tmp_path / "own", tmp_path / "cache")
    assert list(found) == [long, *LABELS[1:3]]  # CVAT has no place for what is never seen
    for label, mask in zip(found, masks, strict=False):
        np.testing.assert_array_equal(found[label], mask)


def test_tracks_of_cvat(tmp_path):
    def track(label, group, frames):
        shapes = "".join(MASK.format(frame, outside) for frame, outside in frames)
        return f'<track id="0" label="{label}" group_id="{group}" source="manual">{shapes}</track>'

    tracks = track("dog", 1, [(0, 0), (1, 1)]) + track("dog", 1, [(2, 0)]) + track("dog", 2, [(3, 0)])
    box = '<track id="9" label="cat"><box frame="0" xtl="1" ytl="1" xbr="5" ybr="5" outside="0"/></track>'
    video = write_video_folder(tmp_path / "one")
    convert_cvat(write_xml(tmp_path, tracks + box), video, tmp_path / "own")
    rows = list(load_referring_dataset("own", tmp_path / "own", cache_dir=tmp_path / "cache"))
    assert [(row["expression"], row["object_ids"]) for row in rows] == [("dog", ["0", "1"])]
    assert [rle is None for rle in rows[0]["masks"]] == [False, True, False, False, True]
    mask = decode_rle(rows[0]["masks"][0], (37, 53))
    np.testing.assert_array_equal(mask[5:7, 4:7], [[False, False, True], [True, True, False]])
    assert mask.sum() == 3


def test_left_out_shapes_are_named(tmp_path, caplog):
    video = write_video_folder(tmp_path / "one")
    tracks = f'<track label="dog">{MASK.format(0, 0)}<polygon frame="1" points="1,1;2,2;1,2"/></track>'
    convert_cvat(write_xml(tmp_path, tracks), video, tmp_path / "own")
    assert [message for message in caplog.messages if "left out 1 polygon: only masks are converted" in message]


def changed(**fields):
    shape = MASK.format(0, 0)
    for name, value in fields.items():
        before, _, after = shape.partition(f'{name}="')
        shape = f'{before}{name}="{value}"{after.partition(chr(34))[2]}'
    return f'<track id="7" label="dog">{shape}</track>'


@pytest.mark.parametrize(
    "tracks, words",
    [
        ("", "has no masks"),
        (changed(frame=5), "track 7: has a mask in frame 5 of a video of 5 frames"),
        (changed(frame=-1), "track 7: has a mask in frame -1"),
        (changed(frame="x"), "needs frame, left, top"),
        (changed(left=51), "is not inside the video"),
        (changed(left=-1), "is not inside the video"),
        (changed(rle="2, 3"), "do not cover its 3 x 2 box"),
        (changed(rle="-1, 7"), "do not cover"),
        (changed(rle=""), "needs frame"),
        (changed(rle="9223372036854775807, 9223372036854775807, 8"), "do not cover"),
        (changed(rle="9" * 30), "needs frame"),
        (changed().replace("dog", " "), "has no label"),
        ('<image id="0"/>', "is CVAT for images"),
        ("<track>", "is not XML"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, tracks, words):
    video = write_video_folder(tmp_path / "one")
    with pytest.raises(UserError, match=words) as error:
        convert_cvat(write_xml(tmp_path, tracks), video, tmp_path / "own")
    assert "\n" not in str(error.value) and not (tmp_path / "own").exists()


def test_hostile_and_foreign_files(tmp_path):
    video = write_video_folder(tmp_path / "one")
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotations>&b;</annotations>'
    cases = [
        (bomb.encode(), "document type"),
        (f'<?xml version="1.0" encoding="utf-16"?>{bomb}'.encode("utf-16"), "is not UTF-8"),
        (b"<dataset/>", "starts with <dataset>"),
    ]
    for content, words in cases:
        (tmp_path / "a.xml").write_bytes(content)
        with pytest.raises(UserError, match=words):
            convert_cvat(tmp_path / "a.xml", video, tmp_path / "own")
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "zero.xml").symlink_to("/dev/zero")
    for name, words in (("pipe.xml", "is a named pipe"), ("zero.xml", "is a device"), (".", "is a folder")):
        with pytest.raises(UserError, match=words):
            convert_cvat(tmp_path / name, video, tmp_path / "own")
    with pytest.raises(UserError, match="no such file"):
        convert_cvat(tmp_path / "none.xml", video, tmp_path / "own")
    small = write_xml(tmp_path, changed(), size="<width>8</width><height>8</height>")
    with pytest.raises(UserError, match=r"is \[8, 8\]"):
        convert_cvat(small, video, tmp_path / "own")
    with pytest.raises(UserError, match="no such video"):
        convert_cvat(write_xml(tmp_path, changed()), tmp_path / "none.mp4", tmp_path / "own")


def test_a_file_of_many_elements(tmp_path, monkeypatch):
    """A small file would take much memory."""
    video = write_video_folder(tmp_path / "one")
    monkeypatch.setattr(cvat_video, "MAX_PARTS", 20)
    with pytest.raises(UserError, match="more than 20 elements and attributes"):
        convert_cvat(write_xml(tmp_path, changed()), video, tmp_path / "own")


def test_a_size_of_thousands_of_digits_says_nothing(tmp_path):
    video = write_video_folder(tmp_path / "one")
    file = write_xml(tmp_path, changed(), size=f"<width>{'9' * 5000}</width><height>8</height>")
    assert convert_cvat(file, video, tmp_path / "own")["expressions"] == 1
