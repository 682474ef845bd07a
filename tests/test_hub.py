"""Aliases, and checkpoints that do not fit: each a one-line error that says what to do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import glus_hf
from glus_hf import AutoModelForReferringVideoSegmentation, GLUSConfig
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.hub import DEFAULT_MODEL, PACKAGED, is_packaged, resolve_checkpoint
from glus_hf.metrics.j_and_f import j_and_f


@pytest.fixture
def folder(tmp_path):
    """A copy of glus-tiny to spoil."""
    return shutil.copytree(resolve_checkpoint("glus-tiny"), tmp_path / "model")


def fails(folder, *words, load=None):
    with pytest.raises(glus_hf.CheckpointError) as error:
        (load or glus_hf.GLUSForVideoSegmentation.from_pretrained)(str(folder))
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def edit_weights(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def edit_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_packaged_checkpoints_are_there():
    assert DEFAULT_MODEL in PACKAGED
    for alias in PACKAGED:
        assert resolve_checkpoint(alias).endswith(alias)


def test_a_copy_of_a_packaged_checkpoint_is_not_packaged(tmp_path):
    folder = resolve_checkpoint("glus-tiny")
    shutil.copytree(folder, tmp_path / "glus-tiny")
    assert is_packaged(folder)
    assert is_packaged(Path(folder, "..", "glee-tiny"))
    assert not is_packaged(tmp_path / "glus-tiny")


def test_the_packaged_selector_finds_the_frames_that_tell():
    pipe = glus_hf.pipeline(model="glus-tiny", device="cpu", selector="glus-selector-tiny")
    for index in range(3):
        clip = generate_clip(index, split="reveal", size=64, num_frames=12)
        results = pipe(clip.frames, [expression.text for expression in clip.expressions])
        veiled = clip.scene.is_veiled(np.linspace(0, 1, 12))
        assert not any(veiled[result["key_frame"]] for result in results)
        masks, truth = results[0]["masks"], clip.target_masks(clip.expressions[0])
        assert j_and_f(masks, truth)["j_and_f"] > 0.8  # also behind the glass, before the key frame


def test_other_names_are_unchanged(tmp_path):
    assert resolve_checkpoint("owner/model") == "owner/model"
    assert resolve_checkpoint(tmp_path) == str(tmp_path)


def test_a_local_folder_wins_only_if_it_holds_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packaged = resolve_checkpoint("glus-tiny")
    (tmp_path / "glus-tiny").mkdir()
    assert resolve_checkpoint("glus-tiny") == packaged
    (tmp_path / "glus-tiny" / "config.json").write_text("{}")
    assert resolve_checkpoint("glus-tiny") == "glus-tiny"


def test_alias_works_on_every_class():
    model = glus_hf.GLUSForVideoSegmentation.from_pretrained("glus-tiny")
    body = glus_hf.GLUSModel.from_pretrained("glus-tiny")
    torch.testing.assert_close(dict(body.named_parameters()), dict(model.model.named_parameters()))
    config = glus_hf.GLUSConfig.from_pretrained("glus-tiny")
    assert config.model_type == "glus"
    processor = glus_hf.GLUSProcessor.from_pretrained("glus-tiny")
    assert processor.seg_token_id == config.seg_token_id
    image_processor = glus_hf.GLUSImageProcessor.from_pretrained("glus-tiny")
    assert image_processor.mask_size == processor.image_processor.mask_size


def test_missing_weights(folder, capfd):
    edit_weights(folder, lambda weights: [weights.pop(key) for key in sorted(weights) if "mm_projector" in key])
    capfd.readouterr()
    fails(folder, "2 missing (model.mm_projector.bias, model.mm_projector.weight)", "config.json")
    assert "LOAD REPORT" not in capfd.readouterr().err


def test_unexpected_weights(folder):
    edit_weights(folder, lambda weights: weights.update({f"extra.{i}": torch.zeros(1) for i in range(5)}))
    fails(folder, "5 unexpected (extra.0, extra.1, extra.2 and 2 more)")


def test_weights_of_the_wrong_shape(folder):
    edit_weights(folder, lambda weights: weights.update({"lm_head.weight": torch.zeros(3, 128)}))
    fails(folder, "1 of the wrong shape (lm_head.weight [3, 128] instead of [")
    model = glus_hf.GLUSForVideoSegmentation.from_pretrained(folder, ignore_mismatched_sizes=True)
    assert len(model.lm_head.weight) != 3


def test_loading_info_and_other_arguments_still_work(folder):
    load = glus_hf.GLUSForVideoSegmentation.from_pretrained
    model, info = load(folder, output_loading_info=True, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16 and not info["missing_keys"]
    assert load(folder, device_map="cpu").device.type == "cpu"
    config = glus_hf.GLUSConfig.from_pretrained(folder)
    config.memory_stride = 2
    assert load(folder, config=config).config.memory_stride == 2
    state = load(folder).state_dict()
    assert load(None, config=config, state_dict=state).config.memory_stride == 2


def test_damaged_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])
    fails(folder, "damaged")
    path.write_bytes(b"not safetensors at all")
    fails(folder, "damaged")
    path.unlink()
    fails(folder, "model.safetensors")


def test_folders_that_hold_no_glus_model(folder, tmp_path):
    fails(tmp_path / "nowhere", "no such folder")
    for loader in ("GLUSForVideoSegmentation", "GLUSProcessor", "GLUSImageProcessor", "GLUSConfig"):
        fails(
            "glus-tinny",
            "no such folder or bundled model",
            "glus-tiny",
            load=getattr(glus_hf, loader).from_pretrained,
        )
    empty = tmp_path / "empty"
    empty.mkdir()
    fails(empty, "config.json")
    fails(empty, "config.json", load=GLUSConfig.from_pretrained)
    fails(empty, "config.json", load=AutoModelForReferringVideoSegmentation.from_pretrained)
    edit_config(folder, model_type="llama")
    for load in (None, GLUSConfig.from_pretrained):
        fails(folder, "'llama'", "'glus'", load=load)
    fails(
        folder,
        "'llama'",
        "'glus or glus_vlm or glee or grounded",
        load=AutoModelForReferringVideoSegmentation.from_pretrained,
    )
    edit_config(folder, model_type="llava")
    fails(folder, "convert")
    (folder / "config.json").write_text("{")
    fails(folder, "config.json", "cannot be read")


def test_folder_without_processor(folder):
    for path in folder.glob("*processor*"):
        path.unlink()
    fails(folder, "processor", load=glus_hf.GLUSProcessor.from_pretrained)
    fails(folder, "processor", load=lambda name: glus_hf.pipeline(model=name))
