"""The Auto classes know GLUS by its config."""

import pytest
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer

import glus_hf
from glus_hf import AutoModelForReferringVideoSegmentation


FOLDER = glus_hf.resolve_checkpoint("glus-tiny")


@pytest.mark.parametrize(
    "auto_class, expected",
    [
        (AutoConfig, "GLUSConfig"),
        (AutoModel, "GLUSForVideoSegmentation"),
        (AutoModelForReferringVideoSegmentation, "GLUSForVideoSegmentation"),
        (AutoProcessor, "GLUSProcessor"),
        (AutoImageProcessor, "GLUSImageProcessor"),
    ],
)
def test_from_pretrained(auto_class, expected):
    try:
        loaded = auto_class.from_pretrained(FOLDER)
    except ImportError as error:  # AutoImageProcessor of transformers 5.17 needs torchvision
        pytest.skip(str(error).strip().splitlines()[0])
    assert type(loaded) is getattr(glus_hf, expected)


def test_tokenizer():
    assert "[SEG]" in AutoTokenizer.from_pretrained(FOLDER).get_vocab()


def test_alias():
    model = AutoModelForReferringVideoSegmentation.from_pretrained("glus-tiny")
    assert isinstance(model, glus_hf.GLUSForVideoSegmentation)


def test_from_config():
    config = AutoConfig.from_pretrained(FOLDER)
    for auto_class in (AutoModel, AutoModelForReferringVideoSegmentation):
        assert isinstance(auto_class.from_config(config), glus_hf.GLUSForVideoSegmentation)


def test_another_family_can_join():
    class OtherConfig(glus_hf.GLUSConfig):
        model_type = "other-family"

    class OtherModel(glus_hf.GLUSForVideoSegmentation):
        config_class = OtherConfig

    AutoModelForReferringVideoSegmentation.register(OtherConfig, OtherModel)
    config = OtherConfig(**AutoConfig.from_pretrained(FOLDER).to_dict())
    try:
        assert type(AutoModelForReferringVideoSegmentation.from_config(config)) is OtherModel
    finally:
        AutoModelForReferringVideoSegmentation._model_mapping._extra_content.pop(OtherConfig)
