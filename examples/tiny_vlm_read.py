"""Batches and losses of the tiny vision-language model: strict prompts of MotionShapes clips, packed and supervised.

The packing is that of `tiny_batches`: conversations about one clip share its context frames and first query frame,
then split into one branch per expression, which sees the shared part and itself at the positions that it has alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tiny_batches import ATTRIBUTES, IGNORED, SIZE, cell_labels, coverage, sample_times
from tiny_mask import decode, ious, mask_loss, scale_penalty
from tiny_model import TrainingHeads
from tiny_vlm import CONTEXT, SIDE
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from glus_hf import GLUSVLMForVideoSegmentation, GLUSVLMProcessor
from glus_hf.data.motion_shapes import sample_expressions, sample_scene


KINDS = {"static": 0.44, "motion": 0.2, "conjunction": 0.16, "multi": 0.12, "relation": 0.03, "no_target": 0.05}
TAIL = 14  # positions from the last word of an expression to the one that predicts [SEG]


@dataclass
class VLMBatch:
    """Inputs as the processor makes them, and what the losses compare: `targets [clips, expressions, window, 64, 64]`,
    `objects [clips, window, 64, 64]` (any sprite), attributes `[clips, frames, 64]`."""

    inputs: dict
    targets: Tensor
    objects: Tensor
    labels: dict[str, Tensor]
    kinds: list[list[str]]


@dataclass
class PackedRows:
    """`ids [rows, length]`, `positions [3, rows, length]`, additive `mask [rows, 1, length, length]`, `images [rows,
    n]`, the frame of each image, `segs [rows, expressions, window]`, where [SEG] is predicted."""

    ids: Tensor
    positions: Tensor
    mask: Tensor
    images: Tensor
    segs: Tensor


def sample_vlm_batch(rng, processor: GLUSVLMProcessor, clips: int, expressions: int, window: int) -> VLMBatch:
    """Sample and render clips with expressions about them."""
    processor.num_query_frames = window
    samples, objects, labels, kinds = [], [], [], []
    while len(samples) < clips:
        scene = sample_scene(rng)
        sampled = sample_expressions(rng, scene, expressions, KINDS)
        if not sampled:
            continue
        sampled = [sampled[index % len(sampled)] for index in range(expressions)]
        times = sample_times(rng, processor, window)
        frames, masks = scene.render(times, SIZE)
        targets = np.stack([masks[each.object_ids].any(0) for each in sampled])[:, -window:]
        texts = [each.text for each in sampled]
        samples.append({"frames": list(frames), "expressions": texts, "masks": targets, "frame_times": list(times)})
        objects.append(masks[:, -window:].any(0))
        labels.append(cell_labels(scene, masks))
        kinds.append([each.kind for each in sampled])
    inputs = dict(processor(samples))
    names = {name: torch.from_numpy(np.stack([each[name] for each in labels])) for name in ATTRIBUTES}
    targets = torch.stack(inputs["mask_labels"])
    return VLMBatch(inputs, targets, torch.from_numpy(np.stack(objects)).float(), names, kinds)


def pack(model: GLUSVLMForVideoSegmentation, inputs: dict, videos: list, window: int) -> PackedRows:
    """One row per clip out of its conversations."""
    per_clip = len(inputs["input_ids"]) // len(videos)
    rows = [
        _pack_clip(model, inputs["input_ids"][own], inputs["attention_mask"][own], video, window)
        for own, video in zip(torch.arange(len(inputs["input_ids"])).split(per_clip), videos, strict=True)
    ]
    ids, positions, branch = (pad_sequence(each, batch_first=True) for each in list(zip(*rows, strict=True))[:3])
    visible = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 1)
    visible &= torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[:, None]
    images = [*range(CONTEXT + 1), *(CONTEXT + turn for _ in range(per_clip) for turn in range(1, window))]
    segs = torch.stack([row[3] for row in rows]).unflatten(1, (per_clip, window))
    return PackedRows(ids, positions.permute(2, 0, 1), mask, torch.tensor(images).expand(len(rows), -1), segs)


def _pack_clip(model, ids: Tensor, mask: Tensor, video: list, window: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, positions `[length, 3]`, branches (0 is padding, 1 shared) and where [SEG] is predicted, of one row."""
    rows = [row[kept.bool()] for row, kept in zip(ids, mask, strict=True)]
    expanded = [torch.tensor(model.reader.expand(row.tolist(), video)) for row in rows]
    images = [(row == model.reader.image_token_id).nonzero()[:, 0] for row in expanded]
    shared = int(images[0][(CONTEXT + 1) * SIDE**2 - 1]) + 1
    parts, places, branches = [expanded[0][:shared]], [], [torch.ones(shared, dtype=torch.long)]
    for number, row in enumerate(expanded):
        positions = model.reader._positions(row[None], torch.ones_like(row[None]), video)[:, 0].T
        places += [positions[:shared]] if number == 0 else []
        places.append(positions[shared:])
        parts.append(row[shared:])
        branches.append(torch.full((len(row) - shared,), number + 2))
    packed = torch.cat(parts)
    segs = (packed == model.config.seg_token_id).nonzero()[:, 0] - 1
    return packed, torch.cat(places), torch.cat(branches), segs


