import colorsys

import numpy as np
import pytest

from glus_hf.visualization import OverlayFrames, draw_overlay, overlay_video, palette


def grey_frame(height=64, width=96):
    return np.full((height, width, 3), 100, dtype=np.uint8)


def square_mask(height=64, width=96):
    mask = np.zeros((1, height, width), dtype=bool)
    mask[:, 16:48, 16:48] = True
    return mask


def test_tint_is_inside_the_mask_and_nothing_changes_far_outside():
    frame, mask = grey_frame(), square_mask()
    drawn = draw_overlay(frame, mask, alpha=0.5, min_side=0)
    assert drawn.shape == frame.shape
    assert drawn.dtype == np.uint8
    expected = np.rint(100 + 0.5 * (np.array(palette(0)) - 100))
    assert np.abs(drawn[32, 32] - expected).max() <= 1
    assert (drawn[:, 60:] == 100).all()
    assert (frame == 100).all()  # the caller's frame is left alone


def test_contour_has_the_object_colour_and_a_dark_outline():
    drawn = draw_overlay(grey_frame(), square_mask(), alpha=0).astype(int)
    row = drawn[32, 10:24]
    assert np.abs(row - palette(0)).sum(axis=1).min() < 30
    assert row.sum(axis=1).min() < 200


@pytest.mark.parametrize("colour", [(225, 45, 45), (40, 160, 60), (240, 200, 40), (60, 60, 220)])
def test_the_objects_own_colour_stays_to_be_seen(colour):
    frame = np.full((96, 96, 3), 60, dtype=np.uint8)
    frame[16:80, 16:80] = colour
    mask = (frame == colour).all(axis=-1)
    for index in range(7):
        masks = np.zeros((index + 1, 96, 96), dtype=bool)
        masks[index] = mask
        drawn = draw_overlay(frame, masks)[24:72, 24:72].reshape(-1, 3)
        hues = [colorsys.rgb_to_hsv(*(pixel / 255))[0] for pixel in (np.array(colour), np.median(drawn, axis=0))]
        assert abs((hues[0] - hues[1] + 0.5) % 1 - 0.5) < 20 / 360


def test_masks_that_coincide_all_stay_visible():
    masks = np.concatenate([square_mask()] * 3)
    drawn = draw_overlay(grey_frame(), masks, alpha=1).astype(int)
    inside = drawn[22:42, 22:42].reshape(-1, 3)
    for index in range(3):  # a third of the tint each, and a part of the contour
        assert (np.abs(inside - palette(index)).max(axis=1) <= 1).mean() == pytest.approx(1 / 3, abs=0.1)
    contour = draw_overlay(grey_frame(), masks, alpha=0).astype(int)[14:50, 14:50].reshape(-1, 3)
    for index in range(3):
        assert (np.abs(contour - palette(index)).sum(axis=1) < 30).sum() >= 20


def test_a_mask_inside_another_keeps_its_contour():
    masks = np.concatenate([square_mask(), np.zeros_like(square_mask())])
    masks[1, 26:38, 26:38] = True
    for order in (masks, masks[::-1]):
        drawn = draw_overlay(grey_frame(), order, alpha=0).astype(int)
        inner = drawn[24:40, 24:40].reshape(-1, 3)
        index = int(order[1].sum() < order[0].sum())
        assert (np.abs(inner - palette(index)).sum(axis=1) < 30).sum() >= 30


def test_small_frames_are_enlarged_and_large_ones_kept():
    assert draw_overlay(grey_frame(64, 96), square_mask(), min_side=384).shape == (384, 576, 3)
    assert draw_overlay(grey_frame(400, 500), square_mask(400, 500), min_side=384).shape == (400, 500, 3)


def test_masks_stay_aligned_when_enlarged():
    drawn = draw_overlay(grey_frame(), square_mask(), alpha=1, min_side=256)  # 4 times
    tinted = np.argwhere((drawn == palette(0)).all(axis=-1))
    assert np.abs(tinted.min(axis=0) - 64).max() <= 4
    assert np.abs(tinted.max(axis=0) - 191).max() <= 4


def test_overlays_of_a_video_have_one_size_though_an_object_disappears():
    frames = [grey_frame()] * 3
    masks = np.stack([square_mask(), np.zeros_like(square_mask()), square_mask()], axis=1)
    drawn = overlay_video(frames, masks, ["the square"])
    assert len({frame.shape for frame in drawn}) == 1
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert (drawn[1] != drawn[0]).any()


def test_one_mask_without_its_axis_and_no_masks():
    np.testing.assert_array_equal(
        draw_overlay(grey_frame(), square_mask()[0]), draw_overlay(grey_frame(), square_mask())
    )
    assert (draw_overlay(grey_frame(), square_mask()[:0], min_side=0) == 100).all()


def test_the_size_of_the_frame_stays():
    for height, width in ((1, 1), (1, 1000), (1000, 1), (16, 16), (97, 131)):
        frame, mask = grey_frame(height, width), np.ones((2, height, width), dtype=bool)
        assert draw_overlay(frame, mask, ["a thing", "the same"]).shape == (height, width, 3)
    assert draw_overlay(grey_frame(1, 1), np.ones((1, 1, 1), dtype=bool), min_side=384).shape == (384, 384, 3)


@pytest.mark.parametrize(("size", "drawn"), [((1, 1000), (4, 4096)), ((1000, 1), (4096, 4)), ((1, 5000), (1, 5000))])
def test_thin_pictures_are_not_enlarged_without_end(size, drawn):
    frame, mask = np.zeros((*size, 3), np.uint8), np.zeros(size, bool)
    assert draw_overlay(frame, mask, min_side=384).shape == (*drawn, 3)


def test_frames_are_drawn_when_they_are_asked_for():
    masks = np.stack([square_mask()] * 3, axis=1)
    drawn = OverlayFrames([grey_frame()] * 3, list(masks), ["the square"])
    assert len(drawn) == 3
    for frame, expected in zip(drawn, overlay_video([grey_frame()] * 3, masks, ["the square"]), strict=True):
        np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize(
    ("frame", "masks", "labels", "words"),
    [
        (grey_frame().astype(float), square_mask(), None, "uint8"),
        (grey_frame(), square_mask().astype(float), None, "threshold"),
        (grey_frame(32, 32), square_mask(), None, "do not fit"),
        (grey_frame(), square_mask(), ["a", "b"], "labels"),
        (grey_frame(), square_mask(), "a", "labels"),
    ],
)
def test_wrong_arguments_give_one_line(frame, masks, labels, words):
    with pytest.raises(ValueError, match=words) as error:
        draw_overlay(frame, masks, labels)
    assert "\n" not in str(error.value)


def test_masks_of_another_length_are_refused():
    with pytest.raises(ValueError, match="2 frames"):
        overlay_video([grey_frame()] * 2, np.stack([square_mask()] * 3, axis=1))
