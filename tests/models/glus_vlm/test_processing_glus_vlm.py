"""Settings of the processor of pairs: those that make no prompt or no mask are refused in one line."""

import json

import pytest

from glus_hf import CheckpointError, GLUSVLMProcessor, UserError
from glus_hf.models.glus_vlm.prompts_glus_vlm import as_chat_frame, read_chat_template
from glus_hf.models.glus_vlm.render_template import render_apart
from glus_hf.models.vision_language_families import VISION_LANGUAGE_FAMILIES, check_frame_view
from tests.models.glus_vlm.small_glus_vlm import small_processor, tokenizer
from tests.models.tiny_vlms import PROCESSORS, image_processor


ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
FRAME = {"head": "User: ", "gap": " ", "middle": " Bot: ", "between": ". "}


def test_loading_renders_no_template_and_gives_the_same_prompts(tmp_path):
    made = small_processor()
    made.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(ENDLESS)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": ENDLESS}))
    loaded = GLUSVLMProcessor.from_pretrained(tmp_path)
    assert loaded.build_conversation("the red circle", 2) == made.build_conversation("the red circle", 2)
    loaded.save_pretrained(tmp_path / "again")
    assert GLUSVLMProcessor.from_pretrained(tmp_path / "again").chat_frame == made.chat_frame


def test_a_checkpoint_without_a_frame_needs_the_template_of_the_caller(tmp_path):
    made = small_processor()
    made.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "processor_config.json").read_text())
    assert settings.pop("chat_frame") == made.chat_frame
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="no chat_frame.* pass chat_template="):
        GLUSVLMProcessor.from_pretrained(tmp_path)
    loaded = GLUSVLMProcessor.from_pretrained(tmp_path, chat_template=made.chat_template)
    assert loaded.chat_frame == made.chat_frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("text", "must have the texts head, gap, middle, between"),
        ({"head": ""}, "must have the texts"),
        (FRAME | {"gap": 1}, "must have the texts"),
        (FRAME | {"more": ""}, "must have the texts"),
        (FRAME | {"middle": ""}, "must have something around answers"),
        (FRAME | {"head": "x" * 20_001}, "at most 20000 letters"),
        (FRAME | {"head": "It is [SEG]."}, r"holds '\[SEG\]'"),
        (FRAME | {"between": "<image>"}, "holds '<image>'"),
    ],
)
def test_frames_that_make_no_prompt(frame, message):
    with pytest.raises(UserError, match=message):
        as_chat_frame(frame, ("[SEG]", "<image>"))


def test_a_template_of_a_stranger_has_limits():
    words = tokenizer("qwen2_5_vl")
    assert render_apart(words, [{"role": "user"}], "{{ messages[0].role }}{{ pad_token }}") == "user<pad>"
    for template in ("{{ 'a' * 10**10 }}", "{{ 'a' * 10**7 }}"):
        with pytest.raises(UserError, match="cannot be used .(MemoryError|ValueError: it writes more than 1000000)"):
            read_chat_template(words, template, "<|image_pad|>", render_apart)


@pytest.mark.slow
def test_a_template_without_end_is_stopped():
    with pytest.raises(UserError, match="does not end in 10 seconds"):
        read_chat_template(tokenizer("qwen2_5_vl"), ENDLESS, "<|image_pad|>", render_apart)


@pytest.mark.parametrize("family", [family for family in VISION_LANGUAGE_FAMILIES if family in PROCESSORS])
@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("image_std", [float("nan")] * 3, "not finite"),
        ("image_std", [0.0] * 3, "not finite|makes no image"),
        ("image_mean", [float("inf")] * 3, "not finite"),
        ("image_mean", [0.5] * 7, "makes no image"),
        ("rescale_factor", 1e39, "not finite"),
        ("resample", 99, "makes no image"),
    ],
)
def test_image_processors_that_make_no_frames(family, setting, value, message):
    processor = image_processor(family)
    check_frame_view(family, processor, 16)
    setattr(processor, setting, value)
    with pytest.raises(UserError, match=message) as error:
        check_frame_view(family, processor, 16)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("family", "setting", "value"),
    [
        ("llava", "size", {"shortest_edge": 0}),
        ("llava", "crop_size", {"height": 10**5, "width": 10**5}),
        ("smolvlm", "size", {"longest_edge": 10**9}),
        ("smolvlm", "max_image_size", {"longest_edge": 10**9}),
        ("llava_onevision", "image_grid_pinpoints", [[56, 56], [10**6, 10**6]]),
        ("internvl", "size", {"height": 56, "width": 10**6}),
        ("gemma3", "size", {"height": -1, "width": 56}),
        ("qwen3_vl", "patch_size", 1024),
        ("qwen3_vl", "patch_size", 0),
        ("qwen3_vl", "merge_size", 10**6),
        ("qwen3_vl", "temporal_patch_size", 10**6),
        ("qwen3_vl", "merge_size", None),
    ],
)
def test_sizes_that_could_take_all_memory(family, setting, value):
    processor = image_processor(family)
    setattr(processor, setting, value)
    with pytest.raises(UserError, match=setting.removeprefix("image_grid_") + "|larger than 16777216 pixels"):
        check_frame_view(family, processor, 128)


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
