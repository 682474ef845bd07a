"""Image processors are tried before a video is read."""

import numpy as np
import pytest

from glus_hf import UserError
from glus_hf.media.images import check_views, without_far_ends
from glus_hf.models.glus.image_processing_glus import GLUSImageProcessor


SMALL = {
    "size": {"shortest_edge": 8},
    "crop_size": {"height": 8, "width": 8},
    "mask_size": {"height": 16, "width": 16},
}


@pytest.mark.parametrize("change", [{}, {"crop_size": {"height": 8, "width": 12}}, {"do_center_crop": False}])
def test_a_good_image_processor_passes(change):
    check_views(GLUSImageProcessor(**SMALL | change))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"size": {"shortest_edge": 0}}, r"size is \[0\]; use whole numbers from 1 to 4096"),
        ({"crop_size": {"height": -1, "width": 8}}, "crop_size is .*-1.*; use whole numbers"),
        ({"mask_size": {"height": 10**6, "width": 16}}, r"mask_size is \[1000000, 16\]; use whole numbers"),
        ({"mask_size": {"height": 16.5, "width": 16}}, r"mask_size is \[16.5, 16\]; use whole numbers"),
        ({"mask_size": {"height": 16}}, "makes no image .*; correct its settings"),
        ({"image_mean": [0.5, 0.5]}, "makes no image .*; correct its settings"),
        ({"mask_image_mean": [0.5] * 4}, "makes no image .*; correct its settings"),
        ({"image_std": [0.0, 0.5, 0.5]}, "not finite; correct its mean and std"),
        ({"mask_image_std": [0.5, 0.0, 0.5]}, "not finite; correct its mean and std"),
        ({"image_mean": [float("nan"), 0.5, 0.5]}, "not finite; correct its mean and std"),
    ],
)
def test_settings_that_make_no_images_are_one_line(change, words):
    with pytest.raises(UserError, match=f"^the image processor.*{words}") as error:
        check_views(GLUSImageProcessor(**SMALL | change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(1, 65535, 3), (65535, 1, 3)])
def test_the_view_of_an_endless_image_takes_no_endless_memory(shape):
    """Its short side is made 224 pixels long; the long side is cut before, not after."""
    image = np.zeros(shape, np.uint8)
    image[shape[0] // 2 : shape[0] // 2 + 1, shape[1] // 2 : shape[1] // 2 + 1] = 255
    view = GLUSImageProcessor().clip_view([image])
    assert view.shape == (1, 3, 224, 224)
    assert view[0, 0, 112, 112] > view[0, 0, 0, 0] == view[0, 0, -1, -1]  # the middle stays the middle


def test_usual_images_keep_their_ends():
    for shape in [(48, 64, 3), (10, 320, 3), (320, 10, 3)]:
        image = np.zeros(shape, np.uint8)
        assert without_far_ends(image).shape == shape
