"""Train what glus-selector-tiny starts from, from scratch on MotionShapes, in stages that resume (see self_refine.sh).

python examples/train_tiny_selector.py --stage see --output runs/selector/see --minutes 5
python examples/train_tiny_selector.py --stage base --output runs/selector/base --minutes 40 --start runs/selector/see
python examples/train_tiny_selector.py --export runs/selector/base --output runs/selector/glus-selector-start

`see` trains the tower to name what is under every patch. `base` trains everything to say how much of its target a
frame shows, which is known here. It stands for the pretraining of Chat-UniVi; pseudo-labels come after it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tiny_batches import ATTRIBUTES, BACKGROUND, SIZE
from tiny_selector import SelectorHeads, build_selector
from tiny_selector_batches import (
    SelectorBatch,
    normalize,
    patch_labels,
    sample_partial_scene,
    sample_selector_batch,
)
from torch import Tensor
from torch.nn import functional as F
from train_tiny import Optimizers

from glus_hf.models.glus_selector.token_merger_glus_selector import merge_stages


STAGES = ("see", "base")


# see stage: the tower alone ------------------------------------------------------------------------------------------


def see_step(model, heads, processor, rng, progress: float) -> tuple[Tensor, dict]:
    """Shape, colour and size of what is under every patch of single frames."""
    grid = grid_of(model)
    frames, labels = [], []
    for _ in range(32):
        scene = sample_partial_scene(rng, 0.0)
        times = rng.random(2)
        pixels, visible = scene.render(times, SIZE)
        frames.append(pixels)
        labels.append(patch_labels(scene, visible, grid, times))
    pixels = normalize(processor, np.concatenate(frames)).to(model.device)
    stacked = {name: torch.from_numpy(np.concatenate([label[name] for label in labels])) for name in ATTRIBUTES}
    return heads.patch_loss(model.model.patch_features(pixels), move(stacked, model.device))


def grid_of(model) -> int:
    return math.isqrt(model.config.num_patches)


def move(tensors: dict[str, Tensor], device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


# base stage: how much of the target does a frame show ---------------------------------------------------------------


def merge_with_mix(model, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Merged tokens `[n, tokens, dim]` of `patches [n, p, dim]`, and what part of each token every patch is
    `[n, tokens, p]`."""
    stages = merge_stages(patches, model.config.spatial_clusters, model.config.spatial_neighbours)
    mix, mixes = torch.eye(patches.shape[1], device=patches.device).expand(len(patches), -1, -1), []
    for stage in stages:
        member = F.one_hot(stage.labels, stage.tokens.shape[1]).transpose(1, 2).float()
        mix = member / member.sum(-1, keepdim=True) @ mix
        mixes.append(mix)
    return torch.cat([stage.tokens for stage in stages], dim=1), torch.cat(mixes, dim=1)


