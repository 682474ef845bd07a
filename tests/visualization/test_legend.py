import numpy as np
import pytest

from glus_hf.visualization import draw_overlay, overlay_video, palette, quiet_edge


def legend_of(labels, height=240, width=320, **options):
    """The picture with a legend, and where it differs from the one without."""
    frame, masks = np.full((height, width, 3), 100, dtype=np.uint8), np.zeros((len(labels), height, width), dtype=bool)
    masks[:, 100:140, 200:240] = True
    plain, drawn = draw_overlay(frame, masks, **options), draw_overlay(frame, masks, labels, **options)
    return drawn, np.argwhere((plain != drawn).any(axis=-1))


def test_it_is_inside_the_picture_in_a_corner():
    drawn, changed = legend_of(["the grey square"])
    assert drawn.shape == (240, 320, 3)
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert top > 190 and bottom < 240 and left < 10 and right < 200
    box = drawn[top:bottom, left:right].reshape(-1, 3)
    assert (box.min(axis=1) > 200).any() and (box == palette(0)).all(axis=-1).any()  # letters, swatch
    assert legend_of(["the grey square"], legend_at_top=True)[1].max(axis=0)[0] < 50


def test_long_texts_wrap_and_never_fill_the_picture():
    short = legend_of(["short"])[1]
    for text in ("a label that says a lot about the square " * 3, "x" * 100):
        drawn, changed = legend_of([text])
        assert np.ptp(changed[:, 0]) > np.ptp(short[:, 0]) + 10 and drawn.shape == (240, 320, 3)
    for labels in (["a label that says far too much " * 40], ["word " * 50] * 6):
        changed = legend_of(labels)[1]
        assert changed.min() >= 0 and np.ptp(changed[:, 0]) < 0.46 * 240


@pytest.mark.parametrize("height, width", [(16, 16), (1, 1000), (1000, 1), (24, 24)])
def test_no_legend_where_there_is_no_room(height, width):
    frame, mask = np.full((height, width, 3), 100, dtype=np.uint8), np.ones((1, height, width), dtype=bool)
    np.testing.assert_array_equal(draw_overlay(frame, mask, ["a thing"]), draw_overlay(frame, mask))


@pytest.mark.parametrize("label", ["", "   ", "two\nlines", "ü 犬 🐕", "собака"])
def test_unusual_labels(label):
    assert legend_of([label])[0].shape == (240, 320, 3)


def test_characters_that_cannot_be_seen_are_left_out(caplog):
    drawn = legend_of(["the\x1b[31m red\u202e dog\x00"])[0]
    np.testing.assert_array_equal(drawn, legend_of(["the[31m red dog"])[0])
    assert not caplog.records


def test_it_stays_in_its_place_when_an_object_disappears():
    masks = np.zeros((1, 2, 120, 160), dtype=bool)
    masks[0, 0, 10:30, 10:30] = True
    first, second = overlay_video([np.full((120, 160, 3), 100, dtype=np.uint8)] * 2, masks, ["the square"])
    dark = [np.argwhere(frame[60:].sum(axis=-1) < 200) for frame in (first, second)]
    np.testing.assert_array_equal(dark[0].max(axis=0), dark[1].max(axis=0))
    assert (first[60:] != second[60:]).any()  # the swatch is hollow


def test_the_quiet_edge():
    masks = np.zeros((2, 3, 30, 30), dtype=bool)
    assert not quiet_edge(masks)
    masks[1, :, 25:] = True
    assert quiet_edge(masks)
