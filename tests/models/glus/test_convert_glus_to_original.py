"""Back to the released layout: bit by bit what it was, and complete for the public program."""

import json
import shutil

import pytest
import torch
from transformers import LlamaTokenizer

from glus_hf import CheckpointError, GLUSConfig, GLUSForVideoSegmentation, resolve_checkpoint
from glus_hf.models.glus.convert_glus_to_hf import convert_checkpoint
from glus_hf.models.glus.convert_glus_to_original import export_checkpoint
from glus_hf.models.glus.original_config_glus import upstream_from_config
from tests.models.glus.upstream_folders import (
    CHECKPOINT,
    CLIP,
    MASK_PREFIX,
    SAM2_CONFIG,
    load_folder,
    make_folder,
    upstream_weights,
)


pytest.importorskip("sentencepiece")
TOKENIZER_FILES = ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json")


def convert(output, source=CHECKPOINT):
    return convert_checkpoint(source, CLIP, output, SAM2_CONFIG, progress=False)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return convert(tmp_path_factory.mktemp("converted") / "model")


@pytest.fixture(scope="module")
def exported(converted, tmp_path_factory):
    return export_checkpoint(converted, tmp_path_factory.mktemp("exported") / "model", progress=False)


def read_json(file):
    return json.loads(file.read_text())


def assert_same_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name


def test_every_tensor_comes_back(exported):
    """The rotary constants too, which are computed again."""
    weights = upstream_weights()
    assert sum(name.endswith("inv_freq") for name in weights) == 3
    assert_same_weights(load_folder(exported), weights)


def test_config_and_tokenizer_come_back(exported):
    assert read_json(exported / "config.json") == read_json(CHECKPOINT / "config.json")
    for name in TOKENIZER_FILES:
        assert read_json(exported / name) == read_json(CHECKPOINT / name), name
    assert (exported / "tokenizer.model").read_bytes() == (CHECKPOINT / "tokenizer.model").read_bytes()
    text = "the small red square [SEG] . <im_start>"
    tokenizers = [LlamaTokenizer.from_pretrained(folder) for folder in (exported, CHECKPOINT)]
    assert tokenizers[0].encode(text) == tokenizers[1].encode(text)


def test_the_round_trip_goes_on(converted, exported, tmp_path):
    again = convert(tmp_path / "again", source=exported)
    assert_same_weights(load_folder(again), load_folder(converted))
    assert (again / "config.json").read_bytes() == (converted / "config.json").read_bytes()


def test_the_dtypes_of_the_released_files_come_back(tmp_path):
    """bfloat16 but for the mask branch and the projection, rotary constants included; and fields we do not know."""
    keep = (MASK_PREFIX, "model.text_hidden_fcs")
    weights = {name: t if name.startswith(keep) else t.bfloat16() for name, t in upstream_weights().items()}
    fields = {"torch_dtype": "bfloat16", "new_field": [1], "_name_or_path": "/home/somebody"}
    source = make_folder(tmp_path / "source", weights, shards=2, **fields)
    output = export_checkpoint(convert(tmp_path / "a", source), tmp_path / "b", max_shard_size="2MB", progress=False)
    assert len(list(output.glob("*.safetensors"))) > 1
    assert_same_weights(load_folder(output), weights)
    original = read_json(source / "config.json")
    del original["_name_or_path"]
    assert read_json(output / "config.json") == original


def test_fields_that_the_original_leaves_to_defaults_are_left_to_them(tmp_path):
    original = read_json(CHECKPOINT / "config.json")
    for name in ("rope_scaling", "pretraining_tp", "num_key_value_heads", "mask_threshold", "hidden_act"):
        del original[name]
    source = make_folder(tmp_path / "source", upstream_weights())
    (source / "config.json").write_text(json.dumps(original))
    output = export_checkpoint(convert(tmp_path / "a", source), tmp_path / "b", progress=False)
    assert read_json(output / "config.json") == original


@pytest.mark.parametrize("factor", [None, 1.0000002])
def test_rotary_constants_come_back_as_they_were(tmp_path, factor):
    """If there were any: other versions of transformers do not save them, and another machine may round otherwise."""
    weights = upstream_weights()
    rotary = [name for name in weights if name.endswith("inv_freq")]
    weights = {
        name: t * factor if name in rotary else t for name, t in weights.items() if factor or name not in rotary
    }
    source = make_folder(tmp_path / "source", weights)
    output = export_checkpoint(convert(tmp_path / "a", source), tmp_path / "b", progress=False)
    assert_same_weights(load_folder(output), weights)


def test_a_trained_model_without_a_record(converted, tmp_path):
    """`save_pretrained` keeps neither conversion.json nor tokenizer.model."""
    model = GLUSForVideoSegmentation.from_pretrained(converted)
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    folder = tmp_path / "trained"
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        shutil.copy(converted / name, folder)
    with pytest.raises(CheckpointError, match="--tokenizer"):
        export_checkpoint(folder, tmp_path / "output", progress=False)
    assert not (tmp_path / "output").exists()
    output = export_checkpoint(folder, tmp_path / "output", tokenizer=CHECKPOINT, progress=False)
    weights = upstream_weights()
    weights["lm_head.weight"] = weights["lm_head.weight"] + 1
    assert_same_weights(load_folder(output), weights)
    config, original = read_json(output / "config.json"), read_json(CHECKPOINT / "config.json")
    assert config.pop("rope_theta") == 10000.0
    assert config == original
    assert read_json(output / "added_tokens.json") == read_json(CHECKPOINT / "added_tokens.json")


def test_sizes_of_the_released_config():
    fields = upstream_from_config(GLUSConfig())
    assert (fields["hidden_size"], fields["vocab_size"], fields["out_dim"], fields["mm_hidden_size"]) == (
        4096,
        32004,
        256,
        1024,
    )
    assert fields["train_mask_decoder"] is True and fields["mm_use_im_start_end"] is True


def test_what_cannot_be_exported(converted, tmp_path):
    tiny = shutil.copytree(resolve_checkpoint("glus-tiny"), tmp_path / "tiny")
    shutil.copy(CHECKPOINT / "tokenizer.model", tiny)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    bare = shutil.copytree(converted, tmp_path / "bare", ignore=shutil.ignore_patterns("*token*"))
    before = sorted(tmp_path.iterdir())
    for model, words, options in (
        (tiny, "frame_position", {}),
        (CHECKPOINT, "llava", {}),
        (tmp_path / "nowhere", "no such folder", {}),
        (adapter, "merge it first", {}),
        (bare, "bare: .* save model and processor there again", {"tokenizer": CHECKPOINT}),
        (converted, "format", {"format": "onnx"}),
        ("owner/model", "download the model first", {}),
    ):
        with pytest.raises(ValueError, match=words) as error:
            export_checkpoint(model, tmp_path / "output", progress=False, **options)
        assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before
