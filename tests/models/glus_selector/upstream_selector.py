"""What tests/fixtures/selector_tiny holds, and folders in the original code's formats made from it."""

import functools
import json

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from glus_hf import GLUSSelector, GLUSSelectorProcessor
from glus_hf.models.glus_selector.convert_glus_selector_to_hf import convert_checkpoint
from tests.models.glus.upstream_folders import make_folder
from tests.paths import FIXTURES


FIXTURE = FIXTURES / "selector_tiny"
CHECKPOINT, CLIP = FIXTURE / "checkpoint", FIXTURE / "clip"
META = json.loads((FIXTURE / "meta.json").read_text())
SCORE = META["score_token_id"]
TOKENS_PER_IMAGE = 112
VIDEO_NOISE = (
    ["temporal"]
    + [f"spatial{stage}" for stage in range(3)]
    + [f"event{event}.{stage}" for event in range(2) for stage in range(3)]
)


@functools.cache
def golden():
    return load_file(FIXTURE / "golden.safetensors")


@functools.cache
def read_frames(folder):
    return [np.array(Image.open(path).convert("RGB")) for path in sorted((FIXTURE / folder).glob("*.png"))]


def replay(*names):
    """Density noise that gives recorded samples in their order and refuses other shapes (the merger does)."""
    samples = iter([golden()[name] for name in names])
    return lambda shape: next(samples)


def selector_weights():
    return torch.load(CHECKPOINT / "pytorch_model.bin", weights_only=True)


def base_weights():
    """Without score head and [SCORE]."""
    weights = {name: tensor for name, tensor in selector_weights().items() if "text_hidden_fcs" not in name}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:SCORE].clone()
    return weights


def make_base_folder(folder, weights=None, **kwargs):
    """A Chat-UniVi folder as its authors publish it."""
    make_folder(folder, base_weights() if weights is None else weights, template=CHECKPOINT, **kwargs)
    (folder / "added_tokens.json").unlink()
    (folder / "config.json").write_text(json.dumps(META["base_chat_univi_config"]))
    return folder


def make_selector_folder(folder, weights=None, **kwargs):
    return make_folder(folder, selector_weights() if weights is None else weights, template=CHECKPOINT, **kwargs)


def convert(output, source=CHECKPOINT, clip=CLIP, **kwargs):
    return convert_checkpoint(source, clip, output, progress=False, **kwargs)


def load_selector(folder):
    return GLUSSelector.from_pretrained(folder), GLUSSelectorProcessor.from_pretrained(folder)
