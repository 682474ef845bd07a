"""SAM-2's yaml files, and what shapes of weights tell in their place."""

import importlib.util
import sys

import pytest
import torch
import yaml
from transformers import Sam2VideoModel

from glus_hf import GLUSConfig
from glus_hf.conversion.sam2_config import (
    IMAGE_ENCODERS,
    find_sam2_config,
    mask_config_from_sam2,
    sam2_config_from_shapes,
    sam2_size,
)
from glus_hf.errors import UserError
from glus_hf.models.glus.weight_names_glus import upstream_names
from tests.models.glus.upstream_folders import MASK_PREFIX, SAM2_CONFIG, assert_refused


pytest.importorskip("sentencepiece")
MASKS = "model.mask_model."


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("image_encoder", None, "wrong"),
        ("image_size", "1024", "wrong"),
        ("image_encoder.scalp", 0, "image_encoder.scalp: 0"),
        ("image_encoder.trunk.q_pool", 2, "only 3"),
        ("memory_attention.layer.pos_enc_at_attn", True, "pos_enc_at_attn"),
        ("memory_attention.layer.self_attention.num_heads", 2, "cross_attention.num_heads"),
        ("memory_encoder.fuser", {}, "lacks 'layer'"),
    ],
)
def test_variants_of_sam2_that_transformers_lacks(tmp_path, path, value, words):
    """They would change results, not shapes."""
    settings = yaml.safe_load(SAM2_CONFIG.read_text())
    *sections, name = path.split(".")
    section = settings["model"]
    for key in sections:
        section = section[key]
    section[name] = value
    assert_refused(tmp_path, words, sam2_config=settings, error=ValueError)


def test_yaml_as_hydra_takes_it(tmp_path):
    """The header and the sections of training are left alone; references of the model are not guessed."""
    text, file = SAM2_CONFIG.read_text(), tmp_path / "sam2.yaml"
    training = (
        "# @package _global_\n\nscratch:\n  resolution: 1024\ntrainer:\n  _target_: x\n  size: ${scratch.resolution}\n"
    )
    file.write_text(training + text.replace("10000.0", "1e4"))  # a text to yaml
    assert mask_config_from_sam2(file) == mask_config_from_sam2(SAM2_CONFIG)
    file.write_text(training + text.replace("image_size: 1024", "image_size: ${scratch.resolution}"))
    assert_refused(tmp_path, "image_size is the reference ${scratch.resolution}", sam2_config=file, error=ValueError)


@pytest.mark.parametrize("text", ["", "- 1", "model:", "model: x", "model: [image_size]"])
def test_other_yaml_files(tmp_path, text):
    file = tmp_path / "other.yaml"
    file.write_text(text)
    assert_refused(tmp_path, "other.yaml: lacks image_size", sam2_config=file, error=ValueError)


def mask_shapes(mask_config):
    """Shapes of the mask branch under Meta's names, without making it."""
    with torch.device("meta"):
        model = Sam2VideoModel(GLUSConfig(mask_config=mask_config).mask_config)
    state = {f"{MASKS}{name}": tensor for name, tensor in model.state_dict().items()}
    return {
        theirs.removeprefix(MASK_PREFIX): list(tensor[:1].shape if "point_embeddings" in theirs else tensor.shape)
        for name, tensor in state.items()
        for theirs in upstream_names(name)
    }


def sam2_yaml(size, version):
    """What SAM-2's yaml of this size says, as far as `IMAGE_ENCODERS` knows it."""
    shapes = {"no_obj_embed_spatial": [1, 64], "obj_ptr_tpos_proj.weight": [64, 256]} if version == "2.1" else {}
    blocks = [
        IMAGE_ENCODERS[size]["embed_dim"] * 2**s
        for s, n in enumerate(IMAGE_ENCODERS[size]["stages"])
        for _ in range(n)
    ]
    shapes |= {f"image_encoder.trunk.blocks.{index}.mlp.layers.1.bias": [width] for index, width in enumerate(blocks)}
    return sam2_config_from_shapes(shapes)


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("size", IMAGE_ENCODERS)
def test_published_sizes_are_seen_in_the_shapes(size, version):
    sam2 = sam2_yaml(size, version)
    shapes = mask_shapes(mask_config_from_sam2(sam2))
    assert sam2_size(shapes) == size
    assert sam2_config_from_shapes(shapes) == sam2


def test_a_name_is_looked_up_in_the_installed_package(tmp_path, monkeypatch):
    """Its code is not run: a package that cannot be imported serves as well."""
    file = tmp_path / "sam2" / "configs" / "sam2.1" / "sam2.1_hiera_t.yaml"
    file.parent.mkdir(parents=True)
    (tmp_path / "sam2" / "__init__.py").write_text("raise SystemExit('imported')")
    file.write_text(yaml.safe_dump({"model": sam2_yaml("tiny", "2.1")}))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sam2", raising=False)
    found = find_sam2_config("sam2.1_hiera_t")
    assert found == file and mask_config_from_sam2(found) == mask_config_from_sam2(sam2_yaml("tiny", "2.1"))
    with pytest.raises(UserError, match="sam2.1_hiera_x: the package sam2 has no such .*; use sam2.1_hiera_t"):
        find_sam2_config("sam2.1_hiera_x")


def test_a_name_without_the_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="install the package sam2"):
        find_sam2_config("sam2.1_hiera_t")


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("size", IMAGE_ENCODERS)
def test_published_sizes_are_those_of_sam2_itself(size, version, monkeypatch):
    """The yaml file says the same as we, and the model it builds has the same weights."""
    pytest.importorskip("sam2", reason="the yaml files come with the extra sam2")
    omegaconf, hydra = (pytest.importorskip(name, reason="sam2 needs it") for name in ("omegaconf", "hydra.utils"))
    for name in ("image_encoder", "hieradet"):  # they keep the functions of torch.nn.init that they import
        importlib.import_module(f"sam2.modeling.backbones.{name}")
    importlib.import_module("sam2.modeling.sam2_base")
    for name in ("kaiming_uniform_", "uniform_", "normal_", "xavier_uniform_", "trunc_normal_"):  # they take seconds
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)
    short = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}[size]
    name = "sam2" if version == "2.0" else "sam2.1"
    file = find_sam2_config(f"{name}_hiera_{short}")
    mask_config = mask_config_from_sam2(sam2_yaml(size, version))
    assert mask_config == mask_config_from_sam2(file)
    original = hydra.instantiate(omegaconf.OmegaConf.load(file).model)
    assert mask_shapes(mask_config) == {name: list(tensor.shape) for name, tensor in original.state_dict().items()}
