"""Clips of tracked objects as training samples, and batches of them: ids, the contrastive loss, prompts."""

import numpy as np
import pytest
import torch

from glus_hf import ClipDataset, GLEECollator, InstanceDataset, ShortestEdgeAugmentation, UserError
from glus_hf.data.objects.load_objects import load_object_dataset
from glus_hf.media.rle import decode_rle
from tests.data.object_trees import make_tree
from tests.models.glee.small_glee import small_model, small_processor


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Eight frames each of three drawn clips."""
    cache = str(tmp_path_factory.mktemp("cache"))
    options = {"num_videos": 3, "num_frames": 8, "size": 64, "cache_dir": cache}
    return load_object_dataset("motion_shapes", split="test", **options)


@pytest.fixture
def collator():
    return GLEECollator(small_processor(short=64, long=96))


def times(sample):
    return [int(name.rpartition("/")[2]) for name in sample["frame_names"]]


# ---- samples


def test_frames_of_a_clip_are_near_each_other_and_of_one_video(rows):
    data = ClipDataset(rows, num_frames=3, frame_range=2)
    assert len(data) == len(rows) == 24
    seen = set()
    for index in range(len(data)):
        sample = data[index]
        key, found = rows[index], times(sample)
        assert len({name.rpartition("/")[0] for name in sample["frame_names"]}) == 1
        assert sample["frame_names"][0].startswith(key["video_id"])
        assert found == sorted(set(found)) and key["frame_idx"] in found
        assert max(abs(time - key["frame_idx"]) for time in found) <= 2
        seen.add(tuple(time - key["frame_idx"] for time in found))
    assert len(seen) > 3


def test_ids_are_those_of_the_tracks(rows):
    sample = ClipDataset(rows, num_frames=2, frame_range=7)[3]
    by_name = {row["image_id"]: row for row in rows}
    places = {}
    for frame, name in zip(sample["clip"], sample["frame_names"], strict=True):
        objects = by_name[name]["objects"]
        for number, each in zip(frame.object_ids, objects, strict=True):
            assert places.setdefault(number, each["track_id"]) == each["track_id"]
        np.testing.assert_array_equal(frame.masks[0], decode_rle(objects[0]["mask"], frame.size))


def test_with_prompts_the_frame_with_objects_comes_first(tmp_path):
    """Of the miniature of OVIS the second object is on the second frame alone."""
    rows = load_object_dataset("ovis", make_tree("ovis", tmp_path), "train", cache_dir=tmp_path / "cache")
    data = ClipDataset(rows, labels="objects", prompts=1.0)
    assert [data[index]["frame_names"] for index in range(2)] == [["5/0", "5/1"], ["5/1", "5/0"]]
    assert [frame.labels for frame in data[1]["clip"]] == [("object", "object"), ("object",)]
    named = ClipDataset(rows)
    assert [named[index]["frame_names"] for index in range(2)] == [["5/0", "5/1"]] * 2


def test_a_video_of_one_frame_is_repeated(rows):
    alone = rows.select([0])
    assert times(ClipDataset(alone, num_frames=3)[0]) == [0, 0, 0]


def test_samples_follow_from_seed_and_key(rows):
    first, again, other = (ClipDataset(rows, seed=seed, frame_range=7) for seed in (0, 0, 1))
    names = [[data[index]["frame_names"] for index in range(len(data))] for data in (first, again, other)]
    assert names[0] == names[1] != names[2]


def test_what_is_no_clip_is_one_line(rows, tmp_path):
    images = load_object_dataset("coco", make_tree("coco", tmp_path), "train", cache_dir=tmp_path / "cache")
    for make, message in (
        (lambda: ClipDataset(images), "coco has no videos"),
        (lambda: ClipDataset(rows, num_frames=1), "frames must be 2 or more"),
        (lambda: ClipDataset(rows, labels="expressions"), "no object has a text"),
        (lambda: InstanceDataset(rows, labels="expressions", prompts=0.5), "prompts go with names"),
        (lambda: InstanceDataset(rows, labels="objects", prompts=0.5, masks=False), "prompts need the masks"),
    ):
        with pytest.raises(UserError, match=message) as error:
            make()
        assert "\n" not in str(error.value)


# ---- batches


def test_a_batch_of_clips_teaches_what_is_the_same(rows, collator):
    data = ClipDataset(rows)
    batch = collator([data[0], data[9]])
    assert batch["clip_length"] == 2 and len(batch["pixel_values"]) == 4 and batch["task"] == "category"
    assert "prompt_masks" not in batch
    for target in batch["labels"]:
        assert len(target["instance_ids"]) == len(target["class_labels"]) > 0
    output = small_model().train()(**batch)
    assert output.losses["track_loss"] > 0 and "loss_conf" not in output.losses
    output.loss.backward()


def test_frames_of_a_clip_are_changed_alike(rows):
    """Both frames of a clip of one frame stay equal, whatever the augmentation."""
    augmentation = ShortestEdgeAugmentation((48, 56, 64, 72), crop_short_sides=(), crop_range=(20, 50))
    collator, data = GLEECollator(small_processor(), augmentation), ClipDataset(rows.select([4]))
    seen = set()
    for epoch in range(6):
        data.set_epoch(epoch)
        first, second = collator([data[0]])["pixel_values"]
        assert torch.equal(first, second)
        seen.add(float(first.sum()))
    assert len(seen) > 3


def test_prompts_mean_one_object_on_all_frames(rows, collator):
    data = ClipDataset(rows, labels="objects", prompts=1.0)
    batch = collator([data[0], data[9], data[17]])
    assert batch["clip_length"] == 2 and batch["prompt_masks"].shape == (3, 64, 64)
    assert torch.equal(batch["input_ids"], collator.processor.tokenize(["object"])["input_ids"])
    assert "instance_ids" not in batch["labels"][0]
    for clip, kind in enumerate(batch["prompt_kinds"]):
        prompted = batch["labels"][2 * clip]
        assert prompted["class_labels"].tolist() == [0]
        inside = (batch["prompt_masks"][clip] & prompted["masks"][0]).sum()
        assert inside > 0 and (
            kind != "mask" or inside == prompted["masks"].sum() == batch["prompt_masks"][clip].sum()
        )
    output = small_model().train()(**batch)
    assert output.losses["loss_conf"] > 0 and "track_loss" not in output.losses
    output.loss.backward()


def test_prompts_of_images_have_the_share_and_kinds_that_are_asked_for(rows, collator):
    data = InstanceDataset(rows, labels="objects", prompts=0.4)
    kinds = []
    for index in range(300):
        batch = collator([data.sample(index % len(data), (7, index))])
        kinds += batch.get("prompt_kinds", [])
        assert "prompt_masks" not in batch or len(batch["labels"][0]["class_labels"]) == 1
    assert 90 <= len(kinds) <= 150  # of 300, 0.4
    parts = [kinds.count(kind) / len(kinds) for kind in ("mask", "point", "box")]
    np.testing.assert_allclose(parts, (0.6, 0.32, 0.08), atol=0.13)


def test_a_batch_whose_object_was_cut_away_has_no_prompt(rows, collator):
    def empty(image, rng):
        return image.cropped(0, 0, *image.size).only(-1, "object")

    sample = ClipDataset(rows, labels="objects", prompts=1.0)[0]
    batch = GLEECollator(small_processor(short=64, long=96), empty)([sample])
    assert "prompt_masks" not in batch and batch["clip_length"] == 2
    assert small_model().train()(**batch).loss.isfinite()
