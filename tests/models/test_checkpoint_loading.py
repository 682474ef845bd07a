"""What a checkpoint is, and damaged files of one: a line that says what to do."""

import json
import re
import shutil

import pytest
import torch

import glus_hf
from glus_hf.errors import CheckpointError
from glus_hf.hub import PACKAGED
from glus_hf.models import checkpoint_loading
from glus_hf.models.checkpoint_loading import (
    check_checkpoint,
    load_strictly,
    model_type_of,
    readable_errors,
    resolve_name,
)


TINY = resolve_name("glus-tiny")


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY, tmp_path / "glus-tiny")


def change_json(file, change):
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def write_config(folder, **fields):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


# --- the kind of a checkpoint --------------------------------------------------------------------------------------


def test_model_type_of_aliases_folders_and_adapters(tmp_path):
    assert model_type_of("glus-tiny") == model_type_of(TINY) == "glus"
    selector = write_config(tmp_path / "selector", model_type="glus_selector")
    assert model_type_of(selector) == "glus_selector"
    for number, base in enumerate(["glus-tiny", str(selector)]):
        adapter = tmp_path / f"adapter{number}"
        adapter.mkdir()
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        assert model_type_of(adapter) == ["glus", "glus_selector"][number]


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "has no config.json; pass a folder made by save_pretrained"),
        ("", "config.json: cannot be read"),
        ("[1]", "config.json: cannot be read"),
        ("[" * 10**5, "config.json: cannot be read"),
        ('{"model_type": "glu', "config.json: cannot be read"),
    ],
)
def test_without_a_readable_config_there_is_no_model_type(tmp_path, content, words):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    for read in (model_type_of, lambda folder: check_checkpoint(folder, ["glus"])):
        with pytest.raises(CheckpointError, match=words) as error:
            read(tmp_path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["no-such-model", "./folder", "~/folder", "a/b/c", "owner/"])
def test_names_that_can_be_no_model_are_not_asked_for(name):
    for read in (model_type_of, lambda name: check_checkpoint(name, ["glus"])):
        with pytest.raises(CheckpointError, match="no such folder or bundled model") as error:
            read(name)
        assert all(alias in str(error.value) for alias in PACKAGED)


def test_another_kind_of_model_is_named(tmp_path):
    write_config(tmp_path / "llava", model_type="llava")
    with pytest.raises(
        CheckpointError, match="holds a 'llava' model, not 'glus'; convert original GLUS weights first"
    ):
        check_checkpoint(tmp_path / "llava", ["glus"])
    with pytest.raises(CheckpointError, match="not 'a or b'; pass the folder of such a model"):
        check_checkpoint(tmp_path, ["a", "b"], subfolder=write_config(tmp_path / "sub", model_type="glus").name)


# --- what does not fit ---------------------------------------------------------------------------------------------


def test_weights_that_do_not_fit_are_counted():
    info = {
        "missing_keys": ["d", "a", "b", "c", "e"],
        "unexpected_keys": ["x"],
        "mismatched_keys": [("e", (2,), (3,))],
    }
    model = torch.nn.Linear(1, 1)
    load = lambda name, **options: (model, info)
    with pytest.raises(CheckpointError) as error:
        load_strictly(load, TINY)
    assert (
        "4 missing (a, b, c and 1 more); 1 unexpected (x); 1 of the wrong shape (e [2] instead of [3]); use the"
        in str(error.value)
    )
    fits = {"mismatched_keys": info["mismatched_keys"]}
    load = lambda name, **options: (model, fits)
    assert load_strictly(load, TINY, ignore_mismatched_sizes=True, output_loading_info=True) == (model, fits)


# --- damaged files -------------------------------------------------------------------------------------------------


def drop(*path):
    def change(content):
        for name in path[:-1]:
            content = content[name]
        del content[path[-1]]

    return change


@pytest.mark.parametrize(
    "file, change",
    [
        ("tokenizer.json", drop("model")),
        ("tokenizer.json", drop("model", "vocab")),
        ("tokenizer.json", drop("model", "unk_token")),
        ("processor_config.json", lambda content: content.update(image_processor=[1, 2])),
        ("processor_config.json", lambda content: content["image_processor"].update(size="large")),
        ("processor_config.json", lambda content: content.update(overlap="most")),
        ("config.json", lambda content: content.update(text_config=7)),
    ],
)
def test_a_damaged_file_is_one_line(folder, file, change):
    change_json(folder / file, change)
    with pytest.raises(CheckpointError, match=re.escape(str(folder))) as error:
        glus_hf.pipeline(model=str(folder), device="cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["", '{"a": ', "[" * 10**5], ids=["empty", "cut", "deep"])
def test_a_file_that_is_no_json_is_one_line(folder, file, content):
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=re.escape(str(folder))) as error:
        glus_hf.pipeline(model=str(folder), device="cpu")
    assert "\n" not in str(error.value)


def test_a_traceback_that_a_library_quotes_is_left_out(tmp_path):
    quoted = "none loads:\n\nTraceback (most recent call last):\n  File 'x.py'\nValueError: needs its own code\n"
    with pytest.raises(CheckpointError, match="cannot be loaded .RuntimeError: ValueError: needs its own code.; "):
        with readable_errors(tmp_path):
            raise RuntimeError(quoted)


def test_shapes_are_tried_unless_a_bundled_model_has_its_own_configuration(folder, monkeypatch):
    tried = []
    monkeypatch.setattr(checkpoint_loading, "check_shapes", lambda name, model: tried.append(name))
    glus_hf.GLUSForVideoSegmentation.from_pretrained("glus-tiny")
    assert tried == []
    glus_hf.GLUSForVideoSegmentation.from_pretrained(folder)
    assert tried == [str(folder)]


def test_a_bundled_model_with_a_configuration_that_cannot_compute_is_refused():
    config = glus_hf.GLUSConfig.from_pretrained("glus-tiny")
    config.mask_config.mask_decoder_config.num_attention_heads = 7  # does not divide the width
    with pytest.raises(CheckpointError, match="cannot compute"):
        glus_hf.GLUSForVideoSegmentation.from_pretrained("glus-tiny", config=config)