def base_losses(model, heads, batch: SelectorBatch) -> tuple[Tensor, dict, Tensor]:
    """Loss, what to log, and the scores `[clips, targets, expressions]`."""
    device, prompts = model.device, batch.prompts
    clips, frames = batch.pixel_values.shape[:2]
    patches = model.model.patch_features(batch.pixel_values.flatten(0, 1).to(device))
    patch_loss, metrics = heads.patch_loss(patches.unflatten(0, (clips, frames)), move(batch.patch_labels, device))
    merged, mix = merge_with_mix(model, patches)
    tokens, mix = (tensor.unflatten(0, (clips, frames)) for tensor in (model.model.mm_projector(merged), mix))
    rows = torch.arange(clips, device=device)[:, None]
    shown = prompts.image_frames.to(device)
    states, before = run_packed(model, prompts, tokens[rows, shown])

    # dense: what each token of each image is, before the last layer, where it is looked up
    is_image = (prompts.input_ids == model.config.image_token_id).to(device)
    of_images = before[is_image].unflatten(0, (clips, shown.shape[1], -1))
    token_mix = mix[rows, shown]  # [clips, images, tokens, patches]
    known = (torch.arange(shown.shape[1], device=device) >= 2)[None, :, None].expand(of_images.shape[:3])
    mixes = {name: token_mix @ one_hot(batch.patch_labels[name].to(device)[rows, shown], name) for name in ATTRIBUTES}
    token_loss, accuracy = heads.token_loss(
        of_images.flatten(0, 2), {name: mix.flatten(0, 2) for name, mix in mixes.items()}, known.flatten()
    )

    # which tokens of the target frame are meant, and the score
    positions = prompts.score_positions.to(device)
    asked = states[rows[..., None], positions]  # [clips, targets, expressions, dim]
    targets = batch.targets.to(device)
    num_targets, num_texts = positions.shape[1:]
    target_states = of_images[:, -num_targets:]
    meant_patches = batch.patch_targets.to(device).transpose(1, 2)[rows, targets]  # [clips, targets, expressions, p]
    meant = torch.einsum("ctkp,ctep->ctek", token_mix[:, -num_targets:], meant_patches)
    repeated = target_states[:, :, None].expand(-1, -1, num_texts, -1, -1).flatten(0, 2)
    logits = heads.match_logits(asked.flatten(0, 2), repeated).view_as(meant)
    wanted = (meant > 0.35).float()
    match = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=torch.tensor(4.0, device=device))
    scores, truth = model.score_head(asked), batch.scores.to(device)
    distance = scores - truth
    score_loss = distance.abs().mean() + distance.square().mean()
    ids = torch.full((asked[..., 0].numel(),), model.config.score_token_id, device=device)
    emits = F.cross_entropy(model.lm_head(asked).flatten(0, -2), ids)
    metrics |= accuracy | {"match": match.item(), "l1": distance.abs().mean().item(), "emits": emits.item()}
    metrics["l1_constant"] = (truth - truth.median()).abs().mean().item()
    loss = 0.5 * patch_loss + token_loss + 4 * match + 4 * score_loss + 0.1 * emits
    return loss, metrics | correlations(scores, truth), scores


def one_hot(labels: Tensor, name: str) -> Tensor:
    size = len(ATTRIBUTES[name]) + 1
    return F.one_hot(labels.masked_fill(labels == BACKGROUND, size - 1), size).float()


def run_packed(model, prompts, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """States after the last layer and before it (both normed), `[clips, length, dim]`."""
    device = image_tokens.device
    embeddings = model.model.embed_prompt(prompts.input_ids.to(device), image_tokens.flatten(0, 2))
    outputs = model.model.language_model(
        inputs_embeds=embeddings,
        attention_mask=prompts.attention_mask.to(device),
        position_ids=prompts.position_ids.to(device),
        output_hidden_states=True,
        use_cache=False,
    )
    return outputs.last_hidden_state, model.model.language_model.norm(outputs.hidden_states[-2])


def correlations(scores: Tensor, truth: Tensor) -> dict[str, float]:
    """Of pairs of frames of one expression whose truth differs clearly, how many are in the right order."""
    found, wanted = (values.detach()[:, :, None] - values.detach()[:, None] for values in (scores, truth))
    clear = wanted > 0.4
    return {"pairs": (found > 0)[clear].float().mean().item()} if clear.any() else {}


def base_step(model, heads, processor, rng, progress: float) -> tuple[Tensor, dict]:
    """Short contexts first, which are cheap; as many frames as in inference at the end."""
    long = rng.random() < min(0.6, max(0.0, 2 * progress - 0.4))
    num_context = int(rng.integers(6, 12)) if long else int(rng.integers(3, 5))
    batch = sample_selector_batch(
        rng, processor, grid_of(model), 6 if long else 12, num_context, 4 if long else 3, 5 if long else 6
    )
    loss, metrics, _ = base_losses(model, heads, batch)
    return loss, metrics


# the loop ------------------------------------------------------------------------------------------------------------


def trainable(model, heads, stage: str):
    parts = model.named_parameters() if stage == "base" else model.model.vision_tower.named_parameters()
    return [*parts, *((f"heads.{name}", parameter) for name, parameter in heads.named_parameters())]


def save(folder: Path, model, heads, optimizers, state: dict) -> None:
    tensors = {f"model.{name}": value.contiguous().clone() for name, value in model.state_dict().items()}
    tensors |= {f"heads.{name}": value.contiguous().clone() for name, value in heads.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors.new")
    torch.save(optimizers.state_dict(), folder / "optimizer.pt.new")
    (folder / "state.json.new").write_text(json.dumps(state))
    for name in ("weights.safetensors", "optimizer.pt", "state.json"):
        (folder / f"{name}.new").rename(folder / name)


def load(folder: Path, model, heads) -> None:
    tensors = load_file(folder / "weights.safetensors")
    for prefix, module in (("model.", model), ("heads.", heads)):
        module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})


