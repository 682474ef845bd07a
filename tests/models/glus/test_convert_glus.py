"""The converters: every weight arrives unchanged, everything that does not fit is refused, nothing is left behind."""

import errno
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import Sam2VideoModel

from glus_hf import CheckpointError, GLUSConfig, GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.models.glus import conversion_plan_glus, output_folder_glus
from glus_hf.models.glus.convert_glus import (
    convert_checkpoint,
    convert_starting_weights,
    convert_state_dict,
    replace_sam2,
)
from glus_hf.models.glus.export_glus import export_checkpoint
from glus_hf.models.glus.key_mapping_glus import MEMORY_PROJECTION, our_name, upstream_names
from glus_hf.models.glus.modeling_glus import GLUSModel
from glus_hf.models.glus.output_folder_glus import new_folder
from glus_hf.models.glus.sam2_config_glus import (
    IMAGE_ENCODERS,
    mask_config_from_sam2,
    sam2_config_from_shapes,
    sam2_size,
)
from glus_hf.models.glus.weight_files_glus import ShardWriter, parse_size
from tests.models.glus.upstream_folders import (
    CHECKPOINT,
    CLIP,
    FIXTURE,
    MASK_PREFIX,
    SAM2_CONFIG,
    clip_weights,
    load_folder,
    make_folder,
    make_sam2_file,
    upstream_weights,
)


pytest.importorskip("sentencepiece")
SEG, IM_START, IM_END = 480, 481, 482
MASKS = "model.mask_model."


def convert(output, source=CHECKPOINT, clip=CLIP, sam2_config=SAM2_CONFIG, **kwargs):
    return convert_checkpoint(source, clip, output, sam2_config, progress=False, **kwargs)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return convert(tmp_path_factory.mktemp("converted") / "model")


@pytest.fixture(scope="module")
def expected():
    return convert_state_dict(upstream_weights(), clip_weights())


def assert_equal_weights(ours, expected):
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name


def assert_refused(folder, *words, error=CheckpointError, run=convert, **kwargs):
    """One line with `words`, and nothing left in `folder` but what was there."""
    before = sorted(folder.iterdir())
    with pytest.raises(error) as raised:
        run(folder / "output", **kwargs)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    assert sorted(folder.iterdir()) == before
    return raised.value


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


@pytest.mark.parametrize("safetensors", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_kind_of_weight_files(tmp_path, expected, shards, safetensors):
    source = make_folder(tmp_path / "source", upstream_weights(), shards, safetensors)
    output = convert(tmp_path / "output", source=source, max_shard_size="1MB")
    index = json.loads((output / "model.safetensors.index.json").read_text())
    files = sorted(output.glob("*.safetensors"))
    assert len(files) > 4 and files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    assert set(index["weight_map"]) == set(expected)
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in expected.values())
    for file in files:
        assert {name for name, shard in index["weight_map"].items() if shard == file.name} == set(load_file(file))
    assert_equal_weights(load_folder(output), expected)
    GLUSForVideoSegmentation.from_pretrained(output)


def test_weights_saved_by_old_pytorch(tmp_path, expected):
    source = make_folder(tmp_path / "source", {})
    torch.save(upstream_weights(), source / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert_equal_weights(load_folder(convert(tmp_path / "output", source=source)), expected)


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


def test_a_message_shows_some_keys_and_the_count(tmp_path, caplog):
    weights = {name: tensor for name, tensor in upstream_weights().items() if ".mlp." not in name}
    error = assert_refused(tmp_path, "missing", " more)", source=make_folder(tmp_path / "source", weights))
    assert len(str(error)) < 2000 and len(error.keys["missing"]) > 20
    assert all(name in caplog.text for name in error.keys["missing"])


def test_a_weight_given_twice(tmp_path):
    source = make_folder(tmp_path / "source", upstream_weights() | clip_weights())
    assert_refused(tmp_path, "given twice", source=source)
    weights = clip_weights()
    weights["post_layernorm.bias"] = weights["vision_model.post_layernorm.bias"].clone()
    clip = make_folder(tmp_path / "clip", weights, template=CLIP)
    assert_refused(tmp_path, "unexpected", "post_layernorm.bias", clip=clip)


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_weights_that_would_run_code_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = make_folder(tmp_path / "source", {"lm_head.weight": RunsCode()})
    assert_refused(tmp_path, "pytorch_model.bin", "refused", source=source)
    assert not (tmp_path / "executed").exists()


def test_damaged_and_missing_files(tmp_path):
    broken = make_folder(tmp_path / "broken", upstream_weights())
    path = broken / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:1_000_000])
    assert_refused(tmp_path, "pytorch_model.bin", "download it again", source=broken)
    path.unlink()
    assert_refused(tmp_path, "no weights", source=broken)
    for content in ([1, 2], {"lm_head.weight": torch.zeros(3, 3).to_sparse()}):
        torch.save(content, path)
        assert_refused(tmp_path, "no weights by name", source=broken)

    sharded = make_folder(tmp_path / "sharded", upstream_weights(), shards=3)
    (sharded / "pytorch_model-00002-of-00003.bin").unlink()
    assert_refused(tmp_path, "1 weight files are missing", "00002-of-00003", source=sharded)
    index = sharded / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../broken/pytorch_model.bin"}}))
    assert_refused(tmp_path, "outside", source=sharded)
    for content in ("{", "[]", '{"weight_map": {"lm_head.weight": 1}}'):
        index.write_text(content)
        assert_refused(tmp_path, "index.json", source=sharded)

    spoiled = make_folder(tmp_path / "spoiled", upstream_weights(), safetensors=True)
    (spoiled / "model.safetensors").write_bytes(b"nothing")
    assert_refused(tmp_path, "model.safetensors", source=spoiled)
    (spoiled / "config.json").unlink()
    assert_refused(tmp_path, "config.json", source=spoiled)
    assert_refused(tmp_path, "no such folder", source=tmp_path / "nowhere")
    assert_refused(tmp_path, "no such CLIP folder", clip=str(tmp_path / "nowhere"))
    assert_refused(tmp_path, "no such file", sam2_config=tmp_path / "nowhere.yaml")
    assert_refused(tmp_path, "yaml", error=ValueError, sam2_config=CHECKPOINT / "config.json")


