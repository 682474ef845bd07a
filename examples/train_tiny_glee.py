"""Train glee-tiny from scratch on MotionShapes: one command, which resumes.

python examples/train_tiny_glee.py --output runs/glee-tiny

`contrast` trains backbone and text tower to tell which objects a text means. `main` trains everything as GLEE is
trained, on frames with an expression each and on frames with names. The checkpoint is written to OUTPUT/glee-tiny.

    python examples/train_tiny_glee.py --output runs/glee-tiny-prompts --start glee-tiny --prompt-minutes 15

trains a third stage, `prompts`, from a finished model. It adds the visual prompter: frames with a mask, point, box or
line on an object, which is to be found on that frame and on another one.
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
from tiny_glee import SIZE, ContrastiveImages, build_tiny_glee
from tiny_glee_batches import Scenes, clip_batch, contrastive_batch, names_batch, prompt_batch, referring_batch
from torch import Tensor, nn
from torch.nn import functional as F

from glus_hf import GLEEForVideoSegmentation, GLEEProcessor
from glus_hf.training.glee_trainer import GLEETrainingArguments, parameter_groups


STAGES = ("contrast", "main", "prompts", "clips")
TEXT_TOWERS = ("unfrozen", "frozen", "distilled")
NAMES_PART = 0.4  # of the batches
PROMPTS_PART = 0.65  # of the batches of the last stage, by default
CLIPS = 4  # of a batch, two frames each
PROMPT_CLIPS = 5  # of a batch, two frames each
PROMPTER = {"visual_prompter": "full", "prompt_crop_size": 64, "prompt_num_points": 64}
PROMPTER_PARTS = ("model.prompter.", "model.decoder.heads.confidence.")
TEXT_RATE = 0.3  # of the text tower, times the rate; the backbone has a tenth of it, as in the paper
DENSE_WEIGHT = 4.0  # of the loss of locations
TEXT_NORM = 2.0  # of the vectors of texts, at the beginning of `main`
STREAM = 79  # of random numbers, which no split of MotionShapes uses


class Optimizer:
    """AdamW with warm-up, and linear decay over the last part of the time."""

    def __init__(self, groups: list[dict], warmup: int = 50, decay: float = 0.5):
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.rates = [group["lr"] for group in groups]
        self.warmup, self.decay = warmup, decay

    def step(self, loss: Tensor, step: int, progress: float) -> None:
        factor = min(1.0, (step + 1) / self.warmup) * min(1.0, max(0.01, (1 - progress) / self.decay))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()


class Run:
    """Model, optimizer and progress of a stage, in a folder from which it goes on."""

    def __init__(self, folder: Path, modules: dict[str, nn.Module], optimizer: Optimizer):
        self.folder, self.modules, self.optimizer = folder, modules, optimizer
        self.state = {"step": 0, "seconds": 0.0}
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.json").exists():
            load_modules(folder, modules)
            optimizer.optimizer.load_state_dict(torch.load(folder / "optimizer.pt", weights_only=True))
            self.state = json.loads((folder / "state.json").read_text())

    def save(self) -> None:
        tensors = {
            f"{part}.{name}": value.contiguous().clone()
            for part, module in self.modules.items()
            for name, value in module.state_dict().items()
        }
        save_file(tensors, self.folder / "weights.safetensors.new")
        torch.save(self.optimizer.optimizer.state_dict(), self.folder / "optimizer.pt.new")
        (self.folder / "state.json.new").write_text(json.dumps(self.state))
        for name in ("weights.safetensors", "optimizer.pt", "state.json"):
            (self.folder / f"{name}.new").rename(self.folder / name)

    def train(self, make_loss, stage: str, seed: int, minutes: float, save_every: int = 100) -> None:
        """Steps until the CPU time is used up; `make_loss(rng)` gives a loss and what to log."""
        averages: dict[str, float] = {}
        last = time.process_time()
        with (self.folder / "log.jsonl").open("a") as log:
            while self.state["seconds"] < minutes * 60:
                step = self.state["step"]
                torch.manual_seed(1000 * seed + step)
                loss, metrics = make_loss(np.random.default_rng([STREAM, seed, STAGES.index(stage), step]))
                if not math.isfinite(loss.item()):
                    raise RuntimeError(f"the loss is {loss.item()} at step {step}")
                self.optimizer.step(loss, step, self.state["seconds"] / (minutes * 60))
                for name, value in {"loss": loss.item(), **metrics}.items():
                    averages[name] = 0.97 * averages.get(name, value) + 0.03 * value
                self.state["step"] += 1
                self.state["seconds"] += time.process_time() - last
                last = time.process_time()
                if self.state["step"] % 25 == 0:
                    rounded = {name: round(value, 4) for name, value in averages.items()}
                    log.write(json.dumps({**self.state, **rounded}) + "\n")
                    log.flush()
                if self.state["step"] % save_every == 0:
                    self.save()
        self.save()


def load_modules(folder: Path, modules: dict[str, nn.Module]) -> None:
    tensors = load_file(folder / "weights.safetensors")
    for part, module in modules.items():
        prefix = f"{part}."
        module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})


# contrast: which objects does a text mean --------------------------------------------------------------------------


def train_contrast(folder: Path, minutes: float, rate: float, seed: int) -> None:
    model, processor = build_tiny_glee(seed)
    images, text_encoder = ContrastiveImages(model.config), model.model.text_encoder
    parameters = [each for part in (images, text_encoder) for each in part.parameters() if each.requires_grad]
    optimizer = Optimizer([{"params": parameters, "lr": rate, "weight_decay": 0.0}])
    run = Run(folder, {"images": images, "text": text_encoder}, optimizer)

    def make_loss(rng) -> tuple[Tensor, dict]:
        batch = contrastive_batch(rng, processor, images=16, texts=64)
        states = text_encoder.read(batch.input_ids, batch.attention_mask)
        texts = text_encoder.project(states, batch.attention_mask, is_referring=True).embeddings
        logits = images.compare(images(batch.pixel_values, batch.masks), texts)
        wanted = batch.matches.float().expand_as(logits)
        metrics = {
            f"hits_{stride}": (each[batch.matches] > 0).float().mean().item()
            for stride, each in zip((8, 16, 32), logits)
        }
        loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / wanted.sum()
        return loss, metrics

    images.train()
    run.train(make_loss, "contrast", seed, minutes)


@torch.no_grad()
def start_from_contrast(model, processor, folder: Path) -> None:
    """Backbone, with its batch norms as they are now, and text tower, also as the teacher, of a finished stage."""
    tensors = load_file(folder / "weights.safetensors")
    backbone = {k: v for k, v in part_of(tensors, "images.backbone.").items() if "num_batches_tracked" not in k}
    model.model.backbone.load_state_dict(backbone)
    encoder = model.model.text_encoder
    encoder.load_state_dict(part_of(tensors, "text."), strict=False)
    encoder.projection.weight.mul_(TEXT_NORM / norm_of_texts(model, processor))
    if encoder.teacher is not None:
        encoder.teacher.load_state_dict(encoder.student.state_dict())


def norm_of_texts(model, processor) -> float:
    """Mean length of the vectors of some texts: contrast compares directions, so any length may come out of it."""
    batch = contrastive_batch(np.random.default_rng(STREAM), processor, images=4, texts=64)
    text = model.model.encode_text(batch.input_ids, batch.attention_mask, is_referring=True)
    return text.embeddings.norm(dim=-1).mean().item()


def part_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


# main: GLEE's own training ------------------------------------------------------------------------------------------


def train_main(
    folder: Path,
    start: Path,
    minutes: float,
    rate: float,
    seed: int,
    text_tower: str = "unfrozen",
    fusion: bool = True,
    images: int = 8,
    scenes: Scenes | None = None,
) -> None:
    """Batches of one kind each: frames with expressions, or frames with names."""
    model, processor = build_tiny_glee(seed, text_teacher=text_tower == "distilled")
    start_from_contrast(model, processor, start)
    if text_tower == "frozen":
        model.model.text_encoder.student.requires_grad_(False)
    if not fusion:
        remove_fusion(model)
    arguments = GLEETrainingArguments(str(folder), learning_rate=rate, weight_decay=0.01, text_rate=TEXT_RATE)
    run = Run(folder, {"model": model}, Optimizer(parameter_groups(model, arguments)))

    locations = LocationLogits(model)

    def make_loss(rng) -> tuple[Tensor, dict]:
        is_names = rng.random() < NAMES_PART
        batch = (names_batch if is_names else referring_batch)(rng, processor, images, scenes=scenes)
        output = model(**batch)
        dense = location_loss(locations.of(batch), batch["labels"])
        kind = "names" if is_names else "referring"
        final = {f"{kind}_{name}": output.losses[name].item() for name in ("loss_ce", "loss_mask", "loss_dice")}
        return output.loss + DENSE_WEIGHT * dense, {**final, f"{kind}_dense": dense.item()}

    model.train()
    run.train(make_loss, "main", seed, minutes)


# prompts: masks, points, boxes and lines -----------------------------------------------------------------------------


def train_prompts(
    folder: Path,
    start: dict[str, Tensor],
    minutes: float,
    rate: float,
    seed: int,
    alone: bool = False,
    prompts_part: float = PROMPTS_PART,
    images: int = 8,
    tokens: str = "full",
) -> None:
    """Batches with prompts, and those of `main`, so that nothing is forgotten; `start` are the weights of a model,
    with a prompter or without. The text tower is distilled from its state at the start. With `alone` only the prompter
    and the confidence head are trained, on prompts: what the model answers to texts stays the same to the last bit."""
    model, processor = build_tiny_glee(seed, **{**PROMPTER, "visual_prompter": tokens})
    missing, unexpected = model.load_state_dict(start, strict=False)
    if unexpected or not all(name.startswith("model.prompter.") for name in missing):
        raise ValueError(f"the model to start from does not fit: {[*missing, *unexpected][:5]}")
    if alone:
        train_prompter_alone(model)
    else:
        model.add_text_teacher()
        model.train()
    arguments = GLEETrainingArguments(str(folder), learning_rate=rate, weight_decay=0.01, text_rate=TEXT_RATE)
    run = Run(folder, {"model": model}, Optimizer(parameter_groups(model, arguments)))
    locations, confidences = LocationLogits(model), LocationLogits(model, "confidence")

    def make_loss(rng) -> tuple[Tensor, dict]:
        if alone or rng.random() < prompts_part:
            kind, batch, logits = "prompts", prompt_batch(rng, processor, PROMPT_CLIPS), confidences
        elif rng.random() < NAMES_PART:
            kind, batch, logits = "names", names_batch(rng, processor, images), locations
        else:
            kind, batch, logits = "referring", referring_batch(rng, processor, images), locations
        locations.states, confidences.states = [], []
        output = model(**batch)
        dense = location_loss(logits.of(batch), batch["labels"])
        names = ("loss_ce", "loss_conf", "loss_mask", "loss_dice")
        final = {f"{kind}_{name}": output.losses[name].item() for name in names if name in output.losses}
        return output.loss + DENSE_WEIGHT * dense, {**final, f"{kind}_dense": dense.item()}

    run.train(make_loss, "prompts", seed, minutes)


def train_prompter_alone(model) -> None:
    """Nothing else learns, and no running mean moves."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(PROMPTER_PARTS))
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


