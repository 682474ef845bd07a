"""The converters: every weight arrives unchanged, everything that does not fit is refused, nothing is left behind."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from glus_hf import CheckpointError, GLUSConfig, GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.conversion import weight_files as weight_files_glus
from glus_hf.conversion.sam2_config import mask_config_from_sam2
from glus_hf.models.glus.convert_glus_to_hf import convert_starting_weights, convert_state_dict, replace_sam2
from glus_hf.models.glus.convert_glus_to_original import export_checkpoint
from glus_hf.models.glus.modeling_glus import GLUSModel
from glus_hf.models.glus.weight_names_glus import MEMORY_PROJECTION, our_name, upstream_names
from tests.models.glus.small_glus import freeze_pretrained_parts
from tests.models.glus.upstream_folders import (
    CHECKPOINT,
    CLIP,
    FIXTURE,
    MASK_PREFIX,
    SAM2_CONFIG,
    assert_equal_weights,
    assert_refused,
    clip_weights,
    convert,
    load_folder,
    make_folder,
    make_sam2_file,
    upstream_weights,
)


pytest.importorskip("sentencepiece")
SEG, IM_START, IM_END = 480, 481, 482
MASKS = "model.mask_model."


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return convert(tmp_path_factory.mktemp("converted") / "model")


@pytest.fixture(scope="module")
def expected():
    return convert_state_dict(upstream_weights(), clip_weights())


# ---- a released folder


def test_weights_and_config(converted, expected):
    assert_equal_weights(load_folder(converted), expected)
    model, info = GLUSForVideoSegmentation.from_pretrained(converted, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.float32 and model.config.seg_token_id == SEG
    assert model.config.fuser_scale == "checkpoint"


def test_processor(converted):
    processor = GLUSProcessor.from_pretrained(converted)
    tokens = processor.tokenizer.convert_tokens_to_ids(["[SEG]", "<im_start>", "<im_end>"])
    assert tokens == [SEG, IM_START, IM_END] and processor.pad_token_id == 0
    assert processor.num_image_tokens == 64 and processor.image_processor.mask_size == {"height": 1024, "width": 1024}
    golden = load_file(FIXTURE / "golden.safetensors")
    text = processor.clean_expression(json.loads((FIXTURE / "meta.json").read_text())["expression"])
    for frame in range(10):
        prompt = processor.build_window_prompt(text, min(frame + 1, 4))
        assert processor.tokenize(prompt) == golden[f"input_ids.{frame}"].flatten().tolist()


def test_other_tokens_and_another_order(tmp_path):
    """An added token that nobody uses, as the released tokenizer has one, and a padding token of its own."""
    rows = {name: torch.cat([t, t[:1]]) if t.shape[0] == 483 else t for name, t in upstream_weights().items()}
    source = make_folder(tmp_path / "source", rows, vocab_size=484)
    ids = {"[PAD]": 480, "<im_start>": 481, "[SEG]": 482, "<im_end>": 483}
    (source / "added_tokens.json").write_text(json.dumps(ids))
    special = json.loads((source / "special_tokens_map.json").read_text())
    (source / "special_tokens_map.json").write_text(json.dumps(special | {"pad_token": "[PAD]"}))
    output = convert(tmp_path / "output", source=source)
    processor = GLUSProcessor.from_pretrained(output)
    assert {token: processor.tokenizer.get_vocab()[token] for token in ids} == ids
    assert GLUSConfig.from_pretrained(output).seg_token_id == processor.seg_token_id == 482
    assert processor.pad_token_id == 0
    exported = export_checkpoint(output, tmp_path / "back", progress=False)
    assert json.loads((exported / "added_tokens.json").read_text()) == ids


def test_record(converted, tmp_path):
    record = json.loads((converted / "conversion.json").read_text())
    assert record["kind"] == "released" and record["versions"]["torch"]
    hashes = record["sources"]["checkpoint"]["sha256"]
    assert {"pytorch_model.bin", "config.json", "tokenizer.model"} <= hashes.keys()
    assert all(len(value) == 64 for value in hashes.values())
    assert str(tmp_path.parent) not in json.dumps(record) and str(FIXTURE) not in json.dumps(record)
    again = convert(tmp_path / "again")
    for file in converted.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_files_are_as_readable_as_their_folder(converted):
    modes = {file.name: file.stat().st_mode & 0o777 for file in converted.iterdir()}
    assert modes["model.safetensors"] == converted.stat().st_mode & 0o666


def test_clip_in_its_other_shapes(tmp_path, expected):
    whole = clip_weights() | {
        "text_model.final_layer_norm.bias": torch.zeros(4),
        "visual_projection.weight": torch.zeros(4, 4),
        "logit_scale": torch.tensor(1.0),
        "vision_model.embeddings.position_ids": torch.arange(257)[None],
    }
    settings = json.loads((CLIP / "config.json").read_text())
    clip = make_folder(tmp_path / "whole", whole, template=CLIP, model_type="clip", vision_config=settings)
    assert_equal_weights(load_folder(convert(tmp_path / "a", clip=clip)), expected)
    bare = {name.removeprefix("vision_model."): tensor for name, tensor in clip_weights().items()}
    clip = make_folder(tmp_path / "bare", bare, safetensors=True, template=CLIP)
    assert_equal_weights(load_folder(convert(tmp_path / "b", clip=clip)), expected)


def test_dtype(tmp_path, expected):
    output = convert(tmp_path / "output", dtype="bfloat16")
    assert_equal_weights(load_folder(output), {name: tensor.bfloat16() for name, tensor in expected.items()})
    assert GLUSForVideoSegmentation.from_pretrained(output).dtype == torch.bfloat16
    mixed = {name: t if MASK_PREFIX in name else t.bfloat16() for name, t in upstream_weights().items()}
    kept = convert(tmp_path / "kept", source=make_folder(tmp_path / "mixed", mixed))
    dtypes = {name.startswith(MASKS): t.dtype for name, t in load_folder(kept).items() if "vision_tower" not in name}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    assert GLUSConfig.from_pretrained(kept).dtype == torch.bfloat16


def test_options(tmp_path):
    output = convert(tmp_path / "a", compat="evaluation-script", dense_position_dtype="float32")
    config, processor = GLUSConfig.from_pretrained(output), GLUSProcessor.from_pretrained(output)
    assert (config.fuser_scale, config.dense_position_dtype, processor.overlap) == ("identity", "float32", "sum")
    record = json.loads((output / "conversion.json").read_text())
    assert record["options"]["compat"] == "evaluation-script" and record["options"]["fuser_scale"] == "identity"
    output = convert(tmp_path / "b", multimask_fallback=False, context_frames="uniform")
    config, processor = GLUSConfig.from_pretrained(output), GLUSProcessor.from_pretrained(output)
    assert config.multimask_fallback is False and processor.context_frames == "uniform"


def test_unknown_options_are_refused(tmp_path):
    assert_refused(tmp_path, "fuser_size", error=ValueError, fuser_size=1)
    assert_refused(tmp_path, "fuser_scale", error=ValueError, fuser_scale="none")
    assert_refused(tmp_path, "overlap", error=ValueError, overlap="none")
    assert_refused(tmp_path, "compat", error=ValueError, compat="none")
    assert_refused(tmp_path, "dtype", error=ValueError, dtype="int3")
    assert_refused(tmp_path, "size", error=ValueError, max_shard_size="big")


# ---- what does not fit


def test_all_wrong_weights_are_listed(tmp_path):
    weights = upstream_weights()
    missing = [
        "lm_head.weight",
        MASK_PREFIX + "no_mem_embed",
        "model.layers.1.mlp.up_proj.weight",
        MASK_PREFIX + "sam_prompt_encoder.not_a_point_embed.weight",
        MASK_PREFIX + "sam_prompt_encoder.point_embeddings.1.weight",
    ]
    for name in missing:
        del weights[name]
    weights["base_model.nonsense"] = weights["model.layers.7.mlp.up_proj.weight"] = torch.zeros(1)
    weights["model.norm.weight"] = torch.zeros(63)
    points = MASK_PREFIX + "sam_prompt_encoder.point_embeddings."
    weights[points + "2.weight"] = torch.zeros(1, 47)
    weights[points + "4.weight"] = torch.zeros(1, 48)
    source = make_folder(tmp_path / "source", weights)
    error = assert_refused(tmp_path, "5 missing", "3 unexpected", "2 of the wrong shape", *missing, source=source)
    assert set(error.keys["missing"]) == {*missing}
    unexpected = ["base_model.nonsense", "model.layers.7.mlp.up_proj.weight", points + "4.weight"]
    assert error.keys["unexpected"] == unexpected
    wrong = {"model.norm.weight [63] instead of [64]", f"{points}2.weight [1, 47] instead of [1, 48]"}
    assert set(error.keys["of the wrong shape"]) == wrong


def test_a_long_list_is_complete(tmp_path):
    weights = upstream_weights()
    missing = [name for name in weights if ".mlp." in name]
    for name in missing:
        del weights[name]
    source = make_folder(tmp_path / "source", weights)
    assert len(missing) > 20
    assert_refused(tmp_path, f"{len(missing)} missing", *missing, source=source)


def test_what_does_not_fit_is_said_before_anything_is_hashed(tmp_path, monkeypatch):
    """Hashing 14.5 GB takes a minute."""
    monkeypatch.setattr(weight_files_glus, "file_hash", lambda *args: pytest.fail("hashed a file"))
    assert_refused(
        tmp_path, "of the wrong shape", source=make_folder(tmp_path / "a", upstream_weights(), hidden_size=128)
    )
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "file").write_text("")
    assert_refused(tmp_path, "exists already")


def test_a_weight_given_twice(tmp_path):
    source = make_folder(tmp_path / "source", upstream_weights() | clip_weights())
    assert_refused(tmp_path, "given twice", source=source)
    weights = clip_weights()
    weights["post_layernorm.bias"] = weights["vision_model.post_layernorm.bias"].clone()
    clip = make_folder(tmp_path / "clip", weights, template=CLIP)
    assert_refused(tmp_path, "unexpected", "post_layernorm.bias", clip=clip)


def test_wrong_configs(tmp_path):
    weights = upstream_weights()
    other = make_folder(tmp_path / "other", weights, hidden_size=128)
    assert_refused(tmp_path, "of the wrong shape", source=other)
    for size in (400, "483", None):
        source = make_folder(tmp_path / f"vocabulary-{size}", weights, vocab_size=size)
        assert_refused(tmp_path, f"vocab_size of {size!r}", source=source)
    scaled = make_folder(tmp_path / "scaled", weights, rope_scaling={"type": "linear", "factor": 2.0})
    assert_refused(tmp_path, "rope_scaling", error=ValueError, source=scaled)
    lisa = make_folder(tmp_path / "no-seg", weights)
    ids = {"[SEG]": 480, "<im_start>": 481, "<im_end>": 483}  # a gap
    (lisa / "added_tokens.json").write_text(json.dumps(ids))
    assert_refused(tmp_path, "<im_end> has id 483", source=lisa)
    (lisa / "added_tokens.json").write_text(json.dumps(ids | {"[PAD]": 482}))
    assert_refused(tmp_path, "<im_end> has id 483", "vocab_size of 483", source=lisa)
    for tokens, missing in (({}, "[SEG], <im_start>, <im_end>"), ({"[SEG]": 480}, "lacks <im_start>, <im_end>")):
        (lisa / "added_tokens.json").write_text(json.dumps(tokens))
        assert_refused(tmp_path, missing, "added_tokens.json", "--llm", source=lisa)
    (lisa / "tokenizer.model").unlink()
    assert_refused(tmp_path, "tokenizer.model", source=lisa)
    # sizes that only the yaml knows are not guessed
    assert_refused(tmp_path, "--sam2-config", error=ValueError, sam2_config=None)


def test_a_yaml_in_the_folder_is_found(tmp_path, expected):
    source = make_folder(tmp_path / "source", upstream_weights())
    shutil.copy(SAM2_CONFIG, source / "sam2_config.yaml")
    assert_equal_weights(load_folder(convert(tmp_path / "output", source=source, sam2_config=None)), expected)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("hidden_size", "64", "expected int"),
        ("num_attention_heads", 5, "not a multiple"),
        ("hidden_act", "nothing", "nothing"),
        ("mm_vision_select_layer", -9, "CLIP has 3 layers"),
    ],
)
def test_configs_that_make_no_model(tmp_path, field, value, words):
    source = make_folder(tmp_path / "source", upstream_weights(), **{field: value})
    assert_refused(tmp_path, words, source=source, error=ValueError)


def test_sam2_as_wide_as_its_memories(tmp_path):
    """Then SAM-2 has no projection of memories; we have one that changes nothing, and leave it out again."""
    config = yaml.safe_load(re.sub(r"\b48\b", "64", SAM2_CONFIG.read_text()))
    with torch.device("meta"):
        model = GLUSModel(GLUSConfig(mask_config=mask_config_from_sam2(config)))
    generator, weights = torch.Generator().manual_seed(0), upstream_weights()
    weights = {name: tensor for name, tensor in weights.items() if MASK_PREFIX not in name}
    for name, tensor in model.mask_model.state_dict().items():
        for theirs in upstream_names(MASKS + name):
            if MEMORY_PROJECTION not in theirs:
                shape = tensor[:1].shape if "point_embeddings" in theirs else tensor.shape
                weights[theirs] = torch.randn(shape, generator=generator)
    for name in ("model.text_hidden_fcs.0.2.weight", "model.text_hidden_fcs.0.2.bias"):
        weights[name] = torch.cat([weights[name], weights[name][:16]])
    source = make_folder(tmp_path / "source", weights, out_dim=64)
    output = convert(tmp_path / "output", source=source, sam2_config=config)
    projection = GLUSForVideoSegmentation.from_pretrained(output).model.mask_model.memory_encoder.projection
    features = torch.randn(1, 64, 3, 3, generator=generator)
    assert torch.equal(projection(features), features)
    back = export_checkpoint(output, tmp_path / "back", progress=False)
    assert_equal_weights(load_folder(back), weights)
    replaced = replace_sam2(
        output, make_sam2_file(tmp_path / "sam2.pt", source=weights), tmp_path / "b", progress=False
    )
    assert_equal_weights(load_folder(replaced), load_folder(output))
    (file,) = output.glob("*.safetensors")
    ours = load_file(file)
    ours[our_name(MEMORY_PROJECTION + "weight")][0, 1] = 1
    save_file(ours, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match="1 that the original code does not have .*out_proj.weight"):
        export_checkpoint(output, tmp_path / "c", progress=False)


def test_names_go_both_ways(expected):
    for name in expected:
        for theirs in upstream_names(name):
            assert our_name(theirs) == name
    assert sorted(theirs for name in expected for theirs in upstream_names(name)) == sorted(
        [name for name in upstream_weights() if not name.endswith("inv_freq")] + list(clip_weights())
    )
    assert our_name("model.layers.0.self_attn.rotary_emb.inv_freq") is None


# ---- starting weights


@pytest.fixture(scope="module")
def lisa(tmp_path_factory):
    """A folder like LISA-7B-v1: another mask branch and a tokenizer without the three tokens."""
    weights = {name: tensor for name, tensor in upstream_weights().items() if MASK_PREFIX not in name}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:480].clone()
    weights[MASK_PREFIX + "image_encoder.blocks.0.norm1.bias"] = torch.zeros(4)  # SAM-1
    folder = make_folder(tmp_path_factory.mktemp("lisa") / "LISA", weights, shards=2, vocab_size=480)
    (folder / "added_tokens.json").unlink()
    return folder


@pytest.fixture(scope="module")
def sam2_file(tmp_path_factory):
    return make_sam2_file(tmp_path_factory.mktemp("sam2") / "sam2_tiny.pt")


def start(output, llm, sam2, sam2_config=SAM2_CONFIG, **kwargs):
    return convert_starting_weights(llm, sam2, CLIP, output, sam2_config, progress=False, **kwargs)


def test_starting_weights(tmp_path, lisa, sam2_file, expected):
    output = start(tmp_path / "a", lisa, sam2_file)
    ours, projection = load_folder(output), "model.seg_projection."
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        if name.startswith(projection):
            assert not torch.equal(ours[name], tensor)
            assert 0.5 < ours[name].abs().max() * 8 <= 1  # uniform in +-1/sqrt(64)
        elif tensor.shape[0] == 483:
            assert torch.equal(ours[name][:480], tensor[:480])
            assert 0.01 < ours[name][480:].std() < 0.03
        else:
            assert torch.equal(ours[name], tensor), name
    model, processor = GLUSForVideoSegmentation.from_pretrained(output), GLUSProcessor.from_pretrained(output)
    assert model.config.seg_token_id == processor.seg_token_id == SEG
    assert processor.tokenizer.convert_tokens_to_ids(["<im_start>", "<im_end>"]) == [IM_START, IM_END]
    record = json.loads((output / "conversion.json").read_text())
    assert record["added_tokens"] == ["[SEG]", "<im_start>", "<im_end>"]
    assert record["sources"]["sam2"]["sha256"].keys() == {"sam2_tiny.pt"}

    assert_equal_weights(load_folder(start(tmp_path / "same", lisa, sam2_file)), ours)
    other = load_folder(start(tmp_path / "other", lisa, sam2_file, seed=1))
    changed = {name for name in ours if not torch.equal(ours[name], other[name])}
    assert len(changed) == 6 and all("projection" in name or "embed" in name or "head" in name for name in changed)


def test_starting_weights_can_be_trained(tmp_path, lisa, sam2_file):
    """One step forward and back: finite, and every part that is new has a gradient."""
    output = start(tmp_path / "a", lisa, sam2_file)
    model, processor = GLUSForVideoSegmentation.from_pretrained(output), GLUSProcessor.from_pretrained(output)
    freeze_pretrained_parts(model.train())
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
    masks = generator.integers(0, 2, (1, 4, 48, 64), dtype=np.uint8)
    result = model(**processor([{"frames": list(frames), "masks": masks, "expressions": ["the cat"]}]))
    result.loss.backward()
    assert torch.isfinite(result.loss)
    new = {name: weight.grad for name, weight in model.named_parameters() if "seg_projection" in name}
    new["[SEG]"] = model.lm_head.weight.grad[SEG]
    assert len(new) == 5 and all(torch.isfinite(grad).all() and grad.abs().max() > 0 for grad in new.values())


def test_fields_that_older_configs_leave_empty(tmp_path, lisa, sam2_file):
    fields = json.loads((lisa / "config.json").read_text())
    source = shutil.copytree(lisa, tmp_path / "lisa")
    (source / "config.json").write_text(json.dumps(fields | {"vocab_size": None, "initializer_range": None}))
    assert_equal_weights(
        load_folder(start(tmp_path / "a", source, sam2_file)), load_folder(start(tmp_path / "b", lisa, sam2_file))
    )


def test_starting_weights_with_the_projection_of_lisa(tmp_path, lisa, sam2_file, expected):
    ours = load_folder(start(tmp_path / "a", lisa, sam2_file, projection="lisa"))
    for name in (name for name in expected if "seg_projection" in name):
        assert torch.equal(ours[name], expected[name])
    run = lambda output, **kwargs: start(output, lisa, sam2_file, **kwargs)
    assert_refused(tmp_path, "projection", error=ValueError, run=run, projection="random")


def test_starting_weights_from_sam21(tmp_path, lisa):
    new = {"no_obj_embed_spatial": torch.ones(1, 64), "obj_ptr_tpos_proj.weight": torch.ones(64, 48)}
    new |= {"obj_ptr_tpos_proj.bias": torch.ones(64)}
    file = make_sam2_file(tmp_path / "sam2.1.pt", lambda weights: weights | new)
    settings = yaml.safe_load(SAM2_CONFIG.read_text())
    settings["model"] |= {"no_obj_embed_spatial": True, "proj_tpos_enc_in_obj_ptrs": True}
    ours = load_folder(start(tmp_path / "a", lisa, file, settings))
    assert torch.equal(ours[MASKS + "occlusion_spatial_embedding_parameter"], torch.ones(1, 64))
    assert torch.equal(ours[MASKS + "temporal_positional_encoding_projection_layer.weight"], torch.ones(64, 48))
    GLUSForVideoSegmentation.from_pretrained(tmp_path / "a")
    run = lambda output, **kwargs: start(output, lisa, file, **kwargs)
    assert_refused(tmp_path, "3 unexpected", "obj_ptr_tpos_proj.bias", run=run)


def test_tokens_that_are_there_keep_their_ids(tmp_path, sam2_file, expected):
    ours = load_folder(start(tmp_path / "a", CHECKPOINT, sam2_file))
    assert torch.equal(ours["lm_head.weight"], expected["lm_head.weight"])
    assert json.loads((tmp_path / "a" / "conversion.json").read_text())["added_tokens"] == []


# ---- another SAM-2 in a model


def test_replace_sam2(tmp_path, converted, expected, caplog):
    file = make_sam2_file(tmp_path / "new.pt", lambda weights: {name: t + 1 for name, t in weights.items()})
    output = replace_sam2(converted, file, tmp_path / "output", progress=False)
    assert not caplog.text
    ours = load_folder(output)
    assert_equal_weights(ours, {name: t + 1 if name.startswith(MASKS) else t for name, t in expected.items()})
    assert {file.name for file in output.iterdir()} == {file.name for file in converted.iterdir()}
    for name in ("config.json", "processor_config.json", "tokenizer.json", "tokenizer.model"):
        assert (output / name).read_bytes() == (converted / name).read_bytes()
    record = json.loads((output / "conversion.json").read_text())
    assert record["kind"] == "replace-sam2" and record["previous"]["kind"] == "released"
    GLUSProcessor.from_pretrained(output)


def test_replace_sam2_by_one_that_does_not_fit(tmp_path, converted):
    file = make_sam2_file(tmp_path / "new.pt", lambda weights: {n: t for n, t in weights.items() if "no_mem" not in n})
    run = lambda output, sam2=file, **kwargs: replace_sam2(converted, sam2, output, progress=False, **kwargs)
    assert_refused(tmp_path, "--sam2-config", error=ValueError, run=run)
    assert_refused(tmp_path, "2 missing", "no_mem_embed", run=run, sam2_config=SAM2_CONFIG)
    assert_refused(tmp_path, "no such file", run=run, sam2=tmp_path / "nowhere.pt")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert_refused(tmp_path, "no SAM-2 weights", error=ValueError, run=run, sam2=tmp_path / "x.safetensors")
