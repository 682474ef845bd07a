"""Checkpoints: configurations and weights that are damaged, malicious or without bounds."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

from tests.hostile.cases import WORKS, Case
from tests.hostile.dataset_cases import Malicious
from tests.hostile.ingredients import (
    TINY,
    anew,
    clip,
    fields_of,
    fifo,
    link,
    model,
    put,
    replaced,
    sparse,
    upstream,
    weights,
)
from tests.paths import FIXTURES


SEGMENT = ("segment", "clip.mp4", "the red square", "-o", "out.mp4", "-q", "--model", "model")
INFO = ("info", "--model", "model")
CLIP, SAM2_CONFIG = FIXTURES / "upstream_tiny" / "clip", FIXTURES / "upstream_tiny" / "sam2_config.yaml"
CONVERT = ("convert", "--source", "released", "--clip", CLIP, "--sam2-config", SAM2_CONFIG, "-o", "converted", "-q")
WEIGHTS, CONFIG = "model/model.safetensors", "model/config.json"


def spoiled(name: str, *steps, call=SEGMENT, words=("model",), **more) -> Case:
    """A copy of glus-tiny, spoiled, and a clip."""
    return Case(f"checkpoint: {name}", replaced(clip, model, *steps), call, words=words, **more)


def config(name: str, words=(), call=SEGMENT, **fields) -> Case:
    """A copy of glus-tiny with these fields in its config.json."""
    return spoiled(f"config, {name}", fields_of(CONFIG, **fields), call=call, words=("model", *words))


def tensors(name: str, change, words=("model",), **more) -> Case:
    return spoiled(f"weights, {name}", lambda work: weights(work, change), words=words, **more)


def header(name: str, change, words=("model",)) -> Case:
    """Weights whose header says something else; the tensors' bytes stay."""

    def step(work: Path) -> None:
        content = (work / WEIGHTS).read_bytes()
        length = int.from_bytes(content[:8], "little")
        fields = json.loads(content[8 : 8 + length])
        text = json.dumps(change(fields) or fields).encode()
        put(work / WEIGHTS, len(text).to_bytes(8, "little") + text + content[8 + length :])

    return spoiled(f"weights, {name}", step, words=words)


def first(**fields):
    """A change of the first tensor in a header."""

    def change(header: dict) -> None:
        name = next(key for key in header if key != "__metadata__")
        header[name].update(fields)

    return change


def filled(value: float):
    def change(tensors: dict) -> None:
        next(tensor for tensor in tensors.values() if tensor.is_floating_point()).fill_(value)

    return change


def sharded(weight_map, *more):
    """A step that replaces the weights by an index, and perhaps shards."""

    def run(work: Path) -> None:
        (work / WEIGHTS).rename(work.parent / "outside" / "foreign.safetensors")
        put(work / "model" / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})

    return run


def all_in(file: str) -> dict:
    from safetensors import safe_open

    with safe_open(TINY / "model.safetensors", "pt") as content:
        return dict.fromkeys(content.keys(), file)


def pickled(work: Path) -> None:
    (work / WEIGHTS).unlink()
    put(work / "model" / "pytorch_model.bin", pickle.dumps({"a": Malicious()}))


def convert(name: str, *steps, words=("released",), expect="one line", **more) -> Case:
    return Case(f"checkpoint: convert, {name}", replaced(upstream, *steps), CONVERT, expect, words=words, **more)


def resume_training(name: str, *steps, words=(), **more) -> Case:
    call = (
        "train",
        "tiny",
        "training.output_dir=run",
        "training.max_steps=1",
        "export=trained",
        "--resume",
        "run/checkpoint-1",
    )
    make = lambda work: shutil.copytree(TINY, work / "run" / "checkpoint-1")
    return Case(
        f"checkpoint: train --resume, {name}",
        replaced(make, *steps),
        call,
        words=words,
        writes=("run",),
        warns=True,
        **more,
    )


BIN = "released/pytorch_model.bin"
DEEP = "[" * 200_000

