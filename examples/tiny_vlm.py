"""A tiny Qwen3-VL with the mask branch of glus-tiny: architecture, words, batches and the losses of its stages."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from tiny_batches import ATTRIBUTES, BACKGROUND, GRID, IGNORED, SIZE, cell_labels, coverage, sample_times
from tiny_mask import decode, ious, mask_loss, scale_penalty
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from glus_hf import GLUSForVideoSegmentation, GLUSVLMConfig, GLUSVLMForVideoSegmentation, GLUSVLMProcessor
from glus_hf.data.motion_shapes import sample_expressions, sample_scene
from glus_hf.data.motion_shapes.language import vocabulary
from glus_hf.models.glus_vlm.prompts_glus_vlm import ANSWERS, CONTEXT_SENTENCE, QUESTIONS
from glus_hf.models.recipe_losses import select_seg_states


KINDS = {"static": 0.44, "motion": 0.2, "conjunction": 0.16, "multi": 0.12, "relation": 0.03, "no_target": 0.05}
HIDDEN, PATCH, MERGE, CONTEXT, QUERIES = 128, 8, 2, 4, 2
SIDE = SIZE // (PATCH * MERGE)  # tokens along a side of a frame
MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "[SEG]"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)


def build_processor() -> GLUSVLMProcessor:
    """Words of MotionShapes and of the templates, one id each; frames of 64 pixels, 16 tokens each; times in words."""
    splitter = pre_tokenizers.Whitespace()
    texts = [*vocabulary(), CONTEXT_SENTENCE, *QUESTIONS, *ANSWERS, "user assistant Frame at %:"]
    words = dict.fromkeys(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    known = ["<unk>", *words, *map(str, range(101))]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(dict.fromkeys(known))}, "<unk>"))
    backend.pre_tokenizer = splitter
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")
    tokenizer.add_tokens(MARKS, special_tokens=True)
    size = {"shortest_edge": SIZE**2, "longest_edge": SIZE**2}
    return GLUSVLMProcessor(
        Qwen2VLImageProcessorPil(patch_size=PATCH, merge_size=MERGE, size=size),
        tokenizer,
        vlm_type="qwen3_vl",
        image_token="<|image_pad|>",
        num_query_frames=QUERIES,
        max_frame_tokens=SIDE**2,
        mask_size=SIZE,
        frame_times=True,
        chat_template=TEMPLATE,
    )


def build_vlm(seed: int = 0) -> tuple[GLUSVLMForVideoSegmentation, GLUSVLMProcessor]:
    """A new vision-language model, and the trained mask branch of glus-tiny."""
    torch.manual_seed(seed)
    processor, tiny = build_processor(), GLUSForVideoSegmentation.from_pretrained("glus-tiny")
    ids = processor.tokenizer.convert_tokens_to_ids
    rope = {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True, "rope_theta": 10000.0}
    vlm = {
        "model_type": "qwen3_vl",
        "text_config": {
            "hidden_size": HIDDEN,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 32,
            "vocab_size": len(processor.tokenizer),
            "max_position_embeddings": 2048,
            "rope_parameters": rope,
        },
        "vision_config": {
            "depth": 3,
            "hidden_size": HIDDEN,
            "intermediate_size": 384,
            "num_heads": 4,
            "out_hidden_size": HIDDEN,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "num_position_embeddings": (SIZE // PATCH) ** 2,
            "deepstack_visual_indexes": [0, 1],
        },
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": len(processor.tokenizer) + 1,
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
    }
    config = GLUSVLMConfig(
        vlm_config=vlm,
        mask_config=tiny.config.mask_config.to_dict(),
        num_query_frames=QUERIES,
        seg_token_id=processor.seg_token_id,
        multimask_fallback=False,
        detach_memory=False,
    )
    model = GLUSVLMForVideoSegmentation(config)
    initialize(model)
    model.mask_model.load_state_dict(tiny.model.mask_model.state_dict())
    return model, processor


@torch.no_grad()
def initialize(model: GLUSVLMForVideoSegmentation) -> None:
    """As glus-tiny: the initial values of transformers are far too small for 128 channels."""
    for part in (model.vlm, model.seg_projection):
        for module in part.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.06)
    visual = model.vlm.model.visual
    nn.init.normal_(visual.patch_embed.proj.weight, std=visual.patch_embed.proj.weight[0].numel() ** -0.5)
    nn.init.normal_(visual.pos_embed.weight, std=0.5)
    nn.init.normal_(model.get_input_embeddings().weight, std=0.6)


class Heads(nn.Module):
    """Attributes of the 2 x 2 cells under every image token, and the 8 x 8 map of a [SEG] state; for training only."""

    def __init__(self):
        super().__init__()
        sizes = {name: MERGE**2 * (len(values) + 1) for name, values in ATTRIBUTES.items()}
        self.attributes = nn.ModuleDict({name: nn.Linear(HIDDEN, size) for name, size in sizes.items()})
        self.map = nn.Linear(HIDDEN, GRID * GRID)

    def attribute_loss(self, states: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """`states [n, 16, hidden]` of frames and `labels [n, 64]`; background is a class that weighs a tenth."""
        total, accuracy = states.new_zeros(()), {}
        for name, head in self.attributes.items():
            logits = head(states).unflatten(-1, (MERGE, MERGE, -1)).unflatten(1, (SIDE, SIDE))
            logits = logits.permute(0, 1, 3, 2, 4, 5).reshape(len(states), GRID * GRID, -1)  # tokens to rows of cells
            target = labels[name]
            weight = torch.ones(logits.shape[-1])
            weight[-1] = 0.1
            classes = target.masked_fill(target == BACKGROUND, logits.shape[-1] - 1)
            total = total + F.cross_entropy(logits.flatten(0, 1), classes.flatten(), weight, ignore_index=IGNORED)
            accuracy[name] = (logits.argmax(-1) == target)[target >= 0].float().mean().item()
        return total, accuracy


@dataclass
class Batch:
    """Inputs of the model, and what the losses compare: `targets [clips, expressions, window, 64, 64]`, `objects
    [clips, window, 64, 64]`, attribute labels `[clips, frames, 64]`."""

    inputs: dict
    targets: Tensor
    objects: Tensor
    labels: dict[str, Tensor]
    kinds: list[list[str]]


def sample_batch(rng, processor: GLUSVLMProcessor, clips: int, expressions: int) -> Batch:
    """Sample and render clips with expressions about them."""
    samples, objects, labels, kinds = [], [], [], []
    while len(samples) < clips:
        scene = sample_scene(rng)
        sampled = sample_expressions(rng, scene, expressions, KINDS)
        if not sampled:
            continue
        sampled = [sampled[index % len(sampled)] for index in range(expressions)]
        times = sample_times(rng, processor, QUERIES)
        frames, masks = scene.render(times, SIZE)
        targets = np.stack([masks[each.object_ids].any(0) for each in sampled])[:, -QUERIES:]
        texts = [each.text for each in sampled]
        samples.append({"frames": list(frames), "expressions": texts, "masks": targets, "frame_times": list(times)})
        objects.append(masks[:, -QUERIES:].any(0))
        labels.append(cell_labels(scene, masks))
        kinds.append([each.kind for each in sampled])
    inputs = dict(processor(samples))
    names = {name: torch.from_numpy(np.stack([each[name] for each in labels])) for name in ATTRIBUTES}
    targets = torch.stack(inputs["mask_labels"])
    return Batch(inputs, targets, torch.from_numpy(np.stack(objects)).float(), names, kinds)


def read_losses(model: GLUSVLMForVideoSegmentation, heads: Heads, batch: Batch) -> tuple[Tensor, Tensor, dict]:
    """Losses of the reading part, and the prompts that it predicts, `[clips, expressions, window, dim]`."""
    inputs, (clips, expressions) = batch.inputs, batch.targets.shape[:2]
    videos = [model.reader.encode_frames(pixels) for pixels in inputs["frame_pixels"]]
    frames = [video for video in videos for _ in range(expressions)]
    rows = model._expand(inputs["input_ids"], inputs["attention_mask"], None, frames)
    flat = [frame for row in frames for frame in row]
    states = model.reader.read_states(rows["input_ids"], rows["attention_mask"], flat)
    of_images = states[rows["input_ids"] == model.reader.image_token_id]
    of_images = of_images.view(clips, expressions, CONTEXT + QUERIES, SIDE**2, HIDDEN)[:, 0]
    labels = {name: values.clone() for name, values in batch.labels.items()}
    labels["motion"][:, :2] = IGNORED  # too early to know
    dense, accuracy = heads.attribute_loss(of_images.flatten(0, 1), {k: v.flatten(0, 1) for k, v in labels.items()})
    segs = select_seg_states(rows["input_ids"], states, model.config.seg_token_id).unflatten(0, (clips, expressions))
    cells = torch.from_numpy(coverage(batch.targets.numpy() > 0.5))
    logits, has_target = heads.map(segs), cells.sum(-1) > 0.05
    wanted = cells / cells.sum(-1, keepdim=True).clamp(min=0.05)
    pointing = -(wanted * logits.log_softmax(-1)).sum(-1)[has_target].mean()
    bce = F.binary_cross_entropy_with_logits(logits, cells)
    prompts = model.seg_projection(segs)
    oracle = cells @ model.dense_positions().flatten(2)[0].T.detach()
    distill = F.smooth_l1_loss(prompts, oracle, beta=0.5)
    emits = F.cross_entropy(
        model.get_output_embeddings()(segs).flatten(0, -2),
        torch.full((segs[..., 0].numel(),), model.config.seg_token_id),
    )
    hit = (cells.gather(-1, logits.argmax(-1, keepdim=True))[..., 0] > 0.15).float()[..., -1]
    metrics = {f"acc_{name}": value for name, value in accuracy.items()}
    metrics |= mean_by_kind("hit", hit, batch.kinds, has_target[..., -1])
    metrics |= {"map": pointing.item(), "distill": distill.item(), "emits": emits.item()}
    return dense + pointing + 8 * bce + 4 * distill + 0.1 * emits, prompts, metrics


def join_losses(model: GLUSVLMForVideoSegmentation, heads: Heads, batch: Batch) -> tuple[Tensor, dict]:
    """Read as before; draw the masks of half of the expressions with memory."""
    loss, prompts, metrics = read_losses(model, heads, batch)
    groups, branch = max(1, prompts.shape[1] // 2), SimpleNamespace(model=model)
    pixels, targets = batch.inputs["mask_pixel_values"], batch.targets[:, :groups].flatten(0, 1)
    logits = decode(branch, pixels, prompts[:, :groups].flatten(0, 1), groups, 7)
    masks, of_masks = mask_loss(logits, targets, batch.objects.repeat_interleave(groups, dim=0))
    logits = F.interpolate(logits[:, -1:], size=targets.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    scores = ious(logits > 0, targets[:, -1] > 0.5).unflatten(0, (-1, groups))
    metrics |= mean_by_kind("J", scores, [row[:groups] for row in batch.kinds], torch.ones_like(scores).bool())
    return 2 * masks + loss + scale_penalty(branch, pixels), metrics | of_masks


def mean_by_kind(name: str, values: Tensor, kinds: list[list[str]], valid: Tensor) -> dict[str, float]:
    """Means of `[clips, expressions]` by kind of expression."""
    found: dict[str, list[float]] = {}
    for row, own, is_valid in zip(values.tolist(), kinds, valid.tolist(), strict=True):
        for value, kind, counts in zip(row, own, is_valid, strict=True):
            if counts:
                found.setdefault(f"{name}_{kind}", []).append(value)
    return {key: float(np.mean(each)) for key, each in found.items()}
