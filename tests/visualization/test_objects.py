"""Objects drawn over an image: where their colours and texts are."""

import numpy as np
import pytest

from glus_hf import UserError
from glus_hf.visualization import draw_objects, palette


FRAME = np.full((240, 320, 3), 128, np.uint8)
BOX = (80, 60, 200, 180)


def has_colour(region, colour):
    return bool((region == np.array(colour)).all(-1).any())


def test_a_box_is_drawn_at_its_edge_and_not_inside():
    picture = draw_objects(FRAME, [BOX], ["dog 0.92"])
    for edge in (picture[58:62, 90:190], picture[177:181, 90:190], picture[70:170, 78:82], picture[70:170, 197:201]):
        assert has_colour(edge, palette(0))
    np.testing.assert_array_equal(picture[90:170, 90:190], FRAME[90:170, 90:190])


def test_a_mask_is_tinted_and_outlined():
    mask = np.zeros((1, 240, 320), bool)
    mask[0, 80:160, 100:180] = True
    picture = draw_objects(FRAME, [BOX], ["dog 0.92"], mask)
    inside, outside = picture[120, 140].astype(int), picture[170, 190].astype(int)
    assert inside[2] > 128 > inside[0]  # towards the first colour, a blue
    assert (outside == 128).all() and has_colour(picture[78:83, 100:180], palette(0))


def test_objects_of_one_number_have_one_colour():
    picture = draw_objects(FRAME, [BOX, (210, 60, 300, 180)], ["dog 0.9", "dog 0.8"], colours=[3, 3])
    assert has_colour(picture[58:62, 250:290], palette(3)) and not has_colour(picture, palette(0))


def test_texts_do_not_hide_each_other():
    """Three objects in one place: their texts lie in different corners."""
    colours = [palette(number) for number in range(3)]
    alone = draw_objects(FRAME, [BOX], ["dog 0.92"])
    together = draw_objects(FRAME, [BOX] * 3, ["dog 0.92", "cat 0.81", "bus 0.50"])
    np.testing.assert_array_equal(together[45:58, 82:130], alone[45:58, 82:130])  # the best has its place
    areas = [(together == np.array(colour)).all(-1).sum() for colour in colours[1:]]
    assert all(area > 300 for area in areas)  # a text's background, not a line


@pytest.mark.parametrize("box", [(-50, -50, 400, 300), (0, 0, 1, 1), (319, 239, 320, 240)])
def test_everything_is_drawn_inside_the_picture(box):
    assert draw_objects(FRAME, [box], ["a rather long name of an object that is far too long for it 0.5"]).shape == (
        240,
        320,
        3,
    )


def test_nothing_found_changes_nothing():
    np.testing.assert_array_equal(draw_objects(FRAME, [], []), FRAME)
    assert draw_objects(FRAME[:24, :32], [], [], min_side=96).shape == (96, 128, 3)


@pytest.mark.parametrize("size", [(1, 1), (10_000, 50), (4, 300)])
def test_extreme_sizes(size):
    frame = np.zeros((*size, 3), np.uint8)
    picture = draw_objects(frame, [(0, 0, size[1], size[0])], ["dog 0.9"], np.ones((1, *size), bool), min_side=384)
    assert picture.dtype == np.uint8 and picture.max() > 0


def test_counts_that_differ_are_one_line():
    with pytest.raises(UserError, match="1 boxes but 2 texts") as error:
        draw_objects(FRAME, [BOX], ["dog", "cat"])
    assert "\n" not in str(error.value)
