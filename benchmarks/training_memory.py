"""Memory of training GLUS-7B, part by part. A CALCULATION on the meta device: nothing is measured on a GPU.

    python benchmarks/training_memory.py

Weights, gradients and optimizer are counted from the prepared model. Activations are the peak of live tensors while
the parts run forward and backward on the meta device: operations, shapes and recomputation are the real ones; the
allocator's fragmentation, CUDA's context (about 0.5 GB) and the workspaces of libraries are not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import warnings
import weakref
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from glus_hf import GLUSConfig, GLUSForVideoSegmentation
from glus_hf.models.mask_branch import GLUSMaskFeatures
from glus_hf.models.memory_bank import MemoryBank
from glus_hf.models.recipe_losses import mask_losses
from glus_hf.training.trainable_parameters import group_of, prepare_model, trainable_parameters


GB = 1e9
HALF = torch.bfloat16
FOUR_BIT = 0.5 + 1 / 64 + 1 / 64 / 16  # bytes: nf4 blocks of 64 with an 8-bit scale each, those in blocks of 256
NEW_TOKENS = (32000, 32001, 32002)


class FlashAttention(torch.autograd.Function):
    """Attention that keeps what a fused kernel keeps: its inputs and its output, never the scores."""

    @staticmethod
    def forward(context, query, key, value):
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        context.save_for_backward(query, key, value, output)
        return output

    @staticmethod
    def backward(context, gradient):
        return tuple(torch.empty_like(tensor) for tensor in context.saved_tensors[:3])


@contextlib.contextmanager
def flash_attention():
    """The meta device has no fused attention; without this the scores would be counted."""
    original = torch.nn.functional.scaled_dot_product_attention
    replacement = lambda query, key, value, *arguments, **keywords: FlashAttention.apply(query, key, value)
    torch.nn.functional.scaled_dot_product_attention = replacement
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = original


@dataclass(frozen=True)
class Setting:
    """What a run is like; `devices` share optimizer and gradients under ZeRO-2."""

    name: str
    videos: int
    expressions: int
    embeddings: str = "full"
    four_bit: bool = False
    checkpointing: bool = True
    devices: int = 1
    height: int = 720
    width: int = 1280
    text_length: int = 716  # tokens of a window of four frames and an expression of eleven
    layers: int = 32  # of the language model


SETTINGS = (
    Setting("glus_s.yaml, 4 GPUs, ZeRO-2", videos=2, expressions=3, devices=4),
    Setting("glus_s.yaml, 1 GPU", videos=2, expressions=3),
    Setting("the same without gradient checkpointing", videos=2, expressions=3, checkpointing=False),
    Setting("finetune_lora_24gb.yaml", videos=1, expressions=2, embeddings="new_tokens"),
    Setting("finetune_lora_24gb.yaml, 4 bit", videos=1, expressions=2, embeddings="new_tokens", four_bit=True),
)


class LiveTensors(TorchDispatchMode):
    """Bytes of all tensors made inside, now and at most; views of the weights of `model` are none."""

    def __init__(self, model):
        super().__init__()
        self.now = self.peak = 0
        self.seen = weakref.WeakSet(parameter.untyped_storage() for parameter in model.parameters())

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        torch.utils._pytree.tree_map_only(torch.Tensor, self._count, result)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self.seen:
            return
        self.seen.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size


def calculate(setting: Setting) -> dict[str, float]:
    """Bytes by part, on one device."""
    model = meta_model(setting)
    groups = {group: sum(counts.values()) for group, counts in trainable_parameters(model).items()}
    trainable = sum(groups.values())
    parts = {f"frozen: {group}": size for group, size in frozen_weights(model, setting).items()}
    parts["trainable weights (float32)"] = 4 * trainable
    parts["their copies for autocast (bfloat16)"] = 2 * (trainable - groups["input embeddings"])
    parts["gradients (float32)"] = 4 * trainable / setting.devices
    parts["AdamW (two float32)"] = 8 * trainable / setting.devices
    base = model.get_base_model()
    if setting.checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            base.gradient_checkpointing_enable({"use_reentrant": False})
    base.to(HALF).train()  # what autocast computes in
    clips = setting.videos * setting.expressions
    for_backward, language = language_activations(base, setting, clips)
    encoder = encoder_activations(base, setting)
    decoding = decoding_activations(base, setting, clips)
    parts["activations, at their peak"] = max(language, for_backward + max(encoder, decoding))
    parts["  language model: kept for the backward pass"] = for_backward
    parts["  language model: peak of its backward pass"] = language
    parts["  SAM-2 image encoder (no gradient)"] = encoder
    parts["  memory, mask decoder and losses"] = decoding
    return parts


def meta_model(setting: Setting):
    config = GLUSConfig(seg_token_id=32000)
    config.text_config.num_hidden_layers = setting.layers
    with torch.device("meta"):
        model = GLUSForVideoSegmentation(config)
        return prepare_model(model, embeddings=setting.embeddings, new_token_ids=NEW_TOKENS)


def frozen_weights(model, setting: Setting) -> dict[str, float]:
    """What stays as it was, in bfloat16; of the trained parts the originals, which peft keeps."""
    sizes: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            group = group_of(name)
            is_linear = parameter.ndim == 2 and ".layers." in name and "language_model" in name
            size = FOUR_BIT if setting.four_bit and is_linear else HALF.itemsize
            sizes[group] = sizes.get(group, 0) + parameter.numel() * size
    originals = ("input embeddings", "language model head", "mask decoder", "vision projection", "[SEG] projection")
    sizes["originals of trained parts"] = sum(sizes.pop(group, 0) for group in originals)
    return {group: size for group, size in sizes.items() if size}


def language_activations(model, setting: Setting, conversations: int) -> tuple[float, float]:
    """Bytes after the forward pass, and at most.

    Layer by layer: what the model puts around its layers looks at values, which the meta device has none of.
    """
    language_model = model.model.language_model
    with torch.device("meta"), flash_attention():
        states = torch.empty(conversations, setting.text_length, 4096, dtype=HALF, requires_grad=True)
        positions = torch.empty(1, setting.text_length, 128, dtype=HALF)
        with LiveTensors(model) as meter:
            last = states
            for layer in language_model.layers:
                last = layer(last, position_embeddings=(positions, positions))
            last = language_model.norm(last)
            kept = meter.now
            last.sum().backward()
    return kept, meter.peak


def encoder_activations(model, setting: Setting) -> float:
    with torch.device("meta"), flash_attention(), torch.no_grad(), LiveTensors(model) as meter:
        pixels = torch.empty(setting.videos * 4, 3, 1024, 1024, dtype=HALF)
        model.model.mask_model.get_image_features(pixels, return_dict=True)
    return meter.peak


def decoding_activations(model, setting: Setting, clips: int) -> float:
    """Features of all frames, decoding, losses and their backward pass."""
    frames = setting.videos * 4
    with torch.device("meta"):
        shapes = [(4096, frames, 256), (4096, frames, 256)]
        embedding, position = (torch.empty(*shape, dtype=HALF) for shape in shapes)
        maps = [torch.empty(frames, 32, 256, 256, dtype=HALF), torch.empty(frames, 64, 128, 128, dtype=HALF)]
        kept = sum(tensor.nbytes for tensor in (embedding, position, *maps))
        features = GLUSMaskFeatures(embedding, position, maps)
        with flash_attention(), LiveTensors(model) as meter:
            bank = MemoryBank(model.config.num_maskmem, 1)
            masks = []
            for frame in range(4):
                prompts = torch.empty(clips, 256, dtype=HALF, requires_grad=True)
                view = features.select(torch.zeros(clips, dtype=torch.long))
                masks.append(model.model.decode_frame(view, prompts, bank, frame, [True] * clips))
            logits = torch.stack(masks, 1).split([setting.expressions] * setting.videos)
            labels = [torch.empty(setting.expressions, 4, setting.height, setting.width) for _ in logits]
            bce, dice = mask_losses(list(logits), labels)
            (bce + dice).backward()
    return kept + meter.peak


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("CALCULATED on the meta device, not measured; GB (1e9 bytes) on one device, videos of 1280 x 720\n")
    for setting in SETTINGS:
        with contextlib.redirect_stderr(None):
            parts = calculate(setting)
        total = sum(size for name, size in parts.items() if not name.startswith("  "))
        print(f"{setting.name}: {setting.videos} video(s) x {setting.expressions} expressions")
        for name, size in parts.items():
            print(f"  {name:<48}{size / GB:8.2f}")
        print(f"  {'total':<48}{total / GB:8.2f}\n")


if __name__ == "__main__":
    main()
