"""The paper's ablations at the scale of glus-tiny: the same start and the same steps for every choice, several seeds.

    python examples/ablations.py --halves runs/tiny/mask runs/tiny/read --output runs/ablations  # hours; resumes
    python examples/ablations.py --output runs/ablations --table  # what is there so far

The start is the tiny model before its two halves were trained together (of the runs of train_tiny.sh), as GLUS starts
from a LISA and a SAM-2. [`GLUSTrainer`] then trains it with GLUS's losses: all that they reach but the vision tower.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from transformers import TrainerCallback

from glus_hf import (
    GLUSForVideoSegmentation,
    GLUSProcessor,
    GLUSTrainer,
    GLUSTrainingArguments,
    MixtureDataset,
    ReferringVideoDataset,
    load_referring_dataset,
)
from glus_hf.training.validation import VideoValidation


MOVING = ("motion", "conjunction", "relation")
STRIDES = (1, 3, 5, 7, 9)
KINDS = ("static", "motion", "conjunction", "multi")


@dataclass(frozen=True)
class Setting:
    """What one run differs in: fields of the configuration, of the arguments, and how often samples about motion and
    about looks are sampled (None: all expressions of a video alike)."""

    title: str
    model: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    ratio: tuple[float, float] | None = None
    videos: int = 1000
    curve: bool = False


SETTINGS = {
    "all": Setting("all parts", curve=True),
    "no-context": Setting("no context frames (local only)", {"num_context_frames": 0}),
    "no-window": Setting("no query window (global only)", {"num_query_frames": 1}),
    "no-memory": Setting("no memory bank", {"num_maskmem": 0}),
    "no-contrast": Setting("no contrastive loss", training={"contrastive_loss_weight": 0.0}),
    "upstream-contrast": Setting("negatives of the original code", training={"contrastive_negatives": "upstream"}),
    "few": Setting("50 training videos", videos=50, curve=True),
    "motion": Setting("motion : looks = 1 : 0", ratio=(1, 0)),
    "motion3-looks1": Setting("motion : looks = 3 : 1", ratio=(3, 1)),
    "motion1-looks1": Setting("motion : looks = 1 : 1", ratio=(1, 1)),
    "motion1-looks3": Setting("motion : looks = 1 : 3", ratio=(1, 3)),
    "looks": Setting("motion : looks = 0 : 1", ratio=(0, 1)),
}


@dataclass(frozen=True)
class Budget:
    """The same for every run."""

    steps: int = 100
    batch: int = 8
    learning_rate: float = 5e-4
    test_videos: int = 40
    validation_videos: int = 40
    curve_every: int = 25


def training_set(
    setting: Setting, processor: GLUSProcessor, budget: Budget, seed: int, split: str = "train", kinds=MOVING
):
    """MotionShapes, or its expressions about motion (of `kinds`) and about looks mixed by `setting.ratio`."""
    rows = load_referring_dataset("motion_shapes", split=split, num_videos=setting.videos, size=64)
    frames = {"num_context_frames": processor.num_context_frames, "num_query_frames": processor.num_query_frames}
    if setting.ratio is None:
        return ReferringVideoDataset(rows, seed=seed, **frames)
    moving = np.isin(rows["expression_type"], kinds)
    parts = {"motion": rows.select(np.flatnonzero(moving)), "looks": rows.select(np.flatnonzero(~moving))}
    weights = {name: weight for name, weight in zip(parts, setting.ratio, strict=True) if weight}
    parts = {name: ReferringVideoDataset(parts[name], seed=seed, **frames) for name in weights}
    return MixtureDataset(parts, weights, budget.steps * budget.batch, seed)


class Curve(TrainerCallback):
    """J&F of the validation clips every few steps: the paper's Fig. A."""

    def __init__(self, validation: VideoValidation, processor: GLUSProcessor, every: int):
        self.validation, self.processor, self.every, self.points = validation, processor, every, []

    def on_train_begin(self, args, state, control, **kwargs):
        self.on_step_end(args, state, control, **kwargs)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % self.every == 0:
            self.points.append((state.global_step, self.validation(model.eval(), self.processor)["J&F"]))
            model.train()


def clips(split: str, count: int, folder: Path, **options) -> VideoValidation:
    """Scores a model on clips of a split."""
    rows = load_referring_dataset("motion_shapes", split=split, num_videos=count, size=64, **options)
    return VideoValidation(rows, folder / f"predictions-{split}", split=split)


def training_options(setting: Setting, budget: Budget) -> dict:
    """Arguments of the trainer that are the same for every seed."""
    return {
        "total_train_batch_size": budget.batch,
        "per_device_train_batch_size": budget.batch,
        "max_steps": budget.steps,
        "learning_rate": budget.learning_rate,
        "warmup_steps": budget.steps // 10,
        "language_model_training": "full",
        "mask_branch_training": "full",
        "memory_gradient": True,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        **setting.training,
    }