def read(model: GLUSVLMForVideoSegmentation, packed: PackedRows, videos: list) -> tuple[Tensor, Tensor, Tensor]:
    """States on the way to each [SEG] `[clips, expressions, window, TAIL, hidden]`; what image tokens know before the
    last layer, where [SEG] looks it up, `[n, hidden]`; and the log attention of that layer from the former to the 64
    tokens of their query frame, `[clips, expressions, window, TAIL, heads, 64]`."""
    frames = [video[index] for video, row in zip(videos, packed.images.tolist(), strict=True) for index in row]
    is_image = packed.ids == model.reader.image_token_id
    embeddings = model.get_input_embeddings()(packed.ids)
    tokens = torch.cat([frame.tokens for frame in frames])
    embeddings = embeddings.masked_scatter(is_image[..., None], tokens)
    decoder = model.vlm.model.get_decoder()
    outputs = decoder(
        inputs_embeds=embeddings,
        attention_mask=packed.mask,
        position_ids=packed.positions,
        visual_pos_masks=is_image,
        deepstack_visual_embeds=[torch.cat(layer) for layer in zip(*(frame.deep for frame in frames), strict=True)],
        use_cache=False,
        output_hidden_states=True,
    )
    before = outputs.hidden_states[-2]
    tail = packed.segs[..., None] + torch.arange(1 - TAIL, 1)
    clips = torch.arange(len(before))[:, None, None, None]
    attention = last_attention(decoder, before, packed, tail, is_image)
    return outputs.last_hidden_state[clips, tail], decoder.norm(before)[is_image], attention


def last_attention(decoder, states: Tensor, packed: PackedRows, tail: Tensor, is_image: Tensor) -> Tensor:
    """What the last layer attends to, among the tokens of the query frame of each [SEG]."""
    layer, (clips, expressions, window) = decoder.layers[-1], packed.segs.shape
    normed, attention = layer.input_layernorm(states), layer.self_attn
    query, key = (
        norm(project(normed).unflatten(-1, (-1, attention.head_dim))).transpose(1, 2)
        for norm, project in ((attention.q_norm, attention.q_proj), (attention.k_norm, attention.k_proj))
    )
    query, key = apply_rotary_pos_emb(query, key, *decoder.rotary_emb(states, packed.positions))
    own = torch.arange(expressions)[:, None] * (window - 1) + torch.arange(window) + CONTEXT
    own[:, 0] = CONTEXT  # the first query frame is shared by all expressions
    places = is_image.nonzero()[:, 1].unflatten(0, (clips, -1, SIDE**2))
    at = torch.arange(clips)[:, None, None, None]
    query, key = query.transpose(1, 2)[at, tail], key.transpose(1, 2)[at, places[:, own]]
    return torch.einsum("cewphd,cewthd->cewpht", query, key).mul(attention.scaling).log_softmax(-1)