def export(run: Path, output: Path, grid: int) -> None:
    """A folder for `from_pretrained`; the training heads are dropped."""
    model, processor = build_selector(grid=grid)
    load(run, model, SelectorHeads())
    model.eval().save_pretrained(output)
    processor.save_pretrained(output)
    print(f"{output}: {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f} M parameters")


def train(args: argparse.Namespace) -> None:
    args.output.mkdir(parents=True, exist_ok=True)
    model, processor = build_selector(args.seed, args.grid)
    heads = SelectorHeads()
    if args.start:
        load(args.start, model, heads)
    model.to(args.device).train()
    heads.to(args.device)
    optimizers = Optimizers(trainable(model, heads, args.stage), args.muon_lr, args.adam_lr, decay=args.decay)
    state = {"step": 0, "seconds": 0.0}
    if (args.output / "state.json").exists():
        load(args.output, model, heads)
        optimizers.load_state_dict(torch.load(args.output / "optimizer.pt", weights_only=True))
        state = json.loads((args.output / "state.json").read_text())
    step_of = {"see": see_step, "base": base_step}[args.stage]
    averages: dict[str, float] = {}
    last = time.process_time()
    with (args.output / "log.jsonl").open("a") as log:
        while state["seconds"] < args.minutes * 60:
            rng = np.random.default_rng([78, args.seed, STAGES.index(args.stage), state["step"]])
            progress = state["seconds"] / (args.minutes * 60)
            loss, metrics = step_of(model, heads, processor, rng, progress)
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"the loss is {loss.item()} at step {state['step']}")
            optimizers.step(loss, state["step"], progress)
            for name, value in {"loss": loss.item(), **metrics}.items():
                if math.isfinite(value):
                    averages[name] = 0.97 * averages.get(name, value) + 0.03 * value
            state["step"] += 1
            state["seconds"] += time.process_time() - last
            last = time.process_time()
            if state["step"] % 25 == 0:
                log.write(json.dumps({**state, **{name: round(value, 4) for name, value in averages.items()}}) + "\n")
                log.flush()
            if state["step"] % 100 == 0:
                save(args.output, model, heads, optimizers, state)
    save(args.output, model, heads, optimizers, state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--export", type=Path, help="make a checkpoint of this finished run, in --output")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30, help="training time; the rate decays over its end")
    parser.add_argument("--start", type=Path, help="start from the weights of this run")
    parser.add_argument("--grid", type=int, default=8, choices=[8, 16], help="patches per side: 28 or 112 tokens")
    parser.add_argument("--muon-lr", type=float, default=0.015)
    parser.add_argument("--adam-lr", type=float, default=3e-3)
    parser.add_argument("--decay", type=float, default=0.5, help="part of the time over which the rate falls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if (args.stage is None) == (args.export is None):
        parser.error("give either --stage or --export")
    if args.export:
        export(args.export, args.output, args.grid)
    else:
        if args.device == "cpu":
            torch.set_num_threads(1)
        train(args)


if __name__ == "__main__":
    main()