# clips: the same objects in two frames ------------------------------------------------------------------------------


def train_clips(folder: Path, start: str | Path, minutes: float, rate: float, seed: int, weight: float) -> None:
    """Names on pairs of frames, from a finished model, with the contrastive loss of embeddings at a weight. The text
    tower is frozen, as in the paper's tuning on videos."""
    model, processor = (each.from_pretrained(start) for each in (GLEEForVideoSegmentation, GLEEProcessor))
    model.config.track_loss_weight = weight
    model.model.text_encoder.requires_grad_(False)
    arguments = GLEETrainingArguments(str(folder), learning_rate=rate, weight_decay=0.01, text_rate=TEXT_RATE)
    run = Run(folder, {"model": model}, Optimizer(parameter_groups(model, arguments)))
    locations = LocationLogits(model)

    def make_loss(rng) -> tuple[Tensor, dict]:
        batch = clip_batch(rng, processor, CLIPS)
        locations.states = []
        output = model(**batch)
        loss = output.loss + DENSE_WEIGHT * location_loss(locations.of(batch), batch["labels"])
        return loss, {"track": output.losses["track_loss"].item(), "ce": output.losses["loss_ce"].item()}

    model.train()
    run.train(make_loss, "clips", seed, minutes)
    for part in (model.eval(), processor):
        part.save_pretrained(folder / "model")


