"""Conversion of Chat-UniVi folders and selectors: every weight arrives unchanged, what does not fit is refused."""

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoProcessor
from typer.testing import CliRunner

import glus_hf
from glus_hf import ChatUniViForConditionalGeneration, ChatUniViProcessor, CheckpointError, GLUSSelector
from glus_hf.cli.main import app
from glus_hf.models.glus_selector.convert_glus_selector_to_hf import convert_starting_selector
from glus_hf.models.glus_selector.weight_names_glus_selector import our_name, upstream_name
from tests.models.glus import upstream_folders
from tests.models.glus.upstream_folders import assert_equal_weights, load_folder, make_folder
from tests.models.glus_selector.upstream_selector import (
    CHECKPOINT,
    CLIP,
    META,
    SCORE,
    base_weights,
    convert,
    golden,
    load_selector,
    make_base_folder,
    make_selector_folder,
    read_frames,
    selector_weights,
)
from tests.warm_python import warm_python


pytest.importorskip("sentencepiece")
HEAD = "model.text_hidden_fcs.0."
TOWER = "model.vision_tower.vision_tower."
assert_refused = partial(upstream_folders.assert_refused, run=convert)


def clip_weights():
    return load_folder(CLIP)


def expected_weights(upstream):
    """Ours from the original code's, by the names alone."""
    names = {name: our_name(name) for name in [*upstream, *clip_weights()] if not name.endswith("inv_freq")}
    return {ours: (upstream | clip_weights())[name] for name, ours in names.items()}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return convert(tmp_path_factory.mktemp("converted") / "model")


@pytest.fixture(scope="module")
def expected():
    return expected_weights(selector_weights())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base_folder(tmp_path_factory.mktemp("base") / "Chat-UniVi")


# ---- a selector


def test_weights_config_and_processor(converted, expected):
    assert_equal_weights(load_folder(converted), expected)
    model, processor = load_selector(converted)
    config = model.config
    assert (config.score_token_id, config.score_head_size, config.num_image_tokens) == (SCORE, 32, 112)
    assert (config.use_cluster, config.temporal_cluster_rate, config.vision_feature_layer) == (True, 1 / 16, -2)
    assert config.architectures == ["GLUSSelector"]
    assert (processor.score_token_id, processor.pad_token_id, processor.legacy) == (SCORE, 0, True)


def test_auto_classes(converted):
    assert type(AutoConfig.from_pretrained(converted)) is glus_hf.GLUSSelectorConfig
    assert type(AutoModel.from_pretrained(converted)) is GLUSSelector
    assert type(AutoProcessor.from_pretrained(converted)) is glus_hf.GLUSSelectorProcessor
    with pytest.raises(CheckpointError, match="'glus_selector' model"):
        glus_hf.AutoModelForReferringVideoSegmentation.from_pretrained(converted)


def test_round_trip(converted, tmp_path):
    model, processor = load_selector(converted)
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    processor.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    again, processor_again = load_selector(tmp_path)
    assert again.config.to_diff_dict() == model.config.to_diff_dict()
    assert processor_again.to_dict() == processor.to_dict()
    frames, text = read_frames("frames")[:4], META["selector"]["expression"]
    scores = [
        m.score_frames(p.init_video_session(frames, text)) for m, p in ((model, processor), (again, processor_again))
    ]
    assert torch.equal(*scores)


def test_record(converted, tmp_path):
    record = json.loads((converted / "conversion.json").read_text())
    assert record["kind"] == "selector" and record["options"] == {"dtype": "keep"}
    assert {"pytorch_model.bin", "config.json", "tokenizer.model"} <= record["sources"]["checkpoint"]["sha256"].keys()
    assert record["upstream_config"]["config"]["spatial_cluster_rate0"] == 64
    assert str(CHECKPOINT.parent) not in json.dumps(record) and str(tmp_path.parent) not in json.dumps(record)
    again = convert(tmp_path / "again")
    for file in converted.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


