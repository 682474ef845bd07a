"""Weights in every kind of file arrive unchanged; files that are damaged, missing or dangerous are refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glus_hf import GLUSForVideoSegmentation
from glus_hf.conversion.weight_files import parse_size
from glus_hf.models.glus.convert_glus_to_hf import convert_state_dict
from tests.models.glus.upstream_folders import (
    CHECKPOINT,
    CLIP,
    MASK_PREFIX,
    SAM2_CONFIG,
    assert_equal_weights,
    assert_refused,
    clip_weights,
    convert,
    load_folder,
    make_folder,
    upstream_weights,
)


pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def expected():
    return convert_state_dict(upstream_weights(), clip_weights())


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
    for content in ([1, 2], {"lm_head.weight": torch.zeros(3, 3).to_sparse()}, {1: torch.zeros(3)}):
        torch.save(content, path)
        assert_refused(tmp_path, "no weights by name", source=broken)

    sharded = make_folder(tmp_path / "sharded", upstream_weights(), shards=3)
    (sharded / "pytorch_model-00002-of-00003.bin").unlink()
    assert_refused(tmp_path, "1 weight files are missing", "00002-of-00003", source=sharded)
    index = sharded / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../broken/pytorch_model.bin"}}))
    assert_refused(tmp_path, "outside", source=sharded)
    for content in ("{", "[]", '{"weight_map": {"lm_head.weight": 1}}', '{"weight_map": {}}'):
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


@pytest.mark.parametrize("file", ["pytorch_model.bin", "tokenizer.model"])
def test_what_git_leaves_without_lfs(tmp_path, file):
    source = make_folder(tmp_path / "source", upstream_weights())
    (source / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 9976634558\n")
    assert_refused(tmp_path, f"{file}: is a Git LFS pointer", "git lfs pull", source=source)


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


MEASURE = """
import sys
from pathlib import Path
from glus_hf.models.glus.convert_glus_to_hf import convert_checkpoint

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
