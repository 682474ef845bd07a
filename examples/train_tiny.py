"""Train glus-tiny from scratch on MotionShapes, in stages that resume (see train_tiny.sh).

python examples/train_tiny.py --stage mask --output runs/tiny/mask --minutes 20
python examples/train_tiny.py --stage read --output runs/tiny/read --minutes 42
python examples/train_tiny.py --stage join --output runs/tiny/join --minutes 35 --from runs/tiny/mask runs/tiny/read
python examples/train_tiny.py --stage memory --output runs/tiny/memory --minutes 20 --start runs/tiny/join

The start of ablate_parts.py is of another kind: give --scenes hard --window 4 --no-frame-times to the first stages.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tiny_batches import GRID, IGNORED, SCENES, coverage, sample_batch
from tiny_mask import decode, ious, mask_loss, mask_step, scale_penalty
from tiny_memory import memory_step
from tiny_model import Recipe, TrainingHeads, build_tiny, oracle_prompt
from torch import Tensor
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb


STAGES = ("mask", "read", "join", "memory")
KINDS = {"static": 0.44, "motion": 0.2, "conjunction": 0.16, "multi": 0.12, "relation": 0.03, "no_target": 0.05}


class Optimizers:
    """Muon for the 2-D weights of the transformers, AdamW for the rest; warm-up, then linear decay at the end."""

    def __init__(self, named_parameters, muon_lr: float, adam_lr: float, warmup: int = 50, decay: float = 0.5):
        matrices, others = [], []
        for name, parameter in named_parameters:
            if parameter.requires_grad:
                is_matrix = (
                    parameter.ndim == 2 and "embed" not in name and "layers" in name and "mask_model" not in name
                )
                (matrices if is_matrix else others).append(parameter)
        self.optimizers = [torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0)]
        if matrices:
            self.optimizers.append(torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.0))
        self.rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        self.parameters = matrices + others
        self.warmup, self.decay = warmup, decay

    def step(self, loss: Tensor, step: int, progress: float) -> None:
        factor = min(1.0, (step + 1) / self.warmup) * min(1.0, max(0.02, (1 - progress) / self.decay))
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> list[dict]:
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: list[dict]) -> None:
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)


# read stage: vision and language, packed strict prompts ------------------------------------------------------------


@dataclass
class Reading:
    """States before each [SEG] `[clips, expressions, window, 10, hidden]` (from the last word of the expression to the
    position that predicts [SEG]), states of all image positions `[n, hidden]`, and the log attention of the last layer
    from the former to the 64 tokens of their query frame `[clips, expressions, window, 10, heads, 64]`."""

    segs: Tensor
    image_states: Tensor
    attention: Tensor


def read(model, batch) -> Reading:
    prompts = batch.prompts
    tokens = model.model.encode_frames(batch.pixel_values.flatten(0, 1), batch.frame_times.flatten())
    tokens = tokens.unflatten(0, batch.pixel_values.shape[:2])
    rows = torch.arange(len(tokens))
    embeddings = model.model.embed_prompt(prompts.input_ids, tokens[rows[:, None], prompts.image_frames])
    outputs = model.model.language_model(
        inputs_embeds=embeddings,
        attention_mask=prompts.packing.mask(),
        position_ids=prompts.packing.position_ids,
        packing=prompts.packing,
        output_hidden_states=True,
        use_cache=False,
    )
    states, before = outputs.last_hidden_state, prompts.seg_positions[..., None] + torch.arange(-9, 1)
    is_image = prompts.input_ids == model.config.image_token_id
    places = is_image.nonzero()[:, 1].unflatten(0, (len(rows), -1, GRID * GRID))
    attention = last_attention(model.model.language_model, outputs.hidden_states[-2], prompts, before, places)
    # what image tokens know must be there before the last layer, which is where [SEG] looks it up
    known = model.model.language_model.norm(outputs.hidden_states[-2])[is_image]
    return Reading(states[rows[:, None, None, None], before], known, attention)


def last_attention(language_model, states: Tensor, prompts, before: Tensor, places: Tensor) -> Tensor:
    """What the last layer attends to, among the tokens of the query frame of each [SEG]."""
    layer, rows = language_model.layers[-1], torch.arange(len(states))
    normed = layer.input_layernorm(states)
    shape = (*normed.shape[:2], -1, layer.self_attn.head_dim)
    query, key = (
        project(normed).view(shape).transpose(1, 2) for project in (layer.self_attn.q_proj, layer.self_attn.k_proj)
    )
    query, key = apply_rotary_pos_emb(query, key, *language_model.rotary_emb(states, prompts.packing.position_ids))
    clips, expressions, window, _ = before.shape
    own = torch.arange(expressions)[:, None] * (window - 1) + torch.arange(window) + 4
    own[:, 0] = 4  # the first query frame is shared by all expressions
    at = rows[:, None, None, None]
    query = query.transpose(1, 2)[at, before]
    key = key.transpose(1, 2)[at, places[:, own]]
    return torch.einsum("cewphd,cewthd->cewpht", query, key).mul(layer.self_attn.scaling).log_softmax(-1)


def read_losses(model, heads, batch, motion_weight: float = 1.0) -> tuple[Tensor, Tensor, dict]:
    """Losses of the reading part, and the predicted prompts `[clips, expressions, window, dim]`."""
    reading = read(model, batch)
    rows = torch.arange(len(reading.segs))[:, None]
    labels = {name: label[rows, batch.prompts.image_frames] for name, label in batch.cell_labels.items()}
    # too early to know
    labels["motion"] = labels["motion"].index_fill(1, torch.tensor([0, 1]), IGNORED)
    dense, accuracy = heads.attribute_loss(reading.image_states, labels, motion_weight)
    cells = torch.from_numpy(coverage(batch.targets.numpy() > 0.5))
    map_logits = heads.map(
        reading.segs
    )  # supervised wherever the whole expression is known: it starts at the last word
    has_target = cells.sum(-1) > 0.05
    wanted = (cells / cells.sum(-1, keepdim=True).clamp(min=0.05))[..., None, :]
    ce = -(wanted * map_logits.log_softmax(-1)).sum(-1)[has_target].mean()
    pointing = -(wanted[..., None, :] * reading.attention[..., :2, :]).sum(-1)[has_target].mean()
    bce = F.binary_cross_entropy_with_logits(map_logits, cells[..., None, :].expand_as(map_logits))
    segs, map_logits = reading.segs[..., -1, :], map_logits[..., -1, :]
    prompts = model.model.seg_projection(segs)
    distill = F.smooth_l1_loss(prompts, oracle_prompt(model, cells), beta=0.5)
    seg_ids = torch.full((segs[..., 0].numel(),), model.config.seg_token_id)
    emits = F.cross_entropy(model.lm_head(segs).flatten(0, -2), seg_ids)
    metrics = {f"acc_{name}": round(value, 3) for name, value in accuracy.items()}
    for name, scores in (("hit", map_logits), ("point", reading.attention[..., -1, :2, :].mean(-2))):
        hit = (cells.gather(-1, scores.argmax(-1, keepdim=True))[..., 0] > 0.15).float()
        kinds = by_kind(hit[..., -1], batch.kinds, has_target[..., -1])
        metrics |= {f"{name}_{kind}": round(value, 3) for kind, value in kinds.items()}
    metrics |= {"map_ce": ce.item(), "pointing": pointing.item(), "distill": distill.item()}
    return dense + ce + pointing + 8 * bce + 4 * distill + 0.1 * emits, prompts, metrics


def by_kind(values: Tensor, kinds: list[list[str]], valid: Tensor) -> dict[str, float]:
    sums: dict[str, list[float]] = {}
    for row, row_kinds, row_valid in zip(values.tolist(), kinds, valid.tolist(), strict=True):
        for value, kind, is_valid in zip(row, row_kinds, row_valid, strict=True):
            if is_valid:
                sums.setdefault(kind, []).append(value)
    return {kind: float(np.mean(items)) for kind, items in sums.items()}


def draw(rng, processor, window: int, scenes: str, lengths: tuple[int, int] | None = None):
    """A batch of eight clips: eight expressions over a window of one frame, four over two, two over four."""
    weights = None if SCENES[scenes].is_hard else KINDS
    counts = {"clips": 8, "expressions": max(8 // window, 1), "window": window}
    return sample_batch(rng, processor, **counts, weights=weights, kind=scenes, lengths=lengths)


SHORT = (8, 17)  # frames of clips whose motions are large from frame to frame


def read_step(model, heads, processor, rng, progress: float, scenes: str = "plain") -> tuple[Tensor, dict]:
    """Hard scenes: first looks, then motions on short clips, at last on clips as long as those of the dataset."""
    is_hard = SCENES[scenes].is_hard
    longer = 0.75 if is_hard else (0.0 if progress < 0.5 else 0.4)
    window = processor.num_query_frames if rng.random() < longer else 1
    knows_looks = is_hard and progress > 0.4
    batch = draw(rng, processor, window, scenes, SHORT if knows_looks and progress < 0.75 else None)
    loss, _, metrics = read_losses(model, heads, batch, motion_weight=4.0 if knows_looks else 1.0)
    return loss, metrics


# join stage: [SEG] prompts the mask branch -------------------------------------------------------------------------


def join_step(model, heads, processor, rng, progress: float, scenes: str = "plain") -> tuple[Tensor, dict]:
    """Read as before; decode the masks of some of the expressions, all frames of the window with memory."""
    window = int(rng.choice([1, processor.num_query_frames], p=[0.5, 0.5]))
    batch = draw(rng, processor, window, scenes)
    loss, prompts, metrics = read_losses(model, heads, batch)
    groups = max(4 // window, 1)
    targets = batch.targets[:, :groups].flatten(0, 1)
    logits = decode(model, batch.mask_pixel_values, prompts[:, :groups].flatten(0, 1), groups, 7)
    masks, mask_metrics = mask_loss(logits, targets, batch.objects.repeat_interleave(groups, dim=0))
    logits = F.interpolate(logits[:, -1:], size=targets.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    per_mask = ious(logits > 0, targets[:, -1] > 0.5).unflatten(0, (-1, groups))
    kinds = by_kind(per_mask, [row[:groups] for row in batch.kinds], torch.ones_like(per_mask, dtype=torch.bool))
    metrics |= {f"J_{kind}": round(value, 3) for kind, value in kinds.items()}
    return 2 * masks + loss + scale_penalty(model, batch.mask_pixel_values), metrics | mask_metrics


# the loop ----------------------------------------------------------------------------------------------------------


def trainable(model, heads, stage: str):
    if stage in ("mask", "memory"):
        return [(f"mask_model.{name}", p) for name, p in model.model.mask_model.named_parameters()]
    parameters = [(name, p) for name, p in model.named_parameters() if stage == "join" or "mask_model" not in name]
    return parameters + [(f"heads.{name}", p) for name, p in heads.named_parameters()]


def save(folder: Path, model, heads, optimizers, state: dict) -> None:
    tensors = {f"model.{name}": value.contiguous().clone() for name, value in model.state_dict().items()}
    tensors |= {f"heads.{name}": value.contiguous() for name, value in heads.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors.new")
    torch.save(optimizers.state_dict(), folder / "optimizer.pt.new")
    (folder / "state.json.new").write_text(json.dumps(state))
    for name in ("weights.safetensors", "optimizer.pt", "state.json"):
        (folder / f"{name}.new").rename(folder / name)


def load(folder: Path, model, heads, part: str = "all") -> None:
    """Load `all`, only the `mask` branch, or everything but it (`read`)."""
    tensors = load_file(folder / "weights.safetensors")
    wanted = {"all": (True, False), "mask": (True,), "read": (False,)}[part]
    for prefix, module in (("model.", model), ("heads.", heads)):
        chosen = {
            k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix) and ("mask_model" in k) in wanted
        }
        module.load_state_dict(chosen, strict=part == "all")


def check_sources(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """The last two stages go on from other runs, unless they go on themselves; all parts are of one recipe."""
    if args.stage == "memory" and args.scenes != "plain":
        parser.error("--stage memory draws its own clips; leave out --scenes")
    sources = [*(args.sources or []), *([args.start] if args.start else [])]
    if args.stage in ("join", "memory") and not (sources or (args.output / "state.json").exists()):
        parser.error(f"--stage {args.stage} needs {'--from' if args.stage == 'join' else '--start'}")
    for folder in sources:
        if not (folder / "weights.safetensors").is_file():
            parser.error(f"{folder}: has no weights.safetensors; name the --output of another stage")
    started = [args.output] if (args.output / "state.json").exists() else []
    for folder in [*sources, *started]:
        if (found := Recipe.load(folder)) != recipe_of(args):
            parser.error(f"{folder}: is of {found}; pass the same --scenes, --window and --no-frame-times")


def recipe_of(args: argparse.Namespace) -> Recipe:
    return Recipe(args.scenes, args.window, not args.no_frame_times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="training time; the rate decays over its end")
    parser.add_argument("--from", dest="sources", type=Path, nargs=2, help="join: the mask and the read folders")
    parser.add_argument("--start", type=Path, help="start from the weights of this run")
    parser.add_argument("--muon-lr", type=float, default=0.015)
    parser.add_argument("--adam-lr", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.5, help="part of the time over which the rate falls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", choices=SCENES, default="plain", help="kind of clips")
    parser.add_argument("--window", type=int, default=2, help="query frames that the model reads together")
    parser.add_argument("--no-frame-times", action="store_true", help="a model that is not told the times of frames")
    args = parser.parse_args()
    check_sources(parser, args)
    recipe = recipe_of(args)
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)

    recipe.save(args.output)
    model, processor = build_tiny(args.seed, recipe)
    heads = TrainingHeads(model.config.text_config.hidden_size, recipe.scenes)
    if args.sources:
        load(args.sources[0], model, heads, "mask")
        load(args.sources[1], model, heads, "read")
    if args.start:
        load(args.start, model, heads, args.stage if args.stage in ("mask", "read") else "all")
    model.train()
    optimizers = Optimizers(trainable(model, heads, args.stage), args.muon_lr, args.adam_lr, decay=args.decay)
    state = {"step": 0, "seconds": 0.0}
    if (args.output / "state.json").exists():
        load(args.output, model, heads)
        optimizers.load_state_dict(torch.load(args.output / "optimizer.pt", weights_only=True))
        state = json.loads((args.output / "state.json").read_text())
    steps = {"read": read_step, "join": join_step}
    averages: dict[str, float] = {}
    last = time.process_time()
    with (args.output / "log.jsonl").open("a") as log:
        while state["seconds"] < args.minutes * 60:
            rng = np.random.default_rng([77, args.seed, STAGES.index(args.stage), state["step"]])
            torch.manual_seed(state["step"])
            progress = state["seconds"] / (args.minutes * 60)
            if args.stage == "mask":
                loss, metrics = mask_step(model, processor, rng, progress, SCENES[recipe.scenes].scene)
            elif args.stage == "memory":
                loss, metrics = memory_step(model, processor, rng, KINDS)
            else:
                loss, metrics = steps[args.stage](model, heads, processor, rng, progress, recipe.scenes)
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"the loss is {loss.item()} at step {state['step']}")
            optimizers.step(loss, state["step"], progress)
            for name, value in {"loss": loss.item(), **metrics}.items():
                averages[name] = 0.97 * averages.get(name, value) + 0.03 * value
            state["step"] += 1
            state["seconds"] += time.process_time() - last
            last = time.process_time()
            if state["step"] % 50 == 0:
                log.write(json.dumps({**state, **{k: round(v, 4) for k, v in averages.items()}}) + "\n")
                log.flush()
            if state["step"] % 200 == 0:
                save(args.output, model, heads, optimizers, state)
    save(args.output, model, heads, optimizers, state)


if __name__ == "__main__":
    main()