@pytest.mark.parametrize("safetensors", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_kind_of_weight_files(tmp_path, expected, shards, safetensors):
    source = make_selector_folder(tmp_path / "source", shards=shards, safetensors=safetensors)
    output = convert(tmp_path / "output", source=source, max_shard_size="200KB")
    assert len(list(output.glob("model-*-of-*.safetensors"))) > 2
    assert_equal_weights(load_folder(output), expected)
    GLUSSelector.from_pretrained(output)


def test_dtype(tmp_path, expected):
    output = convert(tmp_path / "output", dtype="bfloat16")
    cast = {name: t if name.startswith("score_head.") else t.bfloat16() for name, t in expected.items()}
    assert_equal_weights(load_folder(output), cast)
    assert GLUSSelector.from_pretrained(output).dtype == torch.bfloat16
    half = {name: tensor.bfloat16() for name, tensor in selector_weights().items()}
    kept = convert(tmp_path / "kept", source=make_selector_folder(tmp_path / "half", half))
    model = GLUSSelector.from_pretrained(kept)
    assert model.dtype == torch.bfloat16 and model.score_head[0].weight.dtype == torch.float32


def test_names_go_both_ways(expected):
    upstream = {name for name in [*selector_weights(), *clip_weights()] if not name.endswith("inv_freq")}
    assert {upstream_name(name) for name in expected} == upstream
    assert upstream_name("something.else") is None


def test_the_copy_of_the_tower_is_left_out(tmp_path, expected):
    copy = {TOWER + name: tensor + 1 for name, tensor in clip_weights().items()}
    copy[TOWER + "vision_model.embeddings.position_ids"] = torch.arange(257)[None]
    source = make_selector_folder(tmp_path / "source", selector_weights() | copy)
    assert_equal_weights(load_folder(convert(tmp_path / "output", source=source)), expected)


def test_clip_in_its_other_shapes(tmp_path, expected):
    whole = clip_weights() | {
        "text_model.final_layer_norm.bias": torch.zeros(4),
        "visual_projection.weight": torch.zeros(4, 4),
        "logit_scale": torch.tensor(1.0),
    }
    settings = json.loads((CLIP / "config.json").read_text())
    clip = make_folder(tmp_path / "whole", whole, template=CLIP, model_type="clip", vision_config=settings)
    assert_equal_weights(load_folder(convert(tmp_path / "a", clip=clip)), expected)
    bare = {name.removeprefix("vision_model."): tensor for name, tensor in clip_weights().items()}
    clip = make_folder(tmp_path / "bare", bare, safetensors=True, template=CLIP)
    (clip / "preprocessor_config.json").unlink()
    output = convert(tmp_path / "b", clip=clip)
    assert_equal_weights(load_folder(output), expected)
    assert load_selector(output)[1].image_processor.crop_size["height"] == 224


def test_other_sizes_of_the_merger(tmp_path):
    merger = {"use_cluster": True, "temporal_cluster_rate": 0.25}
    merger |= {"spatial_cluster_rate0": 100, "spatial_cluster_rate1": 20, "spatial_cluster_rate2": 5}
    model, processor = load_selector(
        convert(tmp_path / "a", source=make_selector_folder(tmp_path / "x", config=merger))
    )
    assert model.config.spatial_clusters == [100, 20, 5] and processor.num_image_tokens == 125
    assert processor.temporal_cluster_rate == 0.25
    assert model.score_frames(processor.init_video_session(read_frames("frames")[:2], "red")).isfinite().all()
    for off in ({"use_cluster": False}, None):
        source = make_selector_folder(tmp_path / f"off{off is None}", config=off)
        model, processor = load_selector(convert(tmp_path / f"b{off is None}", source=source))
        assert not model.config.use_cluster and processor.num_image_tokens == 256
        assert processor.temporal_cluster_rate is None


def test_the_tokenizer_flag(tmp_path):
    for legacy, expected in [(False, False), (True, True), (None, True)]:
        source = make_selector_folder(tmp_path / f"source{legacy}")
        settings = json.loads((source / "tokenizer_config.json").read_text())
        (source / "tokenizer_config.json").write_text(json.dumps(settings | {"legacy": legacy}))
        processor = load_selector(convert(tmp_path / f"output{legacy}", source=source))[1]
        assert processor.legacy is expected
        if not expected:
            ids = processor.tokenize(META["selector"]["prompt_of_target_0"])
            assert ids == golden()["tokenizer_legacy_false.input_ids"].tolist()


# ---- what does not fit


def test_all_wrong_weights_are_listed(tmp_path):
    weights = selector_weights()
    missing = ["lm_head.weight", HEAD + "2.bias", "model.layers.1.mlp.up_proj.weight"]
    for name in missing:
        del weights[name]
    weights["model.mm_projector.weight"] = torch.zeros(64, 47)
    weights |= {
        "model.ctm0.conv.weight": torch.zeros(1),
        TOWER + "nonsense": torch.zeros(1),
        HEAD + "6.bias": torch.ones(1),
    }
    error = assert_refused(
        tmp_path,
        "3 missing",
        "3 unexpected",
        "1 of the wrong shape",
        *missing,
        "model.mm_projector.weight [64, 47] instead of [64, 48]",
        source=make_selector_folder(tmp_path / "source", weights),
    )
    assert sorted(error.keys["missing"]) == sorted(missing)
    assert error.keys["unexpected"] == ["model.ctm0.conv.weight", HEAD + "6.bias", TOWER + "nonsense"]


def test_a_tower_that_lacks_a_weight(tmp_path):
    weights = clip_weights()
    del weights["vision_model.post_layernorm.bias"]
    clip = make_folder(tmp_path / "clip", weights, template=CLIP)
    assert_refused(tmp_path, "1 missing (vision_model.post_layernorm.bias)", clip=clip)


def test_code_in_a_pickle_is_refused(tmp_path):
    source = make_selector_folder(tmp_path / "source", {})
    torch.save({"lm_head.weight": Path("x")}, source / "pytorch_model.bin")
    assert_refused(tmp_path, "more than tensors", source=source)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_type": "llava"}, "'llava' model, not 'ChatUniVi'"),
        ({"vocab_size": 600}, "[SCORE] has id 600"),
        ({"mm_projector_type": "mlp2x_gelu"}, "projector is 'mlp2x_gelu'"),
        ({"config": {"use_cluster": True}}, "spatial_cluster_rate0"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling"),
        ({"out_dim": 16}, "of the wrong shape"),
        (
            {"config": dict.fromkeys([f"spatial_cluster_rate{i}" for i in range(3)], 0.5)
             | {"use_cluster": True, "temporal_cluster_rate": 1.0}},
            "spatial cluster rates [0.5, 0.5, 0.5]",
        ),
    ],
)  # fmt: skip
def test_configs_that_do_not_fit(tmp_path, fields, words):
    assert_refused(tmp_path, words, error=ValueError, source=make_selector_folder(tmp_path / "source", **fields))


