import numpy as np
import pytest
from PIL import Image

from glus_hf.media.video import load_video
from glus_hf.visualization import contact_sheet, draw_overlay, overlay_video, palette, save_image, save_overlay


def grey_frame(height=64, width=96):
    return np.full((height, width, 3), 100, dtype=np.uint8)


def square_mask(height=64, width=96):
    mask = np.zeros((1, height, width), dtype=bool)
    mask[:, 16:48, 16:48] = True
    return mask


def test_palette_colours_are_distinct_and_stable():
    colours = [palette(index) for index in range(24)]
    assert len(set(colours)) == 24
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)
    nearest = min(np.abs(np.subtract(a, b)).sum() for a in colours[:8] for b in colours[:8] if a != b)
    assert nearest > 60


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
    drawn = draw_overlay(grey_frame(), square_mask(), alpha=0, min_side=0).astype(int)
    row = drawn[32, 10:24]
    assert np.abs(row - palette(0)).sum(axis=1).min() < 30
    assert row.sum(axis=1).min() < 200


def test_small_frames_are_enlarged_and_large_ones_kept():
    assert draw_overlay(grey_frame(64, 96), square_mask(), min_side=384).shape == (384, 576, 3)
    assert draw_overlay(grey_frame(400, 500), square_mask(400, 500), min_side=384).shape == (400, 500, 3)


def test_masks_stay_aligned_when_enlarged():
    drawn = draw_overlay(grey_frame(), square_mask(), alpha=1, min_side=256)  # 4 times
    tinted = np.argwhere((drawn == palette(0)).all(axis=-1))
    assert np.abs(tinted.min(axis=0) - 64).max() <= 4
    assert np.abs(tinted.max(axis=0) - 191).max() <= 4


def test_labels_go_into_a_strip_that_does_not_cover_the_frame():
    frame, mask = grey_frame(), square_mask()
    plain, labelled = draw_overlay(frame, mask), draw_overlay(frame, mask, ["the grey square"])
    height = plain.shape[0]
    np.testing.assert_array_equal(labelled[:height], plain)
    strip = labelled[height:]
    assert strip.shape[1] == plain.shape[1]
    assert (strip.reshape(-1, 3).min(axis=1) > 200).any()  # light text
    assert (strip == palette(0)).all(axis=-1).any()  # the swatch


def test_long_labels_wrap():
    short = draw_overlay(grey_frame(), square_mask(), ["short"])
    words = draw_overlay(grey_frame(), square_mask(), ["a label that says a lot about the square " * 4])
    unbroken = draw_overlay(grey_frame(), square_mask(), ["x" * 300])
    assert words.shape[0] > short.shape[0] + 30
    assert unbroken.shape[0] > short.shape[0] + 30
    assert short.shape[1] == words.shape[1] == unbroken.shape[1]


def test_overlays_of_a_video_have_one_size_though_an_object_disappears():
    frames = [grey_frame()] * 3
    masks = np.stack([square_mask(), np.zeros_like(square_mask()), square_mask()], axis=1)
    drawn = overlay_video(frames, masks, ["the square"])
    assert len({frame.shape for frame in drawn}) == 1
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert (drawn[1] != drawn[0]).any()


@pytest.mark.parametrize("label", ["", "   ", "two\nlines", "ü 犬 🐕"])
def test_unusual_labels(label):
    assert draw_overlay(grey_frame(), square_mask(), [label]).shape[1] == 576


def test_one_mask_without_its_axis_and_no_masks():
    np.testing.assert_array_equal(
        draw_overlay(grey_frame(), square_mask()[0]), draw_overlay(grey_frame(), square_mask())
    )
    assert (draw_overlay(grey_frame(), square_mask()[:0], min_side=0) == 100).all()


def test_tiny_and_narrow_frames():
    assert draw_overlay(grey_frame(1, 1), np.ones((1, 1, 1), dtype=bool), ["a pixel"]).shape[1] == 384
    assert draw_overlay(grey_frame(8, 4), np.ones((1, 8, 4), dtype=bool), ["narrow"], min_side=0).shape[1] == 4


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


def test_contact_sheet_shows_the_first_and_the_last_frame_in_order():
    frames = [np.full((30, 40, 3), 10 * index, dtype=np.uint8) for index in range(21)]
    sheet = contact_sheet(frames, columns=3, max_frames=5, tile_width=40)
    assert sheet.shape == (2 * 34 + 4, 3 * 44 + 4, 3)
    centres = [sheet[19 + 34 * (tile // 3), 24 + 44 * (tile % 3), 0] for tile in range(5)]
    assert centres == [0, 50, 100, 150, 200]


def test_contact_sheet_captions_add_a_line_per_tile():
    frames = [grey_frame()] * 4
    plain, captioned = contact_sheet(frames), contact_sheet(frames, captions=[f"frame {index}" for index in range(4)])
    assert captioned.shape[0] > plain.shape[0]
    with pytest.raises(ValueError, match="one per frame"):
        contact_sheet(frames, captions=["first"])
    with pytest.raises(ValueError, match="at least one frame"):
        contact_sheet([])


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_save_overlay(tmp_path, suffix):
    frames = [np.full((32, 48, 3), 60 * index, dtype=np.uint8) for index in range(4)]
    save_overlay(tmp_path / f"result{suffix}", frames, fps=5)
    assert len(load_video(tmp_path / f"result{suffix}")) == 4


def test_save_image(tmp_path):
    save_image(tmp_path / "new" / "sheet.png", grey_frame())
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "sheet.png")), grey_frame())
    save_image(tmp_path / "new" / "sheet.jpg", grey_frame())
    with pytest.raises(ValueError, match=".tiff"):
        save_image(tmp_path / "new" / "sheet.tiff", grey_frame())
    with pytest.raises(ValueError, match="uint8"):
        save_image(tmp_path / "new" / "bad.png", grey_frame() / 255)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["sheet.jpg", "sheet.png"]


@pytest.mark.parametrize(("size", "drawn"), [((1, 1000), (4, 4096)), ((1000, 1), (4096, 4)), ((1, 5000), (1, 5000))])
def test_thin_pictures_are_not_enlarged_without_end(size, drawn):
    frame, mask = np.zeros((*size, 3), np.uint8), np.zeros(size, bool)
    assert draw_overlay(frame, mask).shape == (*drawn, 3)


@pytest.mark.parametrize(("size", "most"), [((1, 1000), 20), ((1000, 1), 1500)])
def test_thin_tiles_are_bounded(size, most):
    sheet = contact_sheet(np.zeros((2, *size, 3), np.uint8), captions=["a", "b"])
    assert sheet.shape[0] <= most + 50
    assert sheet.shape[1] == 2 * 320 + 3 * 4
