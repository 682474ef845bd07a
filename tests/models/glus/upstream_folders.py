"""Folders in upstream's formats, made from tests/fixtures/upstream_tiny."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


FIXTURE = Path(__file__).parents[2] / "fixtures" / "upstream_tiny"
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
    """The mask branch of upstream's weights as Meta's `.pt` files hold it."""
    source = upstream_weights() if source is None else source
    weights = {name.removeprefix(MASK_PREFIX): t for name, t in source.items() if MASK_PREFIX in name}
    torch.save({"model": change(weights)}, file)
    return file


def load_folder(folder):
    """All weights of a safetensors folder."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}
