"""Few-shot tuning of GLEE on sets in the layout of ODinW, and its average precision without tuning (Tables 8 and 9 of
the paper).

    python examples/few_shot.py --model glee-lite --root data/odinw --output odinw --names examples/odinw_names.json

Every folder of the root is a set. Below it lies a folder with `train`, `valid` and `test`, each with its images and a
file in the format of COCO: `annotations_without_background.json` or `_annotations.coco.json`. PascalVOC has no `test`:
`valid` stands in. A cell is a set, a number of shots and a seed; finished cells are kept, the same command goes on.
The table is printed, and drawn as curve.png.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from transformers import TrainerCallback

from glus_hf import (
    GLEECollator,
    GLEEForVideoSegmentation,
    GLEEProcessor,
    GLEETrainer,
    GLEETrainingArguments,
    UserError,
    load_object_dataset,
)
from glus_hf.atomic_write import atomic_path
from glus_hf.data.objects.load_objects import object_names
from glus_hf.evaluation.objects.answers import ObjectFinder
from glus_hf.evaluation.objects.coco_scores import ObjectTruth, score_coco
from glus_hf.training.samples.image_augmentation import AUGMENTATIONS
from glus_hf.training.samples.instance_dataset import InstanceDataset
from glus_hf.training.samples.ratio_mixture import RatioMixture


ITERATIONS = {"1": 200, "3": 300, "5": 400, "10": 600, "all": 2000}  # Table 9
FILES = ("annotations_without_background.json", "_annotations.coco.json")
BATCH, RATE, CHECKS = 4, 1e-4, 5  # images per step, learning rate, looks at `valid` in a training


# ---- data


def find_splits(folder: Path) -> dict[str, Path]:
    """By split of a set, its annotation file; the highest folder that has `train`."""
    for train in sorted(folder.rglob("train"), key=lambda path: (len(path.parts), path)):
        files = {}
        for split in ("train", "valid", "test"):
            found = [train.parent / split / name for name in FILES if (train.parent / split / name).is_file()]
            files |= {split: found[0]} if found else {}
        if {"train", "valid"} <= set(files):
            return {"test": files["valid"], **files}
    raise UserError(f"{folder}: has no folders train and valid with {' or '.join(FILES)}; download the set again")


class OneSet:
    """The rows and names of a set, with the names of an override in place of its own."""

    def __init__(self, folder: Path, renamed: dict[str, str], cache_dir: Path):
        self.rows, self.names = {}, []
        self.renamed = {name.lower(): other for name, other in renamed.items()}
        for split, file in find_splits(folder).items():
            options = {"annotations": file.name, "images": ".", "cache_dir": str(cache_dir)}
            rows = load_object_dataset("coco_format", file.parent, split, **options)
            self.rows[split] = rows.map(self._rename, load_from_cache_file=False) if self.renamed else rows
            if split == "train":
                known = object_names("coco_format", file.parent, split, **options)
                self.names = list(dict.fromkeys(map(self.name, known)))

    def name(self, name: str) -> str:
        return self.renamed.get(name.lower(), name)

    def _rename(self, row: dict) -> dict:
        return {**row, "objects": [{**each, "name": self.name(each["name"])} for each in row["objects"]]}


def draw_shots(rows, shots: str, seed: int) -> list[int]:
    """Images, in random order by the seed, taken while one of their names has fewer than `shots` objects so far; so
    every name has at least that many, where the set has them. "all" takes every image."""
    if shots == "all":
        return list(range(len(rows)))
    wanted, counts, chosen = int(shots), {}, []
    names = [[each["name"] for each in objects] for objects in rows["objects"]]
    for index in np.random.default_rng(seed).permutation(len(rows)).tolist():
        if any(counts.get(name, 0) < wanted for name in names[index]):
            chosen.append(index)
            for name in names[index]:
                counts[name] = counts.get(name, 0) + 1
    return sorted(chosen)


# ---- scores and training


def box_ap(model, processor, rows, names: list[str]) -> float:
    """COCO's average precision of boxes, in percent."""
    finder = ObjectFinder(SimpleNamespace(model=model, processor=processor), "detection", names)
    was_training = model.training
    model.eval()
    answers = [(row["image_id"], finder.answer(row)) for row in rows]
    model.train(was_training)
    truth = ObjectTruth(rows, names)
    return 100 * (score_coco(truth, truth.results(answers, "box"), "box")["AP"] or 0.0)


