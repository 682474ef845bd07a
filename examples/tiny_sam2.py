"""A tiny plain SAM-2, and its batched pass over a clip: what transformers' loop computes, with gradients.

transformers follows one object at a time and without gradients. [`follow`] drives the same modules for all objects of
all clips at once.
"""

from __future__ import annotations

import numpy as np
import torch
from tiny_model import initialize_mask_branch
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2VideoConfig, Sam2VideoModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE, get_1d_sine_pe

from glus_hf.data.motion_shapes import Scene, sample_scene, sample_veiled_scene


SIDE = 128
HIDDEN = 128
CELLS = 8


def tiny_sam2_config() -> Sam2VideoConfig:
    """128 px, a Hiera of stride 4, 8x8 cells of 128 channels, masks of 32x32 logits, memories of 64 channels."""
    return Sam2VideoConfig(
        image_size=SIDE,
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [SIDE, SIDE],
                "hidden_size": 32,
                "patch_stride": [4, 4],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [32, 64, 128, 192],
                "num_attention_heads_per_stage": [1, 2, 4, 6],
                "window_size_per_stage": [8, 4, 8, 4],
                "window_positional_embedding_background_size": [4, 4],
                "global_attention_blocks": [3],
            },
            "backbone_channel_list": [192, 128, 64, 32],
            "backbone_feature_sizes": [[4 * CELLS] * 2, [2 * CELLS] * 2, [CELLS] * 2],
            "fpn_hidden_size": HIDDEN,
        },
        prompt_encoder_config={"hidden_size": HIDDEN, "image_size": SIDE, "patch_size": SIDE // CELLS},
        mask_decoder_config={
            "hidden_size": HIDDEN,
            "mlp_dim": 256,
            "num_attention_heads": 4,
            "num_multimask_outputs": 1,
            "iou_head_hidden_dim": 64,
            "dynamic_multimask_via_stability": False,
        },
        multimask_output_in_sam=False,
        memory_attention_hidden_size=HIDDEN,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=256,
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_attention_rope_feat_sizes=[CELLS, CELLS],
        memory_encoder_hidden_size=HIDDEN,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=HIDDEN,
        memory_fuser_embed_dim=HIDDEN,
        memory_fuser_intermediate_dim=256,
        memory_fuser_layer_scale_init_value=0.1,
    )


def build_tiny_sam2(seed: int = 0) -> Sam2VideoModel:
    """A freshly initialised model."""
    torch.manual_seed(seed)
    model = Sam2VideoModel(tiny_sam2_config())
    initialize_mask_branch(model)
    _look_at_own_place(model)
    return model


@torch.no_grad()
def _look_at_own_place(model: Sam2VideoModel) -> None:
    """A cell starts by reading what the memories hold at its own place. The rotary encoding alone tells places apart
    there: the same bias of queries and keys, at its fast frequencies, is largest where both places are one. Without it
    nothing was learned in 300 steps but the union of all sprites."""
    half, fast = HIDDEN // 2, 24
    for layer in model.memory_attention.layers:
        for projection in (layer.cross_attn_image.q_proj, layer.cross_attn_image.k_proj):
            projection.bias.zero_()
            for axis in (0, half):
                projection.bias[axis : axis + fast : 2] = 3.5


class Features:
    """Image features of `[clips, frames]` images, as transformers keeps them: `[cells, images, channels]` a level."""

    def __init__(self, model: Sam2VideoModel, pixels: Tensor):
        self.num_frames = pixels.shape[1]
        encoded = model.get_image_features(pixels.flatten(0, 1), return_dict=True)
        self.levels, self.positions = encoded.fpn_hidden_states, encoded.fpn_position_encoding[-1]
        self.sizes = model.backbone_feature_sizes

    def of(self, owner: Tensor, frame: int) -> tuple[list[Tensor], Tensor, Tensor]:
        """For every object: the two fine levels `[objects, channels, height, width]`, the coarse one as it is, and its
        positional encoding."""
        chosen = owner * self.num_frames + frame
        fine = [
            level[:, chosen].permute(1, 2, 0).unflatten(2, size)
            for level, size in zip(self.levels[:-1], self.sizes, strict=False)
        ]
        return fine, self.levels[-1][:, chosen], self.positions[:, chosen]


