"""Objects followed through a video, as files of YouTube-VIS and TAO."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glus_hf.media.rle import decode_rle
from glus_hf.predictions.instance_tracks import InstanceTracks, without_overlaps


def frame(squares, boxes, cells):
    """A frame of three objects: sides of their squares in the corner, boxes, and places of the feature map."""
    logits = torch.full((3, 8, 10), -1.0)
    for row, side in enumerate(squares):
        logits[row, :side, :side] = 1
    return SimpleNamespace(
        object_ids=[1, 2, 3],
        labels=[1, 0, 1],
        scores=torch.tensor([0.9, 0.5, 0.25]),
        mask_logits=logits,
        boxes=torch.tensor(boxes, dtype=torch.float32),
        mask_cells=torch.tensor(cells),
    )


@pytest.fixture
def tracks():
    found = InstanceTracks(num_names=2)
    found.add(frame([2, 0, 4], [[0, 0, 4, 4], [0, 0, 3, 4], [5, 5, 9, 8]], [9, 6, 5]))
    found.add(frame([3, 1, 0], [[0, 0, 4, 4], [1, 3, 5, 7.5], [5, 5, 9, 8]], [6, 7, 8]))
    return found


def test_youtube_vis(tracks):
    results = tracks.youtube_vis(video_id=7, category_ids=[20, 30])
    assert [result["category_id"] for result in results] == [30, 20, 30]
    assert [result["score"] for result in results] == [0.9, 0.5, 0.25]
    assert all(result["video_id"] == 7 and len(result["segmentations"]) == 2 for result in results)
    assert results[1]["segmentations"][0] is None and results[2]["segmentations"][1] is None
    areas = [decode_rle(rle, (8, 10)).sum() for rle in results[0]["segmentations"]]
    assert areas == [4, 9]


def test_tao(tracks):
    """On the first frame the second box overlaps the first by 3/4, and the third has five places."""
    results = tracks.tao(video_id=2, image_ids=[40, 41])
    assert [(result["image_id"], result["track_id"], result["category_id"]) for result in results] == [
        (40, 100, 2),
        (41, 100, 2),
        (41, 101, 1),
        (41, 102, 2),
    ]
    assert results[2]["bbox"] == [1.0, 3.0, 4.0, 4.5] and results[2]["score"] == 0.5
    assert {result["image_id"] for result in tracks.tao(1)} == {1, 2}


def test_boxes_have_two_decimals():
    found = InstanceTracks(num_names=2)
    found.add(frame([2, 2, 2], [[0.1234, 0, 16.19, 4]] * 3, [9, 9, 9]))
    assert found.boxes[0] == [[0.12, 0.0, 16.19, 4.0]]


def test_tao_without_objects_and_with_too_many():
    assert InstanceTracks(num_names=1).tao(1, image_ids=[5, 6]) == []
    with pytest.raises(ValueError, match="51 objects, TAO takes 50; pass top_k=50"):
        InstanceTracks(num_names=1, object_ids=list(range(51)), masks=[[]] * 51).tao(1)


def test_ids_must_be_one_per_name(tracks):
    with pytest.raises(ValueError, match="2 names but 3 category_ids"):
        tracks.youtube_vis(1, category_ids=[1, 2, 3])


def test_a_suppressed_box_suppresses_none():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [0, 3, 10, 6.5], [20, 20, 30, 30]])
    assert without_overlaps(boxes, 0.5) == [0, 2, 3]  # the second would hide the third
    assert without_overlaps(np.zeros((0, 4)), 0.5) == []