def test_missing_files(tmp_path):
    source = make_selector_folder(tmp_path / "source")
    assert_refused(tmp_path, "no such folder", source=tmp_path / "nowhere")
    assert_refused(tmp_path, "no such CLIP folder", source=source, clip=tmp_path / "nowhere")
    (source / "added_tokens.json").unlink()
    assert_refused(tmp_path, "lacks [SCORE]", source=source)
    (source / "tokenizer.model").unlink()
    assert_refused(tmp_path, "tokenizer", source=source)
    (source / "config.json").unlink()
    assert_refused(tmp_path, "has no config.json", source=source)


# ---- Chat-UniVi itself, and starting a selector from it


def test_base(base, tmp_path):
    output = convert(tmp_path / "output", source=base)
    assert_equal_weights(load_folder(output), expected_weights(base_weights()))
    model, processor = AutoModel.from_pretrained(output), AutoProcessor.from_pretrained(output)
    assert type(model) is ChatUniViForConditionalGeneration and type(processor) is ChatUniViProcessor
    assert json.loads((output / "conversion.json").read_text())["kind"] == "chat-univi"
    frames = [read_frames("frames")[index] for index in META["univi"]["frames"]]
    inputs = processor(META["univi"]["prompt"], frames)
    with torch.no_grad():
        logits = model(**inputs, logits_to_keep=1).logits[0, -1]
    assert (logits - golden()["univi.logits_last"][:SCORE]).abs().max() < 1e-4


def test_a_head_in_a_base_is_unexpected(tmp_path):
    weights = base_weights() | {name: t for name, t in selector_weights().items() if name.startswith(HEAD)}
    assert_refused(tmp_path, "6 unexpected", HEAD, source=make_base_folder(tmp_path / "source", weights))


def start(output, source, **kwargs):
    return convert_starting_selector(source, CLIP, output, progress=False, **kwargs)


def test_starting_selector(base, tmp_path):
    ours = load_folder(start(tmp_path / "a", base, head_size=24))
    old = expected_weights(base_weights())
    for name, tensor in ours.items():
        if name.startswith("score_head."):
            inputs = ours[name.replace("bias", "weight")].shape[1]
            assert 0 < tensor.abs().max() * inputs**0.5 <= 1
        elif len(tensor) == SCORE + 1:
            assert torch.equal(tensor[:SCORE], old[name]) and 0.01 < tensor[SCORE].std() < 0.03
        else:
            assert torch.equal(tensor, old[name]), name
    model, processor = load_selector(tmp_path / "a")
    assert model.config.score_token_id == processor.score_token_id == SCORE and model.config.score_head_size == 24
    assert json.loads((tmp_path / "a" / "conversion.json").read_text())["added_tokens"] == ["[SCORE]"]
    assert model.score_frames(processor.init_video_session(read_frames("frames")[:2], "red")).isfinite().all()
    ids = golden()["selector.input_ids.0"].tolist()
    assert processor.tokenize(META["selector"]["prompt_of_target_0"]) == ids

    assert_equal_weights(load_folder(start(tmp_path / "same", base, head_size=24)), ours)
    other = load_folder(start(tmp_path / "other", base, head_size=24, seed=1))
    changed = {name for name in ours if not torch.equal(ours[name], other[name])}
    assert len(changed) == 8 and all("score_head" in name or "embed" in name or "lm_head" in name for name in changed)
    assert load_selector(start(tmp_path / "wide", base))[0].config.score_head_size == 256


