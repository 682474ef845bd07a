"""Architecture, tokenizer and initialisation of glus-tiny, and the training-only heads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_batches import BACKGROUND, GRID, IGNORED, SCENES, SIZE
from torch import Tensor, nn
from torch.nn import functional as F

from glus_hf import GLUSConfig, GLUSForVideoSegmentation, GLUSImageProcessor, GLUSProcessor
from glus_hf.training.word_tokenizer import build_word_tokenizer


RECIPE_FILE = "recipe.json"
CROSS_ATTENTIONS = ("cross_attn_token_to_image", "cross_attn_image_to_token")


@dataclass(frozen=True)
class Recipe:
    """What kind of tiny GLUS it is: by default glus-tiny. For the ablations: hard scenes, windows of four frames and
    no frame times, as in the paper's model."""

    scenes: str = "plain"
    window: int = 2
    frame_times: bool = True

    def save(self, folder: Path) -> None:
        (folder / RECIPE_FILE).write_text(json.dumps(vars(self)))

    @classmethod
    def load(cls, folder: Path) -> Recipe:
        """That of a run; glus-tiny's where none is written."""
        file = Path(folder) / RECIPE_FILE
        return cls(**json.loads(file.read_text())) if file.is_file() else cls()


def tiny_processor(num_query_frames: int = 2, scenes: str = "plain") -> GLUSProcessor:
    image_processor = GLUSImageProcessor(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        mask_size={"height": SIZE, "width": SIZE},
    )
    tokenizer = build_word_tokenizer(SCENES[scenes].words())
    return GLUSProcessor(image_processor, tokenizer, num_query_frames=num_query_frames, num_image_tokens=GRID * GRID)


def tiny_config(processor: GLUSProcessor, frame_times: bool = True) -> GLUSConfig:
    """64 px, 64 tokens per frame; language model 128 wide x 4; mask branch 64 wide with 32x32 logits."""
    return GLUSConfig(
        vision_config={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "patch_size": SIZE // GRID,
        },
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 2048,
            "pad_token_id": 0,
        },
        mask_config={
            "image_size": SIZE,
            "vision_config": {
                "backbone_config": {
                    "model_type": "sam2_hiera_det_model",
                    "image_size": [SIZE, SIZE],
                    "hidden_size": 24,
                    "patch_stride": [2, 2],
                    "blocks_per_stage": [1, 1, 2, 1],
                    "embed_dim_per_stage": [24, 48, 96, 128],
                    "num_attention_heads_per_stage": [1, 2, 4, 4],
                    "window_size_per_stage": [8, 4, 8, 4],
                    "window_positional_embedding_background_size": [4, 4],
                    "global_attention_blocks": [3],
                },
                "backbone_channel_list": [128, 96, 48, 24],
                "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
                "fpn_hidden_size": 64,
            },
            "prompt_encoder_config": {"hidden_size": 64, "image_size": SIZE, "patch_size": 8},
            "mask_decoder_config": {
                "hidden_size": 64,
                "mlp_dim": 192,
                "num_attention_heads": 4,
                "attention_downsample_rate": 1,
                "iou_head_hidden_dim": 64,
                "dynamic_multimask_via_stability": False,
            },
            "memory_attention_hidden_size": 64,
            "memory_attention_num_layers": 2,
            "memory_attention_feed_forward_hidden_size": 192,
            "memory_attention_dropout": 0.0,
            "memory_attention_rope_dropout": 0.0,
            "memory_attention_rope_feat_sizes": [8, 8],
            "memory_encoder_hidden_size": 64,
            "mask_downsampler_embed_dim": 64,
            "mask_downsampler_total_stride": 8,
            "memory_fuser_embed_dim": 64,
            "memory_fuser_intermediate_dim": 192,
            "enable_occlusion_spatial_embedding": False,
            "enable_temporal_pos_encoding_for_object_pointers": False,
        },
        image_token_pooling=1,
        vision_feature_layer=-1,
        num_query_frames=processor.num_query_frames,
        seg_token_id=processor.seg_token_id,
        frame_position_embedding=frame_times,
        multimask_fallback=False,
        detach_memory=False,
    )


