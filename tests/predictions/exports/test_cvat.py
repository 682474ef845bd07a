from xml.etree import ElementTree

import numpy as np
import pytest

from glus_hf.predictions.exports.cvat import label_names
from glus_hf.predictions.exports.formats import export_masks
from tests.predictions.exports.hard_masks import LABELS, overlapping_masks, video_of, write_video_folder


def test_masks_are_tracks_of_one_frame(tmp_path):
    masks = overlapping_masks()
    (folder,) = export_masks(video_of(masks), "cvat", tmp_path / "out")
    root = ElementTree.parse(folder / "clips/one" / "annotations.xml").getroot()
    tracks = root.findall("track")
    assert len(tracks) == masks.any(axis=(2, 3)).sum()
    for track in tracks:  # CVAT has no tracks of masks: it takes the first shape, and a second ends it
        first, *rest = track.findall("mask")
        assert first.get("outside") == "0" and [shape.get("outside") for shape in rest] in ([], ["1"])
        assert all(int(shape.get("frame")) == int(first.get("frame")) + 1 < 5 for shape in rest)
        assert LABELS[int(track.get("group_id")) - 1] == track.get("label")
    assert [label.text for label in root.findall(".//labels/label/name")] == LABELS


def test_long_expressions_get_labels_that_cvat_takes():
    names = label_names(["the dog " + "that jumps " * 10, "the dog " + "that jumps " * 11, "a cat", "a cat"])
    assert len(set(names)) == 4 and max(map(len, names)) == 64


def test_datumaro_reads_the_runs(tmp_path):
    base = pytest.importorskip("datumaro.plugins.data_formats.cvat.base")
    masks = overlapping_masks()[:3]
    (folder,) = export_masks(video_of(masks), "cvat", tmp_path / "out")
    root = ElementTree.parse(folder / "clips/one" / "annotations.xml").getroot()
    # it reads masks of images only: the same elements, moved there
    images = ElementTree.Element("annotations")
    images.append(root.find("meta"))
    for frame in range(5):
        about = {"id": str(frame), "name": f"{frame:05d}.png", "width": "53", "height": "37"}
        image = ElementTree.SubElement(images, "image", about)
        for track in root.findall("track"):
            shape = track.find("mask")
            if shape.get("frame") == str(frame):
                image.append(ElementTree.Element("mask", {**shape.attrib, "label": track.get("label")}))
    ElementTree.ElementTree(images).write(tmp_path / "images.xml")
    write_video_folder(tmp_path / "images")
    found = np.zeros_like(masks)
    for item in base.CvatBase(str(tmp_path / "images.xml")):
        for annotation in item.annotations:
            found[annotation.label, item.attributes["frame"]] |= annotation.image.astype(bool)
    np.testing.assert_array_equal(found, masks)