def test_a_selector_gets_no_new_head(tmp_path):
    run = lambda output, **kwargs: start(output, CHECKPOINT, **kwargs)
    assert_refused(tmp_path, "score head already", run=run)


# ---- the command


def command(*arguments):
    return CliRunner().invoke(app, ["convert", *(str(argument) for argument in arguments)])


def test_command(base, converted, tmp_path):
    result = command("--source", CHECKPOINT, "--clip", CLIP, "-o", tmp_path / "a", "--json", "--quiet")
    assert result.exit_code == 0 and json.loads(result.stdout)["output"] == str(tmp_path / "a")
    assert_equal_weights(load_folder(tmp_path / "a"), load_folder(converted))
    result = command("--source", base, "--clip", CLIP, "-o", tmp_path / "b", "--dtype", "bfloat16")
    assert result.exit_code == 0 and "Wrote" in result.stdout
    assert AutoModel.from_pretrained(tmp_path / "b").dtype == torch.bfloat16
    result = command("--source", base, "--clip", CLIP, "-o", tmp_path / "c", "--new-score-head", "--seed", "3")
    assert (
        result.exit_code == 0 and json.loads((tmp_path / "c" / "conversion.json").read_text())["options"]["seed"] == 3
    )
    GLUSSelector.from_pretrained(tmp_path / "c")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--source", CHECKPOINT, "--clip", CLIP, "--compat", "paper"],
            "--compat: the model of this",
        ),
        (
            ["--source", CHECKPOINT, "--clip", CLIP, "--fuser-scale", "identity"],
            "--fuser-scale: the model of this",
        ),
        (
            ["--source", CHECKPOINT, "--clip", CLIP, "--sam2-config", "x.yaml"],
            "--sam2-config: the model of this",
        ),
        (["--source", CHECKPOINT, "--clip", CLIP, "--new-score-head"], "score head already"),
        (["--source", CHECKPOINT, "--clip", "nowhere/or/here"], "no such CLIP folder"),
        (["--llm", "x", "--sam2", "y", "--new-score-head"], "--new-score-head needs"),
    ],
)
def test_errors_of_the_command_are_one_line(tmp_path, arguments, words):
    result = command(*arguments, "--output", tmp_path / "output")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1 and words in result.stderr
    assert not list(tmp_path.iterdir())


# ---- the folder stands alone


SAVE = """
import sys
from glus_hf import GLUSSelector, GLUSSelectorConfig, GLUSSelectorProcessor
GLUSSelectorConfig.register_for_auto_class("AutoConfig")
GLUSSelector.register_for_auto_class("AutoModel")
GLUSSelectorProcessor.register_for_auto_class("AutoProcessor")
for kind in (GLUSSelector, GLUSSelectorProcessor):
    kind.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""
LOAD = """
import sys
sys.modules["glus_hf"] = None  # not installed
import numpy as np
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
assert "transformers_modules" in type(model).__module__ and "transformers_modules" in type(processor).__module__
frames = list(np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8))
print(model.score_frames(processor.init_video_session(frames, "the red square")).tolist())
"""


def test_remote_code_without_the_package(converted, tmp_path):
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_MODULES_CACHE": str(tmp_path / "m"),
    }
    for code, arguments in ((SAVE, [converted, tmp_path / "saved"]), (LOAD, [tmp_path / "saved"])):
        call = [*warm_python(), "-c", code, *map(str, arguments)]
        done = subprocess.run(call, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    model, processor = load_selector(converted)
    frames = list(np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8))
    scores = model.score_frames(processor.init_video_session(frames, "the red square"))
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout.splitlines()[-1])), scores)


def test_safetensors_and_bin_hold_the_same(tmp_path, expected):
    source = make_selector_folder(tmp_path / "source", {})
    (source / "pytorch_model.bin").unlink()
    save_file(selector_weights(), source / "model.safetensors")
    assert_equal_weights(load_folder(convert(tmp_path / "output", source=source)), expected)
