"""Settings of the processor of pairs: those that make no prompt or no mask are refused in one line."""

import pytest

from glus_hf import UserError
from glus_hf.models.glus_vlm.prompts_glus_vlm import read_chat_template
from tests.models.glus_vlm.small_glus_vlm import small_processor, tokenizer


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{", "the chat template cannot be used .TemplateSyntaxError"),
        ("{{ 1 / 0 }}", "the chat template cannot be used .ZeroDivisionError"),
        ("{{ messages[0].__class__.__mro__[1].__subclasses__() }}", "cannot be used .SecurityError"),
        ("{{ messages[9].role.upper() }}", "the chat template cannot be used .UndefinedError"),
        ("no images", "the chat template does not write"),
    ],
)
def test_templates_that_write_no_conversation(template, message):
    with pytest.raises(UserError, match=message) as error:
        read_chat_template(tokenizer("qwen2_5_vl"), template, "<|image_pad|>")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("std", [[0.2, 0, 0.2], [float("nan")] * 3, [1.0], "abc", None])
def test_statistics_of_images(std):
    with pytest.raises(UserError, match="mask_image_std"):
        small_processor(mask_image_std=std)