CASES = [
    spoiled("good", expect=WORKS, words=(), writes=("out.mp4",)),
    Case("checkpoint: missing", clip, SEGMENT, words=("model",)),
    Case("checkpoint: a name above", clip, (*SEGMENT[:-1], "../../etc/passwd"), words=("../../etc/passwd",)),
    Case("checkpoint: an address", clip, (*SEGMENT[:-1], "http://127.0.0.1:9/model"), words=("127.0.0.1",)),
    Case("checkpoint: a file", lambda work: (clip(work), put(work / "model", "x")), SEGMENT, words=("model",)),
    Case(
        "checkpoint: an empty folder", lambda work: (clip(work), (work / "model").mkdir()), SEGMENT, words=("model",)
    ),
    spoiled("config, no JSON", anew(CONFIG, put, "{")),
    spoiled("config, nested too deeply", anew(CONFIG, put, DEEP)),
    spoiled("config, nested too deeply, info", anew(CONFIG, put, DEEP), call=INFO),
    spoiled("config, a list", anew(CONFIG, put, "[]")),
    spoiled("config, not UTF-8", anew(CONFIG, put, b"\xff\xfe\x00")),
    spoiled("config, a FIFO", anew(CONFIG, fifo)),
    spoiled("config, a device", anew(CONFIG, link, "/dev/zero")),
    spoiled("config, 1 TB", anew(CONFIG, sparse, 1 << 40, b"{")),
    spoiled("config, a folder", anew(CONFIG, lambda path: path.mkdir())),
    config("another kind", ("bert",), model_type="bert"),
    config("no kind", model_type=...),
    config("a kind that is a list", model_type=["glus"]),
    config("a section that is text", text_config="x"),
    config("no heads", text_config__num_attention_heads=0),
    config("heads that do not divide", text_config__num_attention_heads=7),
    config("key heads that do not divide", text_config__num_key_value_heads=3),
    config("no width", text_config__hidden_size=0),
    config("a negative width", text_config__hidden_size=-64),
    config("a width of 10^12", text_config__hidden_size=10**12),
    config("10^9 layers", text_config__num_hidden_layers=10**9),
    config("10^9 layers, info", text_config__num_hidden_layers=10**9, call=INFO),
    config("10^9 vision layers", vision_config__num_hidden_layers=10**9),
    config("a vocabulary of 10^12", text_config__vocab_size=10**12),
    config("a vocabulary of 10^12, info", text_config__vocab_size=10**12, call=INFO),
    config("images of 10^9 pixels a side", vision_config__image_size=10**9),
    config("no patches", vision_config__patch_size=0),
    config("a memory of 10^9 frames", mask_config__num_maskmem=10**9),
    config("no memory", mask_config__num_maskmem=-1),
    config("10^9 context frames", num_context_frames=10**9),
    config("no query frames", num_query_frames=0),
    config("pooling over nothing", image_token_pooling=0),
    config("a memory stride of 0", memory_stride=0),
    config("rope_theta 0", text_config__rope_parameters={"rope_type": "default", "rope_theta": 0.0}),
    config("rope_theta NaN", text_config__rope_parameters={"rope_type": "default", "rope_theta": float("nan")}),
    config("an epsilon that is NaN", text_config__rms_norm_eps=float("nan")),
    config("a width that is text", text_config__hidden_size="64"),
    config("an activation that is not there", text_config__hidden_act="os.system"),
    config("a precision that is not there", dtype="banana"),
    config("a token beyond the vocabulary", seg_token_id=10**9),
    spoiled("weights, missing", lambda work: (work / WEIGHTS).unlink()),
    spoiled("weights, empty", anew(WEIGHTS, put, b"")),
    spoiled("weights, text", anew(WEIGHTS, put, "not weights\n" * 100)),
    spoiled(
        "weights, a pointer of Git LFS",
        anew(WEIGHTS, put, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    ),
    spoiled("weights, cut short", lambda work: os.truncate(work / WEIGHTS, 5_000_000)),
    spoiled("weights, a FIFO", anew(WEIGHTS, fifo)),
    spoiled("weights, a device", anew(WEIGHTS, link, "/dev/zero")),
    spoiled("weights, a header longer than the file", anew(WEIGHTS, put, (2**40).to_bytes(8, "little") + b"{}")),
    spoiled("weights, a header of 2^63 bytes", anew(WEIGHTS, put, (2**63).to_bytes(8, "little") + b"{}")),
    spoiled("weights, a header that is no JSON", anew(WEIGHTS, put, (9).to_bytes(8, "little") + b'{"a": [[[')),
    header("a shape of 2^62", first(shape=[2**31, 2**31])),
    header("offsets beyond the file", first(data_offsets=[0, 2**40])),
    header("offsets that go back", first(data_offsets=[100, 0])),
    header("a type that is not there", first(dtype="F4096")),
    header("integers", first(dtype="I32")),
    tensors("NaN", filled(float("nan"))),
    tensors("infinite", filled(float("inf"))),
    tensors("one missing", lambda tensors: tensors.pop(next(iter(tensors)))),
    tensors("one too many", lambda tensors: tensors.update(more=next(iter(tensors.values())).clone())),
    tensors(
        "one of another shape",
        lambda tensors: tensors.update({next(iter(tensors)): tensors[next(iter(tensors))].flatten()[:3].clone()}),
    ),
    tensors("none", lambda tensors: [tensors.pop(name) for name in list(tensors)[1:]]),
    spoiled(
        "a shard that is missing",
        sharded(all_in("model-00001-of-00001.safetensors")),
        words=("model-00001-of-00001.safetensors",),
    ),
    spoiled(
        "a shard above the folder",
        sharded(all_in("../../outside/foreign.safetensors")),
        words=("../../outside/foreign.safetensors",),
    ),
    spoiled("a shard by its whole path", sharded({"a": "/etc/passwd"}), words=("/etc/passwd",)),
    spoiled("an index that is a list", sharded([]), words=("index.json",)),
    spoiled(
        "an index without end",
        sharded({}),
        anew("model/model.safetensors.index.json", put, DEEP),
        words=("index.json",),
    ),
    spoiled("a pickle that runs a program", pickled),
    spoiled(
        "a LoRA adapter of a model that is not there",
        anew(CONFIG, lambda path: None),
        lambda work: put(
            work / "model" / "adapter_config.json", {"base_model_name_or_path": "../../outside", "peft_type": "LORA"}
        ),
    ),
    spoiled(
        "a LoRA adapter of itself",
        anew(CONFIG, lambda path: None),
        lambda work: put(
            work / "model" / "adapter_config.json", {"base_model_name_or_path": "model", "peft_type": "LORA"}
        ),
    ),
    spoiled(
        "a LoRA adapter that imports a module",
        anew(CONFIG, lambda path: None),
        lambda work: put(
            work / "model" / "adapter_config.json",
            {
                "base_model_name_or_path": "glus-tiny",
                "peft_type": "LORA",
                "r": 4,
                "megatron_config": {"a": 1},
                "megatron_core": "antigravity",
            },
        ),
        words=("megatron_config",),
    ),
    spoiled(
        "code of its own",
        lambda work: put(
            work / "model" / "evil.py", "open('../outside/OWNED', 'w')\nclass Config: pass\nclass Model: pass\n"
        ),
        fields_of(CONFIG, auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}),
        expect=WORKS,
        words=(),
        writes=("out.mp4",),
        warns=True,
    ),
    spoiled(
        "generation settings, no JSON",
        lambda work: put(work / "model" / "generation_config.json", "{"),
        words=("generation_config.json",),
    ),
    convert("good", expect=WORKS, words=(), writes=("converted",)),
    convert(
        "a pickle that runs a program",
        lambda work: put(work / BIN, pickle.dumps({"a": Malicious()})),
        words=("pytorch_model.bin",),
    ),
    convert("a pickle cut short", lambda work: os.truncate(work / BIN, 1_000_000), words=("pytorch_model.bin",)),
    convert("weights that are a FIFO", anew(BIN, fifo), words=("pytorch_model.bin",)),
    convert("weights that are a device", anew(BIN, link, "/dev/zero"), words=("pytorch_model.bin",)),
    convert("a config without end", anew("released/config.json", put, DEEP)),
    convert("a config that is a list", anew("released/config.json", put, "[]")),
    convert("10^9 layers", fields_of("released/config.json", num_hidden_layers=10**9)),
    convert("no heads", fields_of("released/config.json", num_attention_heads=0)),
    convert(
        "a tokenizer cut short",
        lambda work: os.truncate(work / "released" / "tokenizer.model", 100),
        words=("tokenizer.model",),
    ),
    convert("a tokenizer that is a FIFO", anew("released/tokenizer.model", fifo), words=("tokenizer.model",)),
    resume_training("no state", words=("checkpoint-1",)),
    resume_training(
        "a state without end",
        lambda work: put(work / "run/checkpoint-1/trainer_state.json", DEEP),
        words=("checkpoint-1",),
    ),
    resume_training(
        "a state that is a FIFO",
        lambda work: fifo(work / "run/checkpoint-1/trainer_state.json"),
        words=("checkpoint-1",),
    ),
]
