"""Architecture and tokenizer of glee-tiny, and the head that its backbone and text tower first learn with."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoBackbone, PreTrainedTokenizerFast

from glus_hf import GLEEConfig, GLEEForVideoSegmentation, GLEEImageProcessor, GLEEProcessor
from glus_hf.data.motion_shapes.language import vocabulary


SIZE = 128  # pixels of a frame
MAX_TOKENS = 24
UNKNOWN, START, END = "<unk>", "<s>", "</s>"


def tiny_glee_tokenizer() -> PreTrainedTokenizerFast:
    """An id per word of MotionShapes, between a start and an end token; the end token pads, as CLIP's does."""
    ids = {token: index for index, token in enumerate((UNKNOWN, START, END, *vocabulary()))}
    backend = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = [(token, ids[token]) for token in (START, END)]
    backend.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=specials)
    names = {"unk_token": UNKNOWN, "bos_token": START, "eos_token": END, "pad_token": END}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def tiny_glee_processor() -> GLEEProcessor:
    image_processor = GLEEImageProcessor(size={"shortest_edge": SIZE, "longest_edge": 2 * SIZE})
    return GLEEProcessor(image_processor, tiny_glee_tokenizer(), max_text_tokens=MAX_TOKENS)


def tiny_glee_config(tokenizer: PreTrainedTokenizerFast, **overrides) -> GLEEConfig:
    """A ResNet of four basic layers, a text tower of two layers, 64 channels, 16 queries."""
    backbone = {
        "model_type": "resnet",
        "embedding_size": 24,
        "hidden_sizes": [24, 64, 96, 128],
        "depths": [1, 2, 2, 1],
        "layer_type": "basic",
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_TOKENS,
        "projection_dim": 64,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    sizes = {
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_ffn_dim": 256,
        "decoder_ffn_dim": 256,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "num_queries": 16,
        "fusion_dim": 128,
        "fusion_heads": 4,
        "group_norm_groups": 8,
        "query_sine_features": 32,
        "label_tables": {},
        "num_denoising": 10,
        "train_num_points": 512,
        "visual_prompter": None,  # the last stage adds it
    }
    return GLEEConfig(backbone_config=backbone, text_config=text, **{**sizes, **overrides})


def build_tiny_glee(seed: int = 0, **overrides) -> tuple[GLEEForVideoSegmentation, GLEEProcessor]:
    """A model of random weights and its processor; `overrides` are fields of the config."""
    torch.manual_seed(seed)
    processor = tiny_glee_processor()
    return GLEEForVideoSegmentation(tiny_glee_config(processor.tokenizer, **overrides)), processor


class ContrastiveImages(nn.Module):
    """A backbone that still learns its batch norms, and vectors of objects for comparison with texts.

    Strides 8, 16 and 32 have a vector each, the mean over the object: what the decoders read must know all of the
    look. Of the sum of all strides, 8 and more would learn shapes alone and leave colours to stride 4.
    """

    def __init__(self, config: GLEEConfig):
        super().__init__()
        self.backbone = AutoBackbone.from_config(config.backbone_config, attn_implementation="eager")
        self.project = nn.ModuleList(nn.Conv2d(count, config.d_model, 1) for count in self.backbone.channels[1:])
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-3.0))

    def forward(self, pixel_values: Tensor, masks: list[Tensor]) -> Tensor:
        """Vectors `[strides, objects, dim]` of the objects of all images, whose masks are `[objects, height, width]`
        each."""
        maps = self.backbone(pixel_values).feature_maps[1:]
        return torch.stack(
            [self._pool(project(each), masks) for project, each in zip(self.project, maps, strict=True)]
        )

    @staticmethod
    def _pool(features: Tensor, masks: list[Tensor]) -> Tensor:
        covered = [F.adaptive_avg_pool2d(each.float(), features.shape[-2:]).flatten(1) for each in masks]
        sums = [each @ values.flatten(1).T for each, values in zip(covered, features, strict=True)]
        return torch.cat(sums) / torch.cat(covered).sum(1, keepdim=True)

    def compare(self, objects: Tensor, texts: Tensor) -> Tensor:
        """Logits `[strides, objects, texts]` of an object being meant by a text."""
        return self.scale * F.normalize(objects, dim=-1) @ F.normalize(texts, dim=-1).T + self.bias
