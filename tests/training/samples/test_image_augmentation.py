"""What augmentation does to pixels, boxes, masks and texts: they must go on belonging together."""

import numpy as np
import pytest

from glus_hf import LargeScaleJitter, ShortestEdgeAugmentation
from glus_hf.models.glee.targets_glee import boxes_of_masks
from glus_hf.training.samples.training_image import TrainingImage, swap_sides


BOX = (40, 30, 90, 80)


def image_of(height=120, width=160, text="the white square on the left", box=BOX):
    """A white square on black, its mask and its box."""
    x0, y0, x1, y1 = box
    mask = np.zeros((1, height, width), bool)
    mask[0, y0:y1, x0:x1] = True
    pixels = np.repeat(mask[0, ..., None] * np.uint8(255), 3, axis=2)
    return TrainingImage(pixels, np.array([box], np.float32), mask, (text,), text)


def assert_together(image, tolerance=2.0):
    """The mask is where the pixels are white, and the box around it."""
    np.testing.assert_array_equal(image.masks.shape[1:], image.size)
    white = image.pixels[..., 0] > 127
    assert (white != image.masks[0]).mean() < 0.02
    if image.masks.any():
        import torch

        height, width = image.size
        (box,) = boxes_of_masks(torch.from_numpy(np.ascontiguousarray(image.masks))).tolist()
        x0, x1 = (box[0] - box[2] / 2) * width, (box[0] + box[2] / 2) * width
        y0, y1 = (box[1] - box[3] / 2) * height, (box[1] + box[3] / 2) * height
        np.testing.assert_allclose(image.boxes[0], (x0, y0, x1, y1), atol=tolerance)


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("the dog on the left", "the dog on the right"),
        ("Right-hand man, leftmost", "Left-hand man, rightmost"),
        ("bright copyright, upright", "bright copyright, upright"),
        ("turning leftward then RIGHT", "turning rightward then LEFT"),
    ],
)
def test_sides_are_swapped_in_texts(text, swapped):
    assert swap_sides(text) == swapped and swap_sides(swapped) == text


def test_a_mirror_image():
    image, mirrored = image_of(), image_of().mirrored()
    assert mirrored.expression == mirrored.labels[0] == "the white square on the right"
    assert mirrored.boxes.tolist() == [[70, 30, 120, 80]]
    assert_together(mirrored, tolerance=0)
    again = mirrored.mirrored()
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert again.boxes.tolist() == image.boxes.tolist() and again.expression == image.expression


def test_names_of_categories_are_not_texts():
    image = image_of()
    names = TrainingImage(image.pixels, image.boxes, image.masks, ("left shoe",))
    assert names.mirrored().labels == ("left shoe",)


def test_a_window():
    image = image_of().cropped(top=40, left=50, height=60, width=100)
    assert image.boxes.tolist() == [[0, 0, 40, 40]] and image.size == (60, 100)
    assert_together(image, tolerance=0)
    outside = image_of().cropped(top=90, left=0, height=30, width=30)
    assert not outside.masks.any() and (outside.boxes[0, 2:] <= outside.boxes[0, :2]).any()


@pytest.mark.parametrize("size", [(480, 640), (640, 480)])
def test_shortest_edges_are_those_of_the_release(size):
    augmentation, seen = ShortestEdgeAugmentation(crop_probability=0.0), set()
    box = (100, 120, 300, 360)
    for seed in range(12):
        image = augmentation(image_of(*size, box=box), np.random.default_rng(seed))
        assert min(image.size) in (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
        assert max(image.size) / min(image.size) == pytest.approx(4 / 3, rel=0.01)
        assert_together(image, tolerance=3.0)
        seen.add((min(image.size), image.expression))
    assert len({side for side, _ in seen}) > 4 and len({text for _, text in seen}) == 2


def test_a_long_image_ends_at_the_limit():
    image = ShortestEdgeAugmentation(crop_probability=0.0)(image_of(100, 1000), np.random.default_rng(0))
    assert max(image.size) == 1333 and min(image.size) == 133


def test_crops_have_the_range_of_the_release():
    augmentation = ShortestEdgeAugmentation(crop_probability=1.0, short_sides=(480,))
    large = image_of(480, 640, box=(100, 120, 300, 360))
    ratios = []
    for seed in range(6):
        image = augmentation(large, np.random.default_rng(seed))
        assert min(image.size) == 480
        ratios.append(image.size[0] / image.size[1])
        assert_together(image, tolerance=4.0)
    assert len(set(ratios)) > 3 and all(384 / 600 * 0.98 <= ratio <= 600 / 384 * 1.02 for ratio in ratios)


@pytest.mark.parametrize("text", ["the second square from the left", "the 3rd square"])
def test_nothing_is_cut_off_where_objects_are_counted(text):
    ratios = {
        round(image.size[0] / image.size[1], 2)
        for image in (
            ShortestEdgeAugmentation(crop_probability=1.0)(image_of(text=text), np.random.default_rng(seed))
            for seed in range(6)
        )
    }
    assert ratios == {0.75}
    for seed in range(6):
        image = LargeScaleJitter(size=160)(image_of(text=text), np.random.default_rng(seed))
        assert image.masks.any() and (image.boxes[:, 2:] > image.boxes[:, :2]).all()
        assert image.pixels[-1, -1, 0] == 128  # padded, not cut


def test_large_scale_jitter():
    sizes = []
    for seed in range(16):
        image = LargeScaleJitter(size=256)(image_of(), np.random.default_rng(seed))
        assert image.size == (256, 256) and image.masks.shape == (1, 256, 256)
        padding = (image.pixels == 128).all(-1)
        sizes.append((~padding).any(0).sum())
        np.testing.assert_array_equal(image.masks[0] & ~padding, image.masks[0] & (image.pixels[..., 0] != 128))
        assert not image.masks.any() or image.pixels[image.masks[0]].mean() > 200
    assert min(sizes) < 128 and max(sizes) == 256


def test_the_same_numbers_give_the_same_image():
    first, second, other = (ShortestEdgeAugmentation()(image_of(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.size != other.size or (first.pixels != other.pixels).any()


@pytest.mark.parametrize("augmentation", [ShortestEdgeAugmentation(crop_probability=1.0), LargeScaleJitter(size=64)])
@pytest.mark.parametrize("size", [(1, 1), (2, 700)])
def test_extreme_images(augmentation, size):
    image = augmentation(image_of(*size, box=(0, 0, 1, 1)), np.random.default_rng(0))
    assert min(image.size) >= 1 and image.masks.shape[1:] == image.size


def test_boxes_alone_are_enough():
    image = image_of()
    image = TrainingImage(image.pixels, image.boxes, None, image.labels, image.expression)
    for augmentation in (ShortestEdgeAugmentation(), LargeScaleJitter(size=64)):
        assert augmentation(image, np.random.default_rng(1)).masks is None