class LocationLogits:
    """Logits of every location: for every name, or for the expression, of which the model keeps only the maxima; or of
    confidence, by which the locations of a visual prompt are selected."""

    def __init__(self, model, head: str = "category"):
        self.model, self.head, self.states = model, head, []
        heads = model.model.decoder.heads
        heads.get_submodule(head).register_forward_hook(lambda *call: self.states.append(call[-1]))

    def of(self, batch: dict) -> Tensor:
        """`[images, locations, names or 1]` of the batch that the model has just seen."""
        if self.head == "confidence":
            return self.states[0]
        text = self.model.model.encode_text(batch["input_ids"], batch["attention_mask"], batch["task"] == "referring")
        first, self.states = self.states[0], []
        return text.classify(first)


def location_loss(logits: Tensor, labels: list[dict[str, Tensor]]) -> Tensor:
    """Focal loss of the locations at strides 16 and 8: those inside an object are of its name, others of none.

    The class losses of GLEE see only locations that became queries. From scratch, that teaches colours too slowly.
    """
    total, covered = logits.new_zeros(()), 0.0
    for row, target in zip(logits, labels, strict=True):
        for stride in (8, 16):
            side = SIZE // stride
            cells = row[-side * side :] if stride == 8 else row[-side * side * 5 : -side * side * 4]
            cover = F.avg_pool2d(target["masks"].float(), stride).flatten(1) if len(target["masks"]) else None
            wanted = torch.zeros_like(cells)
            for label, each in zip(target["class_labels"], [] if cover is None else cover, strict=True):
                wanted[:, label] = torch.maximum(wanted[:, label], each)
            is_clear = (wanted < 0.1) | (wanted > 0.5)
            hard = (wanted > 0.5).float()
            entropy = F.binary_cross_entropy_with_logits(cells, hard, reduction="none")
            missed = (cells.sigmoid() - hard).abs() ** 2
            total, covered = total + (missed * entropy * is_clear).sum(), covered + hard.sum().item()
    return total / max(covered, 1.0)


