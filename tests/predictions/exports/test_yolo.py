import numpy as np
import pytest
import yaml
from scipy import ndimage

from glus_hf.predictions.exports.formats import export_masks
from glus_hf.predictions.exports.yolo import mask_to_polygon
from tests.predictions.exports.hard_masks import LABELS, overlapping_masks, video_of


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def filled(lines, size):
    """Masks of the lines, as YOLO's own loader fills them: whole pixels, OpenCV."""
    import cv2

    for line in lines:
        number, *values = line.split()
        points = (np.array(values, dtype=np.float32).reshape(-1, 2) * size[::-1]).astype(np.int32)
        mask = np.zeros(size, dtype=np.uint8)
        cv2.fillPoly(mask, [points], 1)
        yield int(number), mask.astype(bool)


def test_polygons_give_the_masks_back(tmp_path):
    masks = overlapping_masks()
    (folder,) = export_masks(video_of(masks), "yolo", tmp_path / "out")
    assert list(yaml.safe_load((folder / "data.yaml").read_text("utf-8"))["names"].values()) == LABELS
    assert (folder / "images" / "train" / "clips/one" / "00000.jpg").is_file()
    seen = 0
    for frame in range(5):
        lines = (folder / "labels" / "train" / "clips/one" / f"{frame:05d}.txt").read_text().splitlines()
        assert len(lines) == masks[:, frame].any(axis=(1, 2)).sum()
        for index, mask in filled(lines, (37, 53)):
            true = masks[index, frame]
            parts = ndimage.label(true, np.ones((3, 3)))[1]
            assert (mask & true).sum() == true.sum()  # nothing is lost
            assert (mask & ~true).sum() <= 53 * (parts - 1), (index, frame)  # parts are joined by a line
            seen += 1
    assert seen == masks.any(axis=(2, 3)).sum()


def test_parts_of_usual_size_cost_less_than_a_percent():
    mask = np.zeros((240, 427), dtype=bool)
    mask[40:140, 30:130] = mask[60:200, 160:300] = True
    (_, found), *_ = filled(
        [f"0 {' '.join(map(str, (mask_to_polygon(mask) / (427, 240)).ravel() + 1e-4))}"], (240, 427)
    )
    assert 0.99 < iou(found, mask) < 1


def test_a_ring_stays_a_ring():
    ring = np.zeros((40, 40), dtype=bool)
    ring[5:35, 5:35] = True
    ring[15:25, 15:25] = False
    points = mask_to_polygon(ring)
    assert len(points) < 20
    (_, mask), *_ = filled([f"0 {' '.join(map(str, ((points + 0.5) / 40).ravel()))}"], (40, 40))
    np.testing.assert_array_equal(mask, ring)


def test_supervision_reads_the_labels(tmp_path):
    supervision = pytest.importorskip("supervision")
    masks = overlapping_masks()[:1]  # one with a hole
    (folder,) = export_masks(video_of(masks, video="one"), "yolo", tmp_path / "out")
    dataset = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(folder / "images/train/one"),
        annotations_directory_path=str(folder / "labels/train/one"),
        data_yaml_path=str(folder / "data.yaml"),
    )
    assert dataset.classes == LABELS[:1]
    for path, _, detections in dataset:
        np.testing.assert_array_equal(detections.mask[0], masks[0, int(path[-9:-4])])


def test_ultralytics_reads_the_labels(tmp_path, monkeypatch):
    pytest.importorskip("ultralytics")
    verify = pytest.importorskip("ultralytics.data.utils").verify_image_label
    masks = overlapping_masks()
    (folder,) = export_masks(video_of(masks, video="one"), "yolo", tmp_path / "out")
    image, label = folder / "images/train/one/00001.jpg", folder / "labels/train/one/00001.txt"
    _, boxes, _, segments, *_, corrupt, message = verify((str(image), str(label), "", False, 4, 0, 0, False))
    assert corrupt == 0 and message in ("", None)
    assert boxes[:, 0].tolist() == [0, 1, 2] and len(segments) == 3
