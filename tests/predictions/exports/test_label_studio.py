import json
from xml.etree import ElementTree

import numpy as np
import pytest

from glus_hf.predictions.exports.formats import export_masks
from glus_hf.predictions.exports.label_studio import brush_rle
from tests.predictions.exports.hard_masks import LABELS, overlapping_masks, video_of


def unpack(data):
    """Values of the packed bits, read as the format is described: a run repeats a value."""
    bits, at = "".join(f"{byte:08b}" for byte in data), 57

    def take(count):
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    number, values = int(bits[:32], 2), []
    assert int(bits[32:37], 2) == 7
    sizes = [int(bits[37 + 4 * index : 41 + 4 * index], 2) + 1 for index in range(4)]
    at = 53
    while len(values) < number:
        repeated, length = take(1), take(sizes[take(2)]) + 1
        assert repeated
        values += [take(8)] * length
    return np.array(values)


def tasks_of(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    return export_masks(video_of(overlapping_masks()), "label-studio", tmp_path / "out")[0]


def test_masks_per_frame(folder):
    masks, found = overlapping_masks(), np.zeros((4, 5, 37, 53), dtype=bool)
    for task in tasks_of(folder, "frame_tasks.json"):
        assert (folder / task["data"]["image"].partition("?d=")[2]).is_file()
        for region in task["predictions"][0]["result"]:
            assert (region["original_height"], region["original_width"]) == (37, 53)
            pixels = unpack(region["value"]["rle"]).reshape(37, 53, 4)
            assert set(np.unique(pixels)) <= {0, 255}
            found[LABELS.index(region["value"]["brushlabels"][0]), task["data"]["frame"]] = pixels[..., 3] > 0
    np.testing.assert_array_equal(found, masks)


@pytest.mark.parametrize("module", ["label_studio_sdk.converter.brush", "label_studio_converter.brush"])
def test_label_studio_unpacks_the_masks(module):
    decode = pytest.importorskip(module).decode_rle
    large = np.zeros((300, 400), dtype=bool)  # runs longer than 2 ** 16 values
    large[250:, 10:390] = True
    for mask in (overlapping_masks()[0, 0], np.ones((9, 7), dtype=bool), large):
        pixels = decode(brush_rle(mask)).reshape(*mask.shape, 4)
        np.testing.assert_array_equal(pixels[..., 3] > 0, mask)


def test_boxes_of_the_video(folder):
    (task,) = tasks_of(folder, "video_tasks.json")
    ring, dog, _ = task["predictions"][0]["result"]  # none for the expression without a mask
    assert dog["value"]["labels"] == [LABELS[1]] and dog["value"]["framesCount"] == 5
    assert dog["value"]["duration"] == pytest.approx(5 / 8)
    assert [box["frame"] for box in dog["value"]["sequence"]] == [1, 2, 4, 5]  # from 1; absent on the third
    assert [box["enabled"] for box in dog["value"]["sequence"]] == [True, False, True, False]
    full = ring["value"]["sequence"][1]
    assert [full[key] for key in ("x", "y", "width", "height", "time")] == [0, 0, 100, 100, 0.125]


def test_interfaces_name_the_labels(folder):
    for name, tag in (("video", "Labels"), ("frame", "BrushLabels")):
        root = ElementTree.parse(folder / f"{name}_config.xml").getroot()
        assert [label.get("value") for label in root.find(tag)] == LABELS