def remove_fusion(model) -> None:
    """The image reads no words before the decoder: the layer scales of early fusion are zero and stay so."""
    for scale in (model.model.pixel_decoder.fusion.vision_param, model.model.pixel_decoder.fusion.text_param):
        scale.requires_grad_(False).zero_()


def export(run: Path, output: Path, **overrides) -> None:
    """A folder for `from_pretrained`, without the teacher; `overrides` are fields of the config."""
    model, processor = build_tiny_glee(**overrides)
    tensors = part_of(load_file(run / "weights.safetensors"), "model.")
    model.load_state_dict({name: value for name, value in tensors.items() if ".teacher." not in name})
    model.eval().save_pretrained(output)
    processor.save_pretrained(output)
    print(f"{output}: {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f} M parameters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--contrast-minutes", type=float, default=3, help="CPU time of the first stage")
    parser.add_argument("--minutes", type=float, default=24, help="CPU time of the second; its rate falls at the end")
    parser.add_argument("--prompt-minutes", type=float, default=0, help="CPU time of the third; 0 leaves it out")
    parser.add_argument("--start", help="a finished model: train the third stage alone")
    parser.add_argument("--prompts-part", type=float, default=PROMPTS_PART, help="share of the third's batches")
    parser.add_argument("--prompter-alone", action="store_true", help="the third trains nothing else")
    parser.add_argument("--contrast-rate", type=float, default=2e-3)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text-tower", choices=TEXT_TOWERS, default="distilled")
    parser.add_argument("--no-fusion", action="store_true", help="take early fusion away")
    args = parser.parse_args()
    if args.start and not args.prompt_minutes:
        parser.error("--start trains the third stage alone; add --prompt-minutes")
    torch.set_num_threads(1)
    contrast, run, finished = (args.output / name for name in ("contrast", "main", "glee-tiny"))
    if args.start is None:
        train_contrast(contrast, args.contrast_minutes, args.contrast_rate, args.seed)
        train_main(run, contrast, args.minutes, args.rate, args.seed, args.text_tower, not args.no_fusion)
        if not args.prompt_minutes:
            return export(run, finished)
        weights = part_of(load_file(run / "weights.safetensors"), "model.")
        start = {name: value for name, value in weights.items() if ".teacher." not in name}
    else:
        start = GLEEForVideoSegmentation.from_pretrained(args.start).state_dict()
    prompts = args.output / "prompts"
    train_prompts(prompts, start, args.prompt_minutes, args.rate, args.seed, args.prompter_alone, args.prompts_part)
    export(prompts, finished, **PROMPTER)


if __name__ == "__main__":
    main()