class Memory:
    """What is remembered of all objects: of the first frame, and of the frames before the next one."""

    def __init__(self):
        self.spatial: list[Tensor] = []
        self.pointers: list[Tensor] = []

    def read(self, model: Sam2VideoModel, encoding: Tensor) -> tuple[Tensor, Tensor, int]:
        """Tokens `[length, objects, 64]`, their positional encodings, and how many of them are pointers."""
        frame, config = len(self.spatial), model.config
        recent = [offset for offset in range(config.num_maskmem - 1, 0, -1) if offset < frame]
        memories = [self.spatial[0], *(self.spatial[frame - offset] for offset in recent)]
        times = model.memory_temporal_positional_encoding
        places = [encoding + times[offset - 1] for offset in (0, *recent)]
        last = config.max_object_pointers_in_encoder - 1
        offsets = [frame, *range(1, min(last, frame - 1) + 1)]
        pointers = torch.stack([self.pointers[0], *(self.pointers[frame - offset] for offset in offsets[1:])])
        sines = get_1d_sine_pe(torch.tensor(offsets) / last, dim=model.hidden_dim).to(pointers.dtype)
        sines = model.temporal_positional_encoding_projection_layer(sines)
        splits = model.hidden_dim // model.mem_dim
        tokens = pointers.unflatten(2, (splits, -1)).transpose(1, 2).flatten(0, 1)
        sines = sines[:, None].expand(-1, pointers.shape[1], -1).repeat_interleave(splits, dim=0)
        return torch.cat([*memories, tokens]), torch.cat([*places, sines]), len(tokens)