def test_wrong_configs(tmp_path):
    weights = upstream_weights()
    other = make_folder(tmp_path / "other", weights, hidden_size=128)
    assert_refused(tmp_path, "of the wrong shape", source=other)
    assert_refused(tmp_path, "vocab_size", source=make_folder(tmp_path / "small", weights, vocab_size=400))
    scaled = make_folder(tmp_path / "scaled", weights, rope_scaling={"type": "linear", "factor": 2.0})
    assert_refused(tmp_path, "rope_scaling", error=ValueError, source=scaled)
    lisa = make_folder(tmp_path / "no-seg", weights)
    ids = {"[SEG]": 480, "<im_start>": 481, "<im_end>": 483}  # a gap
    (lisa / "added_tokens.json").write_text(json.dumps(ids))
    assert_refused(tmp_path, "<im_end> has id 483", source=lisa)
    (lisa / "added_tokens.json").write_text(json.dumps(ids | {"[PAD]": 482}))
    assert_refused(tmp_path, "<im_end> has id 483", "vocab_size of 483", source=lisa)
    (lisa / "added_tokens.json").write_text("{}")
    assert_refused(tmp_path, "[SEG]", "--llm", source=lisa)
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


def test_weights_that_share_memory(tmp_path):
    """Two names of one tensor, and views of one long vector, as some programs save them."""
    weights = upstream_weights()
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    flat, at = torch.cat([tensor.flatten() for tensor in weights.values()]), 0
    views = {}
    for name, tensor in weights.items():
        views[name] = flat[at : at + tensor.numel()].view(tensor.shape)
        at += tensor.numel()
    for number, saved in enumerate((weights, views)):
        source = make_folder(tmp_path / f"source-{number}", saved)
        ours = load_folder(convert(tmp_path / f"output-{number}", source=source))
        assert_equal_weights(ours, convert_state_dict(weights, clip_weights()))


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
    with pytest.raises(CheckpointError, match="1 that upstream does not have .*out_proj.weight"):
        export_checkpoint(output, tmp_path / "c", progress=False)


# ---- the output folder


@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_of_an_interrupted_conversion(tmp_path, monkeypatch, reason):
    add, seen = ShardWriter.add, []

    def stop(self, name, tensor):
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        if len(seen) == 100:
            raise reason
        add(self, name, tensor)

    monkeypatch.setattr(ShardWriter, "add", stop)
    with pytest.raises(reason):
        convert(tmp_path / "output", max_shard_size="100KB")
    assert len(seen[-1]) == 1 and seen[-1][0].startswith(".output-")
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_kept(tmp_path, expected):
    output = tmp_path / "output"
    output.mkdir()
    (output / "precious").write_text("")
    assert_refused(tmp_path, "exists already")
    (output / "precious").unlink()
    assert_equal_weights(load_folder(convert(output)), expected)  # an empty one is used


HOLD = """
import sys
from pathlib import Path
from glus_hf.models.glus.output_folder_glus import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("")
    print(folder, flush=True)
    sys.stdin.read()
"""


