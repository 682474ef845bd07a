"""Miniatures of the released GLEE: their configuration, weights, inputs and golden numbers, read from a folder.

The layout of such a folder is described in `tests/fixtures/glee_tiny/README.md`. All sizes come from its
`config.yaml`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from glus_hf import GLEEConfig, GLEEForVideoSegmentation
from glus_hf.models.glee.backbone_glee import build_backbone
from glus_hf.models.glee.weight_names_glee import (
    IGNORED,
    LABEL_TABLES,
    copy_of,
    our_name,
    split_weight,
    strip_prefixes,
)


MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
STAGES = ["stage1", "stage2", "stage3", "stage4"]


class Miniature:
    """A folder of golden numbers."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.settings = yaml.safe_load((self.folder / "config.yaml").read_text())
        self.inputs = load_file(self.folder / "inputs.safetensors")
        self.golden = load_file(self.folder / "golden.safetensors")
        self.grad_norms = json.loads((self.folder / "grad_norms.json").read_text())
        self.weights = load_file(self.folder / "checkpoint.safetensors")

    def group(self, prefix: str) -> dict[str, torch.Tensor]:
        """Golden tensors whose names start with `prefix.`, without it."""
        return {
            name.removeprefix(f"{prefix}."): tensor
            for name, tensor in self.golden.items()
            if name.startswith(f"{prefix}.")
        }

    def pixels(self, name: str) -> torch.Tensor:
        """Frames `[n, 3, height, width]`, normalised."""
        frames = self.inputs[name].float()
        return ((frames - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)

    def tokenize(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """The toy vocabulary: words between start and end, padded with the end to the longest text that fits."""
        vocab, length = self.settings["vocab"], self.settings["text"]["max_position_embeddings"]
        rows = [[vocab["<s>"], *(vocab[word] for word in text.split()), vocab["</s>"]] for text in texts]
        pad = vocab[self.settings["text"]["padding_token"]]
        return {
            "input_ids": torch.tensor([row + [pad] * (length - len(row)) for row in rows]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows]),
        }

    def targets(self, group: str = "train", only_first: bool = False) -> list[dict[str, torch.Tensor]]:
        """Labels of the images of a training batch: all objects by class, or the first of each."""
        fields = (("class_labels", "labels"), ("boxes", "boxes"), ("masks", "masks"), ("instance_ids", "inst_id"))
        labels, image = [], 0
        while f"{group}.target{image}.labels" in self.inputs:
            names = {ours: f"{group}.target{image}.{theirs}" for ours, theirs in fields}
            target = {ours: self.inputs[name] for ours, name in names.items() if name in self.inputs}
            labels.append({name: values[:1] for name, values in target.items()} if only_first else target)
            image += 1
        return labels

    def label_table(self, group: str) -> str:
        """Our name of the label embeddings that a training batch used."""
        theirs = self.settings["label_tables"][group]
        return next(name for name, table in LABEL_TABLES.items() if table == theirs)

    def config(self, **overrides) -> GLEEConfig:
        return GLEEConfig(**{**config_values(self.settings, self.weights), **overrides})

    def model(self, **overrides) -> GLEEForVideoSegmentation:
        """The model with the weights of the folder."""
        model = GLEEForVideoSegmentation(self.config(**overrides)).eval()
        model.load_state_dict(convert_weights(self.weights))
        return model


def config_values(settings: dict, weights: dict[str, torch.Tensor]) -> dict:
    """Fields of [`GLEEConfig`] from `config.yaml`; the sizes of the label tables from the weights."""
    tables = {
        our_name(strip_prefixes(name)): len(tensor)
        for name, tensor in weights.items()
        if ".label_tables." in (our_name(strip_prefixes(name)) or "")
    }
    text = {key: value for key, value in settings["text"].items() if key not in ("causal", "padding", "padding_token")}
    loss = settings["loss_weights"]
    return {
        **backbone_values(settings["backbone"]),
        "text_config": text,
        "d_model": settings["hidden_dim"],
        "num_feature_levels": settings["feature_levels"],
        "encoder_layers": settings["encoder_layers"],
        "decoder_layers": settings["decoder_layers"],
        "encoder_ffn_dim": settings["ffn_dim"],
        "decoder_ffn_dim": settings["ffn_dim"],
        "encoder_attention_heads": settings["attention_heads"],
        "decoder_attention_heads": settings["attention_heads"],
        "encoder_n_points": settings["num_points"],
        "decoder_n_points": settings["num_points"],
        "num_queries": settings["num_queries"],
        "fusion_dim": settings["fusion_embed_dim"],
        "fusion_heads": settings["fusion_heads"],
        "fusion_dropout": settings["fusion_dropout_in_training"],
        "fusion_text_mask": False,
        "group_norm_groups": settings["group_norm_groups"],
        "query_sine_features": settings["query_sine_features"],
        "visual_prompter": "full",
        "prompt_crop_size": settings["crop_size"],
        "prompt_crop_factor": settings["crop_factor"],
        "prompt_num_points": settings["max_prompt_points"],
        "confidence_loss_weight": loss["loss_conf"],
        "track_loss_weight": loss["track_loss"],
        "track_num_negatives": settings["track_negatives"],
        "label_tables": {name.split(".")[-2]: rows for name, rows in tables.items()},
        "text_teacher": True,
        "distill_loss": "mse",
        "num_denoising": settings["dn"]["number"],
        "denoising_noise_scale": settings["dn"]["noise_scale"],
        "train_num_points": settings["train_points"],
        "oversample_ratio": settings["oversample_ratio"],
        "importance_sample_ratio": settings["importance_sample_ratio"],
        "class_loss_weight": loss["loss_ce"],
        "mask_loss_weight": loss["loss_mask"],
        "dice_loss_weight": loss["loss_dice"],
        "box_loss_weight": loss["loss_bbox"],
        "giou_loss_weight": loss["loss_giou"],
        "distill_loss_weight": loss["dist_loss"],
        "temporal_similarity": settings["temporal_similarity"],
        "temporal_similarity_weight": settings["temporal_similarity_weight"],
    }


def backbone_values(settings: dict) -> dict:
    stages = settings["stages"]
    return {
        "backbone_config": {
            "model_type": "resnet",
            "embedding_size": settings["stem_channels"],
            "hidden_sizes": [stage["out"] for stage in stages],
            "depths": [stage["blocks"] for stage in stages],
            "downsample_in_bottleneck": settings["stride_in_1x1"],
            "out_features": STAGES,
        },
        "bottleneck_sizes": [stage["bottleneck"] for stage in stages],
    }


def swin_values(settings: dict) -> dict:
    """A Swin of `config.yaml`, as the backbone of a [`GLEEConfig`]."""
    return {
        "model_type": "swin",
        "embed_dim": settings["EMBED_DIM"],
        "depths": settings["DEPTHS"],
        "num_heads": settings["NUM_HEADS"],
        "window_size": settings["WINDOW_SIZE"],
        "drop_path_rate": 0.0,
        "out_features": STAGES,
    }


def swin_backbone(mini: Miniature):
    """The Swin of `swin_backbone.safetensors`, with its weights."""
    config = GLEEConfig(backbone_config=swin_values(mini.settings["swin"]))
    backbone = build_backbone(config).eval()
    weights = load_file(mini.folder / "swin_backbone.safetensors")
    prefixed = {
        name if name.startswith("backbone.") else f"backbone.{name}": tensor for name, tensor in weights.items()
    }
    ours = convert_weights(prefixed)
    backbone.load_state_dict({name.removeprefix("model.backbone."): tensor for name, tensor in ours.items()})
    return backbone


def convert_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights by our names. Copies must equal what they repeat; a name that is not of the layout is an error."""
    weights = {strip_prefixes(name): tensor for name, tensor in weights.items()}
    ours = {}
    for name, tensor in weights.items():
        if copy_of(name) is not None:
            torch.testing.assert_close(tensor, weights[copy_of(name)], rtol=0, atol=0)
        elif not IGNORED.fullmatch(name):
            ours |= {our_name(part): piece for part, piece in split_weight(name, tensor)}
    assert None not in ours
    return ours
