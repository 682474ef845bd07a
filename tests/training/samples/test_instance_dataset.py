"""Images with objects as training samples, and batches of them: names, boxes, masks, expressions."""

import json

import numpy as np
import pytest
import torch

from glus_hf import GLEECollator, InstanceDataset, ReferringVideoDataset, ShortestEdgeAugmentation, UserError
from glus_hf.data.objects.load_objects import load_object_dataset, object_names
from glus_hf.errors import BrokenSampleError
from tests.data.coco_files import object_of, one_video, two_images, write_coco
from tests.evaluation.evaluation_data import shape_rows
from tests.models.glee.small_glee import small_model, small_processor


@pytest.fixture
def file(tmp_path):
    return two_images(tmp_path)


def dataset_of(file, images="images", **options):
    where = {"annotations": file.name, "images": images, "cache_dir": str(file.parent / "cache")}
    rows = load_object_dataset("coco_format", file.parent, "train", **where)
    return InstanceDataset(rows, object_names("coco_format", file.parent, "train", **where), **options)


@pytest.fixture
def collator():
    return GLEECollator(small_processor(short=64, long=96))


# ---- samples


def test_names_of_categories(file):
    data = dataset_of(file)
    assert len(data) == 2 and data.kinds == ["landscape", "portrait"]
    image = data[0]["image"]
    assert image.pixels.shape == (40, 60, 3) and image.labels == ("red dog", "cat") and image.expression is None
    assert image.vocabulary == ("red dog", "cat", "circle") and image.num_names is None
    assert image.boxes.tolist() == [[10, 5, 30, 25], [40, 10, 50, 30]]
    assert image.masks.shape == (2, 40, 60) and image.masks.sum((1, 2)).tolist() == [400, 200]
    assert data[1]["image"].masks is None  # a box alone
    assert dataset_of(file, masks=False)[0]["image"].masks is None


def test_descriptions_are_names(file):
    data = dataset_of(file, labels="descriptions", num_names=2)
    image = data[0]["image"]
    assert list(image.vocabulary) == ["the dog on the left", "a cat", "the cat", "the second dog"]
    assert image.num_names == 2
    assert image.labels[0] == "the dog on the left" and image.labels[1] in ("a cat", "the cat")
    assert image.mirrored().labels[0] == "the dog on the right"


def test_expressions_mean_one_object(file):
    data = dataset_of(file, labels="expressions")
    found = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        image = data[0]["image"]
        assert len(image.boxes) == len(image.masks) == 1 and image.labels == (image.expression,)
        assert (image.boxes[0, 0] == 10) == (image.expression == "the dog on the left")
        found.add(image.expression)
    assert found == {"the dog on the left", "a cat", "the cat"}


def test_texts_of_an_image_are_those_of_its_objects(tmp_path):
    annotations = [object_of(0, 3, (5, 5, 30, 30)), object_of(0, 7, (5, 5, 9, 9), caption="a cat")]
    file = write_coco(tmp_path / "train.json", tmp_path / "images", annotations, [(40, 60)])
    content = json.loads(file.read_text())
    content["images"][0]["expressions"] = ["the dog"]
    file.write_text(json.dumps(content))
    assert dataset_of(file, labels="descriptions")[0]["image"].labels == ("the dog", "a cat")


def test_names_of_the_objects_stand_for_those_of_the_dataset(file):
    rows = dataset_of(file).rows
    assert list(InstanceDataset(rows)[0]["image"].vocabulary) == ["red dog", "cat"]


def test_everything_is_an_object(file):
    image = dataset_of(file, labels="objects")[0]["image"]
    assert image.labels == ("object", "object") and image.vocabulary == ("object",)


def test_frames_of_videos(tmp_path):
    data = dataset_of(one_video(tmp_path), "frames")
    assert [data[index]["image"].labels for index in range(2)] == [("red dog",), ("red dog", "circle")]


def test_samples_follow_from_seed_epoch_and_index(file):
    def texts(seed, epoch):
        data = dataset_of(file, labels="expressions", seed=seed)
        data.set_epoch(epoch)
        return [data[0]["image"].expression for _ in range(3)]

    assert texts(0, 0) == texts(0, 0) and len(set(texts(0, 0))) == 1
    assert len({texts(0, epoch)[0] for epoch in range(8)}) > 1


def test_broken_images_are_named_or_skipped(file):
    (file.parent / "images" / "0.png").write_bytes(b"broken")
    with pytest.raises(BrokenSampleError, match="coco_format, 0: .*repair or remove it") as error:
        dataset_of(file)[0]
    assert "\n" not in str(error.value)
    data = dataset_of(file, on_error="skip")
    assert data[0]["frame_names"] == ["1"] and data.skipped[0]["sample"] == "coco_format, 0"