def follow(model: Sam2VideoModel, features: Features, masks: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Follow masks that are given on the first frame.

    Args:
        model: a plain SAM-2 whose memories have as many cells as its image features.
        features: of the clips.
        masks: 0 or 1, `[objects, side, side]`, on the first frames; none is empty.
        owner: clip of each object, `[objects]`.

    Returns:
        Logits `[objects, frames - 1, height, width]` of the mask decoder on the later frames, before absent objects
        are blanked, and logits `[objects, frames - 1]` that the object is there.
    """
    memory = Memory()
    fine, coarse, positions = features.of(owner, 0)
    given = model._use_mask_as_output(_grid(model, coarse), fine, masks[:, None])
    memory.pointers.append(given.object_pointer[:, 0])
    new, encoding = _encode(model, coarse, masks[:, None], given.object_score_logits[:, 0])
    memory.spatial.append(new)
    outputs = []
    for frame in range(1, features.num_frames):
        fine, coarse, positions = features.of(owner, frame)
        tokens, places, num_pointers = memory.read(model, encoding)
        attended = model.memory_attention(coarse, tokens, positions, places, num_pointers)
        logits, scores, pointer = decode(model, _grid(model, attended[0].transpose(0, 1)), fine)
        outputs.append((logits, scores[:, 0]))
        if frame + 1 < features.num_frames:
            memory.pointers.append(pointer)
            sure = F.interpolate(shown(logits, scores)[:, None], (SIDE, SIDE), mode="bilinear", align_corners=False)
            memory.spatial.append(_encode(model, coarse, sure.sigmoid(), scores)[0])
    logits, scores = zip(*outputs, strict=True)
    return torch.stack(logits, dim=1), torch.stack(scores, dim=1)


def shown(logits: Tensor, scores: Tensor) -> Tensor:
    """Logits `[objects, height, width]`, blank where the object (`scores [objects, 1]`) is not there."""
    return torch.where(scores[..., None] > 0, logits, NO_OBJ_SCORE)


def decode(model: Sam2VideoModel, embedding: Tensor, fine: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Masks without a prompt: logits `[objects, height, width]`, scores `[objects, 1]`, pointers `[objects, dim]`."""
    count = len(embedding)
    sparse, dense = model.prompt_encoder(
        input_points=embedding.new_zeros(count, 1, 1, 2),
        input_labels=torch.full((count, 1, 1), -1, dtype=torch.int32),
        input_boxes=None,
        input_masks=None,
    )
    masks, _, tokens, scores = model.mask_decoder(
        image_embeddings=embedding,
        image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(count, 1, 1, 1),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
        high_resolution_features=fine,
    )
    scores = scores[:, 0]
    pointers = torch.where(scores > 0, model.object_pointer_proj(tokens[:, 0, 0]), model.no_object_pointer)
    return masks[:, 0, 0], scores, pointers


def _grid(model: Sam2VideoModel, coarse: Tensor) -> Tensor:
    """`[cells, objects, channels]` -> `[objects, channels, height, width]`."""
    return coarse.permute(1, 2, 0).unflatten(2, model.backbone_feature_sizes[-1])


def _encode(model: Sam2VideoModel, coarse: Tensor, masks: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Memory `[cells, objects, 64]` of masks `[objects, 1, side, side]` in [0, 1], and its positional encoding."""
    side = [4 * length for length in model.prompt_encoder.mask_input_size]
    assert list(masks.shape[2:]) == side
    scaled = masks * model.config.sigmoid_scale_for_mem_enc + model.config.sigmoid_bias_for_mem_enc
    memory, encoding = model.memory_encoder(_grid(model, coarse), scaled)
    absent = (scores <= 0).to(memory.dtype)[..., None, None]
    memory = memory + absent * model.occlusion_spatial_embedding_parameter[..., None, None]
    rounded = memory.to(torch.bfloat16).to(memory.dtype)  # as transformers keeps it
    return rounded.flatten(2).permute(2, 0, 1), encoding.flatten(2).permute(2, 0, 1)


# clips -------------------------------------------------------------------------------------------------------------

# any scene, frosted glass over sprites of one shape, over any scene
SCENES = {"plain": 0.6, "veiled": 0.25, "dimmed": 0.15}
SEVERAL = 0.25  # of the targets are two or three sprites


def sample_clips(rng: np.random.Generator, clips: int, objects: int, frames: int):
    """Passes over `frames` frames of clips of 8 to 24, forward or backward.

    Returns:
        `pixels [clips, frames, 3, 128, 128]`; `targets [clips * objects, frames, 128, 128]`, none empty on its first
        frame; `owner`, the clip of each target; all sprites `[clips, frames, 128, 128]`.
    """
    rows = [_sample_clip(rng, objects, frames) for _ in range(clips)]
    images, targets, sprites = (np.stack(each) for each in zip(*rows, strict=True))
    pixels = torch.from_numpy(images).movedim(-1, -3).float() / 255
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    owner = torch.arange(clips).repeat_interleave(objects)
    targets, sprites = (torch.from_numpy(each).float() for each in (targets, sprites))
    return (pixels - mean) / std, targets.flatten(0, 1), owner, sprites


def _sample_clip(rng, objects: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    while True:
        scene = _sample_scene(rng)
        length = int(rng.integers(max(8, frames), 25))
        start = int(rng.integers(0, length - frames + 1))
        order = np.arange(start, start + frames)[:: -1 if rng.random() < 1 / 3 else 1]
        images, masks = scene.render(order / (length - 1), SIDE)
        visible = np.flatnonzero(masks[:, 0].sum((1, 2)) >= 12)
        if len(visible):
            return images, np.stack([_union(rng, masks, visible) for _ in range(objects)]), masks.any(0)


def _sample_scene(rng) -> Scene:
    kind = str(rng.choice(list(SCENES), p=list(SCENES.values())))
    scene = sample_veiled_scene(rng) if kind == "veiled" else sample_scene(rng)
    if kind == "dimmed":
        scene.veil = (float(rng.uniform(0.2, 0.6)), float(rng.choice([rng.uniform(0.65, 0.95), 2.0])))
    return scene


def _union(rng, masks: np.ndarray, visible: np.ndarray) -> np.ndarray:
    count = int(rng.integers(2, 4)) if rng.random() < SEVERAL else 1
    return masks[rng.choice(visible, size=min(count, len(visible)), replace=False)].any(0)


__all__ = ["SIDE", "Features", "build_tiny_sam2", "follow", "sample_clips", "shown", "tiny_sam2_config"]