def hold(output):
    """A process in the middle of a conversion, and its hidden folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


@pytest.mark.skipif(os.name == "nt", reason="needs locks of folders")
def test_leftovers_of_a_killed_conversion_are_removed(tmp_path, caplog):
    """But not those of a conversion that is still running, of another output, or what only looks like one."""
    (running, its_folder), (killed, leftover) = hold(tmp_path / "output"), hold(tmp_path / "output")
    (other, of_another) = hold(tmp_path / "output-b")
    for process in (killed, other):
        process.kill()
        process.wait(60)
    kept = tmp_path / ".output-mine.partial"
    kept.mkdir()
    (tmp_path / ".output-01234567.partial").symlink_to(kept)
    assert leftover.is_dir() and of_another.is_dir()
    with new_folder(tmp_path / "output") as folder:
        (folder / "whole").write_text("")
        assert its_folder.is_dir() and not leftover.exists()
    assert of_another.is_dir() and kept.is_dir() and (tmp_path / ".output-01234567.partial").is_symlink()
    assert caplog.messages == [f"{leftover}: removed, a conversion that was killed left it behind"]
    running.communicate()  # goes on, and finds the output there already
    assert running.returncode != 0 and not its_folder.exists()
    assert [file.name for file in (tmp_path / "output").iterdir()] == ["whole"]


def test_no_locks_on_the_file_system(tmp_path, monkeypatch):
    def flock(*args):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(output_folder_glus, "fcntl", SimpleNamespace(flock=flock, LOCK_EX=1, LOCK_NB=2))
    leftover = tmp_path / ".output-01234567.partial"
    leftover.mkdir()
    with new_folder(tmp_path / "output"):
        pass
    monkeypatch.setattr(output_folder_glus, "fcntl", None)  # Windows
    with new_folder(tmp_path / "output-b"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [leftover.name, "output", "output-b"]


def test_a_disk_that_gets_full(tmp_path):
    """Or a limit on the size of a file: one line, and nothing left."""
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); from glus_hf.cli import main; main()"
    command = ["convert", "--source", CHECKPOINT, "--clip", CLIP, "--sam2-config", SAM2_CONFIG, "-o", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, command), "-q"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "File too large" in done.stderr and not list(tmp_path.iterdir())


def test_a_link_is_no_output_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "output").symlink_to(tmp_path / "real")
    assert_refused(tmp_path, "exists already")


def test_a_full_disk_is_seen_before_writing(tmp_path, monkeypatch):
    usage = lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6)
    monkeypatch.setattr(conversion_plan_glus.shutil, "disk_usage", usage)
    assert_refused(tmp_path, "are free")


MEASURE = """
import sys
from pathlib import Path
from glus_hf.models.glus.convert_glus import convert_checkpoint

def memory(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

source, clip, sam2, folder = map(Path, sys.argv[1:])
convert_checkpoint(source.parent / "small", clip, folder / "first", sam2, progress=False)  # all imports
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
convert_checkpoint(source, clip, folder / "second", sam2, progress=False)
print(memory("VmHWM") - before, max(file.stat().st_size for file in source.glob("*.bin")))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak memory from Linux's /proc")
def test_memory_stays_below_twice_the_largest_file(tmp_path):
    """Four files of about 100 MB: as a whole they would need 400."""
    weights, hidden, vocabulary = upstream_weights(), 512, 483
    sizes = {64: hidden, 128: 25_000}
    for name, tensor in weights.items():
        if MASK_PREFIX not in name and "inv_freq" not in name and "fcs.0.2" not in name:
            shape = [sizes.get(size, size) for size in tensor.shape]
            weights[name] = torch.zeros(shape)
    weights["model.text_hidden_fcs.0.2.weight"] = torch.zeros(48, hidden)
    config = {"hidden_size": hidden, "intermediate_size": 25_000, "vocab_size": vocabulary}
    source = make_folder(tmp_path / "large", weights, shards=4, **config)
    make_folder(tmp_path / "small", upstream_weights())
    arguments = [source, CLIP, SAM2_CONFIG, tmp_path / "out"]
    command = [sys.executable, "-c", MEASURE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    peak, largest = map(int, done.stdout.split())
    assert largest > 80e6 and peak < 2 * largest, f"{peak / largest:.2f} times the largest file"


def test_sizes():
    assert [parse_size(size) for size in (5, "5", "2KB", "1.5GB", "1MiB")] == [5, 5, 2000, 1_500_000_000, 2**20]
    for size in ("", "-1", "0", "5 apples", "GB", "5XB"):
        with pytest.raises(ValueError, match="size"):
            parse_size(size)


# ---- names and sizes of SAM-2


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


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("size", IMAGE_ENCODERS)
def test_published_sizes_are_those_of_sam2_itself(size, version, monkeypatch):
    """The yaml file says the same as we, and the model it builds has the same weights."""
    sam2 = pytest.importorskip("sam2", reason="the yaml files come with the extra sam2")
    omegaconf, hydra = (pytest.importorskip(name, reason="sam2 needs it") for name in ("omegaconf", "hydra.utils"))
    for name in ("image_encoder", "hieradet"):  # they keep the functions of torch.nn.init that they import
        importlib.import_module(f"sam2.modeling.backbones.{name}")
    importlib.import_module("sam2.modeling.sam2_base")
    for name in ("kaiming_uniform_", "uniform_", "normal_", "xavier_uniform_", "trunc_normal_"):  # they take seconds
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)
    short = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}[size]
    name = "sam2" if version == "2.0" else "sam2.1"
    file = Path(sam2.__file__).parent / "configs" / name / f"{name}_hiera_{short}.yaml"
    mask_config = mask_config_from_sam2(sam2_yaml(size, version))
    assert mask_config == mask_config_from_sam2(file)
    original = hydra.instantiate(omegaconf.OmegaConf.load(file).model)
    assert mask_shapes(mask_config) == {name: list(tensor.shape) for name, tensor in original.state_dict().items()}


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
