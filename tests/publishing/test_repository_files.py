"""What of a folder goes into a repository, and what is refused before anything is sent."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from glus_hf import CheckpointError, GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.hub import packaged_folder
from glus_hf.publishing.repository_files import is_stale, read_repository


TINY = packaged_folder("glus-tiny")


def copied(folder):
    return shutil.copytree(TINY, folder)


def adapter(folder, base, **config):
    """An adapter of one weight that names its base."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"}))
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(2, 3)}, folder / "adapter_model.safetensors")
    if config:
        (folder / "base_config.json").write_text(json.dumps(config))
    return folder


def refusal(folder, **options) -> str:
    with pytest.raises(CheckpointError) as error:
        read_repository(folder, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_that_is_none(tmp_path):
    assert "no such folder" in refusal(tmp_path / "missing")
    assert "save a model there first" in refusal(tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("mine")
    folder = copied(tmp_path / "model")
    (folder / "LICENSE").symlink_to(tmp_path / "secret")
    assert "LICENSE: is a link out of the folder" in refusal(folder)


def test_weights_of_pickles_and_none_are_refused(tmp_path):
    folder = copied(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert "has no weights" in refusal(folder)
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")
    assert "pytorch_model.bin is no safetensors file" in refusal(folder)


def test_all_weights_of_shards_are_sent(tmp_path):
    GLUSForVideoSegmentation.from_pretrained("glus-tiny").save_pretrained(tmp_path, max_shard_size="4MB")
    GLUSProcessor.from_pretrained("glus-tiny").save_pretrained(tmp_path)
    repository = read_repository(tmp_path)
    assert sum(name.endswith(".safetensors") for name in repository.files) > 1
    assert "model.safetensors.index.json" in repository.files
    assert repository.facts.num_parameters == read_repository(TINY).facts.num_parameters


def test_a_processor_alone_is_a_repository(tmp_path):
    GLUSProcessor.from_pretrained("glus-tiny").save_pretrained(tmp_path)
    repository = read_repository(tmp_path)
    assert repository.facts.model_type == "glus" and repository.facts.num_parameters == 0
    assert "has no code here" in refusal(tmp_path, with_code=True)


def test_the_code_lies_beside_what_names_it(tmp_path):
    repository = read_repository(copied(tmp_path / "model"), with_code=True)
    assert repository.facts.has_code and "modeling_glus.py" in repository.files
    assert json.loads(repository.files["config.json"])["auto_map"]["AutoModel"].startswith("modeling_glus.")
    assert "AutoProcessor" in json.loads(repository.files["processor_config.json"])["auto_map"]


def test_an_adapter_names_a_base_that_others_have(tmp_path):
    folder = adapter(tmp_path / "adapter", str(copied(tmp_path / "base")), model_type="glus")
    assert "which nobody else has" in refusal(folder)
    repository = read_repository(folder, base_model="me/glus-s")
    assert (
        repository.facts.is_adapter and repository.base_model == "me/glus-s" and repository.facts.num_parameters == 6
    )
    assert json.loads(repository.files["adapter_config.json"])["base_model_name_or_path"] == "me/glus-s"


def test_an_adapter_without_its_parts(tmp_path):
    assert "has no base_config.json" in refusal(adapter(tmp_path / "a", "glus-tiny"))
    (tmp_path / "a" / "adapter_model.safetensors").unlink()
    assert "has no adapter_model.safetensors" in refusal(tmp_path / "a")


def test_fields_that_name_this_machine_are_left_out(tmp_path):
    folder = copied(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": "/home/me/model"}))
    assert b"/home/me" not in read_repository(folder).files["config.json"]


def test_weights_that_would_be_read_instead_are_stale():
    new = {"model-00001-of-00002.safetensors": b"", "model-00002-of-00002.safetensors": b""}
    assert is_stale("model.safetensors", new) and is_stale("pytorch_model.bin", new)
    assert not is_stale("model-00001-of-00002.safetensors", new) and not is_stale("README.md", new)
    assert not is_stale("model.safetensors", {"processor_config.json": b""})