def test_options_and_files_that_do_not_go_together(file, tmp_path):
    with pytest.raises(UserError, match="labels is one of categories"):
        dataset_of(file, labels="names")
    with pytest.raises(UserError, match="num_names must be 1 or more"):
        dataset_of(file, num_names=0)
    (tmp_path / "v").mkdir()
    with pytest.raises(UserError, match="no object has a text"):
        dataset_of(one_video(tmp_path / "v"), "frames", labels="descriptions")
    with pytest.raises(UserError, match="prompts is a share of batches, 0 to 1, got 2"):
        dataset_of(file, prompts=2)


# ---- batches


def test_a_batch_of_names(file, collator):
    data = dataset_of(file)
    batch = collator([data[0], data[1]])
    assert batch["task"] == "category" and batch["pixel_values"].shape == (2, 3, 96, 96)
    names = ["red dog", "cat", "circle"]
    expected = collator.processor.tokenize(names)
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    wide, high = batch["labels"]
    assert wide["class_labels"].tolist() == [0, 1] and high["class_labels"].tolist() == [0]
    assert wide["masks"].shape == (2, 96, 96) and "masks" not in high
    # 40x60 becomes 64x96 in 96x96
    np.testing.assert_allclose(wide["boxes"][0], [1 / 3, 0.25, 1 / 3, 1 / 3], atol=0.02)
    np.testing.assert_allclose(high["boxes"][0], [0.25, 25 / 60, 1 / 3, 0.5], atol=0.02)


def test_a_batch_takes_other_names_at_random(file, collator):
    def names(num_names, epoch=0):
        data = dataset_of(file, num_names=num_names)
        data.set_epoch(epoch)
        batch = collator([data[1]])
        return batch["input_ids"][:, 1].tolist()

    red, cat, circle = (
        collator.processor.tokenize([name])["input_ids"][0, 1].item() for name in ("red", "cat", "circle")
    )
    assert names(1) == [red] and set(names(3)) == {red, cat, circle}
    seen = {names(2, epoch)[1] for epoch in range(12)}
    assert seen == {cat, circle} and all(names(2, epoch)[0] == red for epoch in range(3))


def test_a_batch_of_expressions(file, collator):
    data = dataset_of(file, labels="expressions")
    batch = collator([data[0], data[1]])
    assert batch["task"] == "referring" and len(batch["input_ids"]) == 2
    assert [target["class_labels"].tolist() for target in batch["labels"]] == [[0], [0]]


def test_kinds_do_not_mix(file, collator):
    with pytest.raises(UserError, match="names for some images and expressions for others"):
        collator([dataset_of(file)[0], dataset_of(file, labels="expressions")[0]])


def test_augmented_images_are_not_resized_again(file):
    augmentation = ShortestEdgeAugmentation(short_sides=(48,), max_long=1000, crop_probability=0.0)
    batch = GLEECollator(small_processor(short=640, long=960), augmentation)([dataset_of(file)[0]])
    assert batch["pixel_values"].shape == (1, 3, 64, 96)  # 48x72, padded
    masks, boxes = batch["labels"][0]["masks"], batch["labels"][0]["boxes"]
    assert masks.sum((1, 2)).tolist() == pytest.approx([400 * 1.44, 200 * 1.44], rel=0.1)
    assert boxes[0, 2].item() == pytest.approx(20 * 1.2 / 96, abs=0.02)


def test_augmentation_changes_with_the_epoch_and_with_nothing_else(file):
    data, collator = dataset_of(file), GLEECollator(small_processor(), ShortestEdgeAugmentation(short_sides=(48, 64)))
    first, again = collator([data[0]]), collator([data[0]])
    assert torch.equal(first["pixel_values"], again["pixel_values"])
    seen = set()
    for epoch in range(6):
        data.set_epoch(epoch)
        seen.add(float(collator([data[0]])["pixel_values"].sum()))
    assert len(seen) > 3


def test_videos_are_augmented_frame_by_frame(tmp_path):
    rows = shape_rows(tmp_path / "cache", num_videos=2, num_frames=4)
    data = ReferringVideoDataset(rows, num_context_frames=0, num_query_frames=1, max_expressions=2)
    collator = GLEECollator(small_processor(), ShortestEdgeAugmentation(short_sides=(64,), crop_probability=0.0))
    batch = collator([data[0]])
    assert batch["task"] == "referring" and batch["pixel_values"].shape[-2:] == (64, 64)
    for target in batch["labels"]:
        assert target["masks"].shape[1:] == (64, 64)


@pytest.mark.parametrize("masks", [True, False])
def test_objects_train_the_model(file, collator, masks):
    """Boxes alone train class and box; with masks, the masks too."""
    data = dataset_of(file, masks=masks)
    model = small_model().train()
    output = model(**collator([data[0], data[1]]))
    assert output.loss.isfinite() and output.losses["loss_bbox"] > 0 and output.losses["loss_ce"] > 0
    assert (output.losses["loss_mask"] > 0) == masks
    output.loss.backward()
    grads = {
        name for name, parameter in model.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    assert "model.decoder.heads.box.layers.0.weight" in grads and "model.decoder.heads.category.weight" in grads
    assert ("model.decoder.heads.mask.layers.0.weight" in grads) == masks