class KeepBest(TrainerCallback):
    """Looks at `valid` a few times, and keeps the weights of the best look."""

    def __init__(self, score, steps: int):
        self.score, self.every, self.best, self.step, self.weights = score, max(steps // CHECKS, 1), -1.0, 0, None

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % self.every and state.global_step != state.max_steps:
            return
        found = self.score(model)
        if found > self.best:
            self.best, self.step = found, state.global_step
            self.weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def tune(options, data: OneSet, shots: str, seed: int, steps: int, folder: Path) -> dict:
    """One cell: train on the shots, take the best on `valid`, score it on `test`."""
    model, processor = load(options)
    chosen = draw_shots(data.rows["train"], shots, seed)
    train = InstanceDataset(data.rows["train"].select(chosen), data.names, masks=False, name="train", seed=seed)
    arguments = GLEETrainingArguments(
        str(folder / "run"),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        backbone_rate=options.backbone_rate,
        text_rate=options.text_rate,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        use_cpu=options.device == "cpu",
    )
    keeper = KeepBest(lambda each: box_ap(each, processor, data.rows["valid"], data.names), steps)
    mixture = RatioMixture({"train": train}, {"train": 1.0}, steps, {"train": train.kinds}, seed)
    collator = GLEECollator(processor, AUGMENTATIONS[options.augmentation])
    GLEETrainer(model, arguments, collator, train_dataset=mixture, callbacks=[keeper]).train()
    model.load_state_dict(keeper.weights)
    test = box_ap(model, processor, data.rows["test"], data.names)
    return {"images": len(chosen), "valid": keeper.best, "best_step": keeper.step, "test": test}


def load(options):
    model = GLEEForVideoSegmentation.from_pretrained(options.model).to(options.device)
    return model, GLEEProcessor.from_pretrained(options.model)


def cell(options, data: OneSet, name: str, shots: str, seed: int) -> dict:
    """The content of `<set>/<shots>-<seed>.json`, made if it is missing."""
    folder = Path(options.output) / name
    file = folder / f"{shots}-{seed}.json"
    steps = max(round(ITERATIONS.get(shots, 0) * options.iterations_scale), 1)
    settings = {
        "model": str(options.model),
        "steps": 0 if shots == "0" else steps,
        "augmentation": options.augmentation,
    }
    settings |= {"backbone_rate": options.backbone_rate, "text_rate": options.text_rate, "names": options.renamed}
    if file.is_file():
        known = json.loads(file.read_text())
        if known["settings"] != settings:
            raise UserError(f"{file}: was made with other settings; use another --output")
        return known
    if shots == "0":
        found = {"test": box_ap(*load(options), data.rows["test"], data.names)}
    else:
        found = tune(options, data, shots, seed, steps, folder / f"{shots}-{seed}")
    content = {"set": name, "shots": shots, "seed": seed, "settings": settings, **found}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as part:
        part.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{name}, {shots} shots, seed {seed}: {found['test']:.1f}", flush=True)
    return content


# ---- tables


def summary(cells: list[dict], sets: list[str], shots: list[str]) -> dict:
    """By shots and set, and on average over the sets, mean and sample standard deviation over the seeds."""
    table = {}
    for each in shots:
        own = {(entry["set"], entry["seed"]): entry["test"] for entry in cells if entry["shots"] == each}
        seeds = sorted({seed for _, seed in own})
        columns = {name: [own[name, seed] for seed in seeds] for name in sets}
        columns["mean"] = [statistics.fmean(own[name, seed] for name in sets) for seed in seeds]
        table[each] = {name: _mean_and_deviation(values) for name, values in columns.items()}
    return table


def _mean_and_deviation(values: list[float]) -> list[float | None]:
    return [statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None]


def as_markdown(table: dict, sets: list[str]) -> str:
    lines = ["| shots | " + " | ".join([*sets, "mean"]) + " |", "| --- |" + " --- |" * (len(sets) + 1)]
    for shots, row in table.items():
        shown = [f"{mean:.1f}" + ("" if spread is None else f" ± {spread:.1f}") for mean, spread in row.values()]
        lines.append(f"| {shots} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def draw_curve(table: dict, sets: list[str], file: Path) -> None:
    """Mean and standard deviation over the seeds by shots, a line for each set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 3.8), layout="constrained")
    for name in sets:
        means, spreads = zip(*(row[name] for row in table.values()), strict=True)
        axis.errorbar(list(table), means, [spread or 0 for spread in spreads], marker="o", capsize=3, label=name)
    axis.set(xlabel="shots", ylabel="AP of boxes on test, %", ylim=(0, None))
    axis.legend(fontsize=8)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder of the sets")
    parser.add_argument(
        "--output", required=True, type=Path, help="folder of the cells, of summary.json and curve.png"
    )
    parser.add_argument("--model", default="glee-tiny")
    parser.add_argument("--sets", help="some sets, with commas; all folders of the root by default")
    parser.add_argument("--shots", default="0,1,3,5,10,all", help="0 is without tuning")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--names", type=Path, help="JSON: names to use in place of those of the sets")
    parser.add_argument("--iterations-scale", type=float, default=1.0, help="share of the iterations of Table 9")
    parser.add_argument("--backbone-rate", type=float, default=0.1, help="times the learning rate")
    parser.add_argument("--text-rate", type=float, default=0.1, help="times the learning rate")
    parser.add_argument("--augmentation", default="shortest_edge", choices=sorted(AUGMENTATIONS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    options.renamed = json.loads(options.names.read_text()) if options.names else {}
    folders = sorted(path.name for path in options.root.iterdir() if path.is_dir())
    sets = options.sets.split(",") if options.sets else folders
    shots, seeds = options.shots.split(","), [int(seed) for seed in options.seeds.split(",")]
    unknown = [each for each in shots if each != "0" and each not in ITERATIONS] + [
        s for s in sets if s not in folders
    ]
    if unknown:
        parser.error(f"{unknown[0]} is no number of shots of Table 9 and no set of {options.root}")
    cells = []
    for name in sets:
        data = OneSet(options.root / name, options.renamed, options.output / "cache")
        for each in shots:  # without tuning, a seed changes nothing
            cells += [cell(options, data, name, each, seed) for seed in (seeds[:1] if each == "0" else seeds)]
    table = summary(cells, sets, shots)
    with atomic_path(options.output / "summary.json") as part:
        part.write_text(json.dumps(table, indent=1) + "\n")
    draw_curve(table, sets, options.output / "curve.png")
    print(as_markdown(table, sets))


if __name__ == "__main__":
    main()
