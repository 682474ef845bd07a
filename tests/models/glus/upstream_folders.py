"""Folders in the original code's formats, made from tests/fixtures/upstream_tiny, and their conversion."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from glus_hf import CheckpointError
from glus_hf.models.glus.convert_glus_to_hf import convert_checkpoint
from tests.paths import FIXTURES


FIXTURE = FIXTURES / "upstream_tiny"
CHECKPOINT, CLIP, SAM2_CONFIG = FIXTURE / "checkpoint", FIXTURE / "clip", FIXTURE / "sam2_config.yaml"
MASK_PREFIX = "model.visual_model."


def upstream_weights():
    return torch.load(CHECKPOINT / "pytorch_model.bin", weights_only=True)


def clip_weights():
    return load_file(CLIP / "model.safetensors")


def make_folder(folder, weights, shards=1, safetensors=False, template=CHECKPOINT, **config):
    """A copy of the released folder with other weights, sharded like `save_pretrained` does, and other fields."""
    folder.mkdir(parents=True)
    for file in template.iterdir():
        if file.suffix not in (".bin", ".safetensors"):
            shutil.copy(file, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    stem, suffix = ("model", "safetensors") if safetensors else ("pytorch_model", "bin")
    save = save_file if safetensors else torch.save
    if shards == 1:
        save(weights, folder / f"{stem}.{suffix}")
        return folder
    names = list(weights)
    weight_map = {}
    for shard in range(shards):
        file = f"{stem}-{shard + 1:05d}-of-{shards:05d}.{suffix}"
        part = {name: weights[name] for name in names[shard::shards]}
        save(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return folder


def make_sam2_file(file, change=lambda weights: weights, source=None):
    """The mask branch of the original code's weights as Meta's `.pt` files hold it."""
    source = upstream_weights() if source is None else source
    weights = {name.removeprefix(MASK_PREFIX): t for name, t in source.items() if MASK_PREFIX in name}
    torch.save({"model": change(weights)}, file)
    return file


def load_folder(folder):
    """All weights of a safetensors folder."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def convert(output, source=CHECKPOINT, clip=CLIP, sam2_config=SAM2_CONFIG, **kwargs):
    return convert_checkpoint(source, clip, output, sam2_config, progress=False, **kwargs)


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