def read_losses(
    model: GLUSVLMForVideoSegmentation, heads: TrainingHeads, batch: VLMBatch
) -> tuple[Tensor, Tensor, dict]:
    """Losses of the reading part, and the prompts that it predicts, `[clips, expressions, window, dim]`."""
    videos = [model.reader.encode_frames(pixels) for pixels in batch.inputs["frame_pixels"]]
    packed = pack(model, batch.inputs, videos, batch.targets.shape[2])
    states, known, attention = read(model, packed, videos)
    rows = torch.arange(len(videos))[:, None]
    labels = {name: label[rows, packed.images] for name, label in batch.labels.items()}
    labels["motion"] = labels["motion"].index_fill(1, torch.tensor([0, 1]), IGNORED)  # too early to know
    dense, accuracy = heads.attribute_loss(known, labels)
    cells = torch.from_numpy(coverage(batch.targets.numpy() > 0.5))
    logits, has_target = heads.map(states), cells.sum(-1) > 0.05
    wanted = (cells / cells.sum(-1, keepdim=True).clamp(min=0.05))[..., None, :]
    cross = -(wanted * logits.log_softmax(-1)).sum(-1)[has_target].mean()
    pointing = -(wanted[..., None, :] * attention[..., :2, :]).sum(-1)[has_target].mean()
    bce = F.binary_cross_entropy_with_logits(logits, cells[..., None, :].expand_as(logits))
    segs, logits = states[..., -1, :], logits[..., -1, :]
    prompts = model.seg_projection(segs)
    oracle = cells @ model.dense_positions().flatten(2)[0].T.detach()
    distill = F.smooth_l1_loss(prompts, oracle, beta=0.5)
    seg_ids = torch.full((segs[..., 0].numel(),), model.config.seg_token_id)
    emits = F.cross_entropy(model.get_output_embeddings()(segs).flatten(0, -2), seg_ids)
    metrics = {f"acc_{name}": value for name, value in accuracy.items()}
    for name, scores in (("hit", logits), ("point", attention[..., -1, :2, :].mean(-2))):
        hit = (cells.gather(-1, scores.argmax(-1, keepdim=True))[..., 0] > 0.15).float()[..., -1]
        metrics |= mean_by_kind(name, hit, batch.kinds, has_target[..., -1])
    metrics |= {"map": cross.item(), "pointing": pointing.item(), "distill": distill.item(), "emits": emits.item()}
    return dense + cross + pointing + 8 * bce + 4 * distill + 0.1 * emits, prompts, metrics


def join_losses(model: GLUSVLMForVideoSegmentation, heads: TrainingHeads, batch: VLMBatch) -> tuple[Tensor, dict]:
    """Read as before; decode the masks of some of the expressions with memory."""
    loss, prompts, metrics = read_losses(model, heads, batch)
    groups, branch = 4 // prompts.shape[2], _Branch(model)
    pixels, targets = batch.inputs["mask_pixel_values"], batch.targets[:, :groups].flatten(0, 1)
    logits = decode(branch, pixels, prompts[:, :groups].flatten(0, 1), groups, 7)
    masks, of_masks = mask_loss(logits, targets, batch.objects.repeat_interleave(groups, dim=0))
    logits = F.interpolate(logits[:, -1:], size=targets.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    scores = ious(logits > 0, targets[:, -1] > 0.5).unflatten(0, (-1, groups))
    metrics |= mean_by_kind("J", scores, [row[:groups] for row in batch.kinds], torch.ones_like(scores).bool())
    return 2 * masks + loss + scale_penalty(branch, pixels), metrics | of_masks


@dataclass
class _Branch:
    """The mask branch where glus-tiny has it."""

    model: GLUSVLMForVideoSegmentation


def mean_by_kind(name: str, values: Tensor, kinds: list[list[str]], valid: Tensor) -> dict[str, float]:
    """Means of `[clips, expressions]` by kind of expression."""
    found: dict[str, list[float]] = {}
    for row, own, is_valid in zip(values.tolist(), kinds, valid.tolist(), strict=True):
        for value, kind, counts in zip(row, own, is_valid, strict=True):
            if counts:
                found.setdefault(f"{name}_{kind}", []).append(value)
    return {key: float(np.mean(each)) for key, each in found.items()}
