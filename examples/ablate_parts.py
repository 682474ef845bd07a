"""The paper's Fig. A and Table C, the window, the context frames and the negatives, on hard MotionShapes clips.

    python examples/ablate_parts.py --start runs/parts/start --output runs/parts --minutes 270  # resumes
    python examples/ablate_parts.py --output runs/parts --table  # what is there so far

The start is a tiny model that knows no frame times and reads windows of four frames, made by the stages mask and read
of train_tiny.py; --halves joins them. [`GLUSTrainer`] then trains every cell with the same steps, one seed after the
other. A cell is a folder and is skipped when it is done; none is begun that would not end within --minutes of CPU
time, those of earlier calls included. Written: results.json, table.md and curves.png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ablations import Budget, Curve, Setting, check_budget, clips, join_halves, spread, training_options, training_set

from glus_hf import GLUSForVideoSegmentation, GLUSProcessor, GLUSTrainer, GLUSTrainingArguments
from glus_hf.data.motion_shapes import HARD_KINDS


NO_MEMORY, NO_CONTRAST = {"num_maskmem": 0}, {"contrastive_loss_weight": 0.0}
CELLS = {
    "global-local": Setting("global-local", NO_MEMORY, NO_CONTRAST),
    "memory": Setting("+ memory", training=NO_CONTRAST),
    "contrastive": Setting("+ contrastive (all parts)"),
    "batch-negatives": Setting("negatives of the batch", training={"contrastive_negatives": "batch"}),
    "window-1": Setting("window of 1 frame", {"num_query_frames": 1}),
    "context-1": Setting("1 context frame", {"num_context_frames": 1}),
    "context-2": Setting("2 context frames", {"num_context_frames": 2}),
    "context-8": Setting("8 context frames", {"num_context_frames": 8}),
    "motion": Setting("motion : looks = 1 : 0", ratio=(1, 0)),
    "motion3-looks1": Setting("motion : looks = 3 : 1", ratio=(3, 1)),
    "motion1-looks1": Setting("motion : looks = 1 : 1", ratio=(1, 1)),
    "motion1-looks3": Setting("motion : looks = 1 : 3", ratio=(1, 3)),
    "looks": Setting("motion : looks = 0 : 1", ratio=(0, 1)),
}
FIGURE_A = ("global-local", "memory", "contrastive")
MOVING = ("event", "change", "order", "behind")
SCORED_KINDS = tuple(kind for kind in HARD_KINDS if kind != "no_target")


def run_cell(setting: Setting, start: str, budget: Budget, seed: int, folder: Path) -> dict:
    """Train one cell with one seed; J&F of held-out clips at several steps, and of the test clips at the end."""
    begin = time.process_time()
    frames = {name: value for name, value in setting.model.items() if name != "num_maskmem"}
    processor = GLUSProcessor.from_pretrained(start, **frames)
    model = GLUSForVideoSegmentation.from_pretrained(start, **setting.model)
    watch = Curve(clips("hard_validation", budget.validation_videos, folder), processor, budget.curve_every)
    options = training_options(setting, budget) | {"logging_steps": budget.curve_every, "disable_tqdm": True}
    trainer = GLUSTrainer(
        model,
        GLUSTrainingArguments(str(folder), seed=seed, **options),
        train_dataset=training_set(setting, processor, budget, seed, "hard_train", MOVING),
        processing_class=processor,
        callbacks=[watch],
    )
    summary = trainer.train().metrics
    test = clips("hard_test", budget.test_videos, folder)(model.eval(), processor)
    seconds = round(time.process_time() - begin, 1)
    passes = {name: summary[name] for name in ("frames_seen", "frame_passes")}
    return {"title": setting.title, "seed": seed, "test": test, "curve": watch.points, "seconds": seconds, **passes}


def run_cells(args: argparse.Namespace, budget: Budget) -> None:
    """All that is not done and ends within the time left, the first seed of all cells before the second of any."""
    for seed in args.seeds:
        for name in args.cells:
            folder = args.output / f"{name}-{seed}"
            if (folder / "result.json").exists():
                check_budget(folder / "result.json", budget)
                continue
            spent = [json.loads(file.read_text())["seconds"] for file in args.output.glob("*-[0-9]*/result.json")]
            if sum(spent) + max(spent, default=0) > 60 * args.minutes:
                print(
                    f"{sum(spent) / 60:.1f} of {args.minutes:g} minutes are used: {name}, seed {seed} waits for more"
                )
                return
            setting = replace(CELLS[name], videos=args.training_videos)
            result = run_cell(setting, str(args.start), budget, seed, folder)
            temporary = folder / "result.json.new"
            temporary.write_text(json.dumps({**result, "budget": vars(budget)}))
            temporary.rename(folder / "result.json")
            print(f"{name}, seed {seed}: J&F {result['test']['J&F']:.1f} in {result['seconds']:.0f} s", flush=True)


# ---- what comes out


def results(folder: Path) -> dict[str, list[dict]]:
    """Finished runs by cell, in the order of `CELLS`."""
    found = {name: sorted(folder.glob(f"{name}-[0-9]*/result.json")) for name in CELLS}
    return {name: [json.loads(file.read_text()) for file in files] for name, files in found.items() if files}


def table(found: dict[str, list[dict]]) -> Iterator[str]:
    """Markdown: means and, behind ±, half the distance between the best and the worst seed."""
    columns = ("J&F", *(f"J&F_{kind}" for kind in SCORED_KINDS))
    yield "| | all | " + " | ".join(SCORED_KINDS) + " | best step | passes over the frames | seeds |"
    yield "|" + " --- |" * (len(columns) + 4)
    for runs in found.values():
        cells = [_cell([run["test"].get(column) for run in runs]) for column in columns]
        passes = np.mean([run["frame_passes"] for run in runs])
        yield f"| {runs[0]['title']} | {' | '.join(cells)} | {best_step(runs)} | {passes:.2f} | {len(runs)} |"
    steps = [step for step, _ in next(iter(found.values()))[0]["curve"]] if found else []
    yield ""
    yield "| J&F of validation clips after step | " + " | ".join(map(str, steps)) + " |"
    yield "|" + " --- |" * (len(steps) + 1)
    for runs in found.values():
        values = zip(*(curve_of(run) for run in runs), strict=True)
        yield f"| {runs[0]['title']} | " + " | ".join(spread(list(column)) for column in values) + " |"


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return spread(known) if known else "none"


def curve_of(run: dict) -> list[float]:
    return [value for _, value in run["curve"]]


def best_step(runs: list[dict]) -> int:
    """The step whose mean over the seeds is best on the validation clips."""
    return runs[0]["curve"][int(np.mean([curve_of(run) for run in runs], axis=0).argmax())][0]


def draw_curves(found: dict[str, list[dict]], file: Path) -> None:
    """Fig. A: mean over the seeds, and from the worst to the best of them; beside it the mixtures of Table C."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    mixtures = [name for name in found if CELLS[name].ratio]
    for axis, names, title in ((axes[0], FIGURE_A, "parts"), (axes[1], mixtures, "mixtures")):
        for name in (name for name in names if name in found):
            runs = found[name]
            steps, curves = [step for step, _ in runs[0]["curve"]], np.array([curve_of(run) for run in runs])
            (line,) = axis.plot(steps, curves.mean(0), marker="o", label=runs[0]["title"])
            axis.fill_between(steps, curves.min(0), curves.max(0), alpha=0.2, color=line.get_color())
        axis.set(title=title, xlabel="optimizer steps", ylabel="J&F, hard_validation")
        if axis.lines:
            axis.legend(fontsize=8)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def write(folder: Path) -> None:
    """results.json, table.md and curves.png of what is finished."""
    found = results(folder)
    (folder / "results.json").write_text(json.dumps(found, indent=1))
    (folder / "table.md").write_text("\n".join(table(found)) + "\n")
    draw_curves(found, folder / "curves.png")
    print((folder / "table.md").read_text(), end="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, default=Path("runs/parts/start"))
    parser.add_argument("--halves", type=Path, nargs=2, metavar=("MASK", "READ"), help="make the start of these runs")
    parser.add_argument("--output", type=Path, default=Path("runs/parts"))
    parser.add_argument("--minutes", type=float, default=270, help="CPU time of all cells together")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=Budget.batch)
    parser.add_argument("--curve-every", type=int, default=20)
    parser.add_argument("--test-videos", type=int, default=30, help="clips that the table is measured on")
    parser.add_argument("--validation-videos", type=int, default=10, help="clips that the curves are measured on")
    parser.add_argument("--training-videos", type=int, default=1000)
    parser.add_argument("--table", action="store_true", help="only write what is finished")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.halves and not (args.start / "config.json").exists():
        join_halves(*args.halves, args.start)
    if not args.table:
        if not (args.start / "config.json").is_file():
            parser.error(f"{args.start}: is not a model; make it with --halves, see docs/ablations.md")
        counts = {"test_videos": args.test_videos, "validation_videos": args.validation_videos}
        budget = Budget(args.steps, args.batch, curve_every=args.curve_every, **counts)
        run_cells(args, budget)
    write(args.output)


if __name__ == "__main__":
    main()
