"""Settings of the grounded processor: those that make no image or no text are refused in one line."""

import pytest

from glus_hf import GroundedProcessor, UserError
from tests.models.grounded.small_grounded import image_processor, tokenizer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_image_std": [0.2, 0, 0.2]}, "mask_image_std is .0.2, 0.0, 0.2.; it must have no 0"),
        ({"mask_image_std": [float("nan")] * 3}, "one value per colour"),
        ({"mask_image_mean": [0.5]}, "mask_image_mean has one value per colour, got .0.5.: pass 3 finite numbers"),
        ({"mask_image_mean": "abc"}, "one value per colour"),
        ({"mask_image_mean": 3}, "one value per colour"),
        ({"max_expression_tokens": 0}, "max_expression_tokens"),
        ({"max_expression_tokens": "many"}, "max_expression_tokens"),
    ],
)
def test_settings_of_masks_and_texts(settings, message):
    with pytest.raises(UserError, match=message) as error:
        GroundedProcessor(image_processor(), tokenizer(), **settings)
    assert "\n" not in str(error.value)


def test_settings_of_images():
    views = image_processor()
    views.image_std = [0.0, 0.0, 0.0]
    with pytest.raises(UserError, match="the image processor makes"):
        GroundedProcessor(views, tokenizer())