def run(setting: Setting, start: str, budget: Budget, seed: int, folder: Path, strides: bool) -> dict:
    """Train one setting with one seed and score it."""
    frames = {name: value for name, value in setting.model.items() if name != "num_maskmem"}
    processor = GLUSProcessor.from_pretrained(start, **frames)
    model = GLUSForVideoSegmentation.from_pretrained(start, **setting.model)
    watch = Curve(clips("validation", budget.validation_videos, folder), processor, budget.curve_every)
    trainer = GLUSTrainer(
        model,
        GLUSTrainingArguments(str(folder), seed=seed, **training_options(setting, budget)),
        train_dataset=training_set(setting, processor, budget, seed),
        processing_class=processor,
        callbacks=[watch] if setting.curve else [],
    )
    trainer.train()
    model.eval()
    scores = {split: clips(split, budget.test_videos, folder)(model, processor) for split in ("test", "occlusion")}
    result = {"title": setting.title, "seed": seed, **scores}
    if setting.curve:
        result["curve"] = watch.points
    if strides:
        long = clips("test", budget.test_videos // 4, folder, num_frames=40)
        result["strides"] = {str(stride): _with_stride(model, processor, long, stride) for stride in STRIDES}
    return result


def _with_stride(model, processor, validation: VideoValidation, stride: int) -> dict:
    kept, model.config.memory_stride = model.config.memory_stride, stride
    scores = validation(model, processor)
    model.config.memory_stride = kept
    return scores


def run_all(args: argparse.Namespace, budget: Budget) -> None:
    for seed in args.seeds:
        for name in args.settings:
            folder = args.output / f"{name}-{seed}"
            if (folder / "result.json").exists():
                check_budget(folder / "result.json", budget)
                continue
            result = run(SETTINGS[name], str(args.start), budget, seed, folder, strides=name == "all")
            result["budget"] = vars(budget)
            (folder / "result.json").write_text(json.dumps(result))
            print(f"{name}, seed {seed}: J&F {result['test']['J&F']:.1f}", flush=True)


def check_budget(file: Path, budget: Budget) -> None:
    """A finished run is kept; one of another length would get into the same table."""
    done = json.loads(file.read_text())["budget"]
    for name in ("steps", "test_videos", "validation_videos", "batch", "curve_every"):
        if done[name] != getattr(budget, name):
            option = f"--{name.replace('_', '-')}"
            sys.exit(f"error: {file}: was made with {option} {done[name]}; pass that, or choose another --output")


# ---- the table


def results(folder: Path) -> dict[str, list[dict]]:
    """Finished runs by setting, in the order of `SETTINGS`."""
    found = {}
    for name in SETTINGS:
        files = sorted(folder.glob(f"{name}-[0-9]*/result.json"))
        if files:
            found[name] = [json.loads(file.read_text()) for file in files]
    return found


def table(found: dict[str, list[dict]]) -> Iterator[str]:
    """Markdown: mean and, behind ±, half the distance between the best and the worst seed."""
    columns = ("J&F", *(f"J&F_{kind}" for kind in KINDS))
    yield "| | all | " + " | ".join(KINDS) + " | occlusion clips | seeds |"
    yield "|" + " --- |" * (len(columns) + 3)
    for runs in found.values():
        cells = [spread([run["test"].get(column) for run in runs]) for column in columns]
        cells.append(spread([run["occlusion"]["J&F"] for run in runs]))
        yield f"| {runs[0]['title']} | " + " | ".join(cells) + f" | {len(runs)} |"
    base = found.get("all", [])
    if base:
        yield ""
        yield "| memory stride, clips of 40 frames | " + " | ".join(map(str, STRIDES)) + " |"
        yield "|" + " --- |" * (len(STRIDES) + 1)
        yield "| J&F | " + " | ".join(spread([run["strides"][str(s)]["J&F"] for run in base]) for s in STRIDES) + " |"
    yield from curve_table([runs for runs in found.values() if "curve" in runs[0]])


def curve_table(followed: list[list[dict]]) -> Iterator[str]:
    for number, runs in enumerate(followed):
        steps = [step for step, _ in runs[0]["curve"]]
        if number == 0:
            yield from ("", "| optimizer steps | " + " | ".join(map(str, steps)) + " |")
            yield "|" + " --- |" * (len(steps) + 1)
        values = zip(*([value for _, value in run["curve"]] for run in runs), strict=True)
        yield f"| {runs[0]['title']} | " + " | ".join(spread(list(column)) for column in values) + " |"


def spread(values: list[float]) -> str:
    mean = f"{np.mean(values):.1f}"
    return f"{mean} ± {(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else mean


def join_halves(mask_run: Path, read_run: Path, output: Path) -> None:
    """The start: the mask branch of one run of train_tiny.py and the rest of another."""
    from tiny_model import Recipe, TrainingHeads, build_tiny
    from train_tiny import load

    recipe = Recipe.load(read_run)
    model, processor = build_tiny(recipe=recipe)
    heads = TrainingHeads(model.config.text_config.hidden_size, recipe.scenes)
    load(mask_run, model, heads, "mask")
    load(read_run, model, heads, "read")
    model.eval().save_pretrained(output)
    processor.save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, default=Path("runs/tiny/unjoined"))
    parser.add_argument("--halves", type=Path, nargs=2, metavar=("MASK", "READ"), help="make the start of these runs")
    parser.add_argument("--output", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=Budget.steps)
    parser.add_argument("--test-videos", type=int, default=Budget.test_videos)
    parser.add_argument("--table", action="store_true", help="only print the table of what is finished")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.halves and not (args.start / "config.json").exists():
        join_halves(*args.halves, args.start)
    if not args.table:
        run_all(args, Budget(args.steps, test_videos=args.test_videos, validation_videos=args.test_videos))
    print("\n".join(table(results(args.output))))


if __name__ == "__main__":
    main()