def build_tiny(seed: int = 0, recipe: Recipe | None = None) -> tuple[GLUSForVideoSegmentation, GLUSProcessor]:
    """A freshly initialised model and its processor."""
    torch.manual_seed(seed)
    recipe = recipe or Recipe()
    processor = tiny_processor(recipe.window, recipe.scenes)
    model = GLUSForVideoSegmentation(tiny_config(processor, recipe.frame_times))
    initialize(model)
    model.pack_expressions()  # expressions of a clip are read behind one copy of its frames
    return model, processor


@torch.no_grad()
def initialize(model: GLUSForVideoSegmentation) -> None:
    """Initial values that let a model this small start: transformers' 0.02 is far too small for 128 channels."""
    parts = model.model
    for part in (parts.vision_tower, parts.language_model, parts.mm_projector, parts.seg_projection):
        for module in part.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.06)
    patches = parts.vision_tower.get_input_embeddings()
    nn.init.normal_(patches.weight, std=patches.weight[0].numel() ** -0.5)
    for name, parameter in parts.vision_tower.named_parameters():
        if "position_embedding" in name or "class_embedding" in name:
            nn.init.normal_(parameter, std=0.5)
    nn.init.normal_(parts.language_model.embed_tokens.weight, std=0.6)
    if parts.frame_position is not None:
        nn.init.normal_(parts.frame_position.token_position, std=0.5)
        nn.init.normal_(parts.frame_position.time_projection.weight, std=0.2)
    initialize_mask_branch(parts.mask_model)


@torch.no_grad()
def initialize_mask_branch(mask_model: nn.Module) -> None:
    """The same for a SAM-2."""
    for module in mask_model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
    decoder = mask_model.mask_decoder.transformer
    cross = [getattr(layer, name) for layer in decoder.layers for name in CROSS_ATTENTIONS]
    for attention in [*cross, decoder.final_attn_token_to_image]:  # a prompt attends to its own place from the start
        nn.init.normal_(attention.q_proj.weight, std=0.15)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
    for block in mask_model.memory_encoder.memory_fuser.layers:
        block.scale.fill_(0.1)
    matrix = torch.randn(mask_model.shared_image_embedding.positional_embedding.shape)
    mask_model.shared_image_embedding.positional_embedding.copy_(matrix)
    mask_model.prompt_encoder.shared_embedding.positional_embedding.copy_(matrix)


def oracle_prompt(model: GLUSForVideoSegmentation, coverage: Tensor) -> Tensor:
    """The prompt of a known place: cells of SAM's positional encoding times coverage, `[..., 64]` -> `[..., dim]`."""
    cells = model.model.dense_positions().flatten(2)[0].T
    return coverage @ cells.detach()


class TrainingHeads(nn.Module):
    """Dense attributes under every image token, and the 8x8 map of a [SEG] state. Dropped after training."""

    def __init__(self, hidden_size: int, scenes: str = "plain"):
        super().__init__()
        attributes = SCENES[scenes].attributes
        self.attributes = nn.ModuleDict(
            {name: nn.Linear(hidden_size, len(values) + 1) for name, values in attributes.items()}
        )
        self.map = nn.Linear(hidden_size, GRID * GRID)

    def attribute_loss(
        self, states: Tensor, labels: dict[str, Tensor], motion_weight: float = 1.0
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy over all tokens; background is a class of its own and weighs a tenth."""
        total, accuracy = states.new_zeros(()), {}
        for name, head in self.attributes.items():
            target = labels[name].flatten()
            if (target == IGNORED).all():  # a single frame does not show it
                continue
            logits = head(states)
            weight = torch.ones(logits.shape[-1])
            weight[-1] = 0.1
            classes = target.masked_fill(target == BACKGROUND, logits.shape[-1] - 1)
            entropy = F.cross_entropy(logits, classes, weight)
            total = total + (motion_weight * entropy if name == "motion" else entropy)
            on_sprite = target >= 0
            accuracy[name] = (logits.argmax(-1) == target)[on_sprite].float().mean().item()
        return total, accuracy
