"""What parts of GLEE and of its training do for glee-tiny, each over several seeds.

    python examples/ablate_tiny_glee.py --start runs/glee-tiny/contrast --output runs/glee-ablations
    python examples/ablate_tiny_glee.py --part data --start runs/glee-tiny/contrast --output runs/glee-data
    python examples/ablate_tiny_glee.py --part tracks --start runs/glee-tiny/glee-tiny --output runs/glee-tracks
    python examples/ablate_tiny_glee.py --part prompts --start runs/glee-tiny/glee-tiny --output runs/glee-prompts
    python examples/ablate_tiny_glee.py --temporal --model glee-tiny --num-videos 40

`text`, the default, trains short runs from the contrastive stage: the text tower distilled, unfrozen or frozen, and
without early fusion (the tower distilled). `data` trains on first frames alone, and on 10, 20, 50 or 100 % of a few
clips. `tracks` and `prompts` start from a finished model without a prompter: pairs of frames with and without the
contrastive loss, and prompts with crop tokens or with fine tokens alone. All go on where they were stopped, and runs
that are finished are only read. The last command takes temporal similarity away from a finished model, on clips of
several seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from evaluate_tiny import evaluate as evaluate_videos
from tiny_glee_ap import evaluate as evaluate_names
from tiny_glee_batches import Scenes
from tiny_glee_prompts import means
from tiny_glee_prompts import measure as measure_prompts
from train_tiny_glee import PROMPTER, export, train_clips, train_main, train_prompts

import glus_hf
from glus_hf import GLEEForVideoSegmentation, GLEEProcessor, load_object_dataset
from glus_hf.data.objects.load_objects import object_names
from glus_hf.evaluation.objects.track_answers import TrackFinder, VideoRows
from glus_hf.evaluation.objects.track_scores import score_ytvis


POOL = 100  # clips of the data of which shares are taken
SHARES = (10, 20, 50, 100)  # percent
VARIANTS = {
    "text": {
        "distilled": {"text_tower": "distilled"},
        "unfrozen": {"text_tower": "unfrozen"},
        "frozen": {"text_tower": "frozen"},
        "no fusion": {"text_tower": "distilled", "fusion": False},
    },
    "data": {
        "all frames": {},
        "first frames alone": {"stills": True},
        **{f"{share} % of {POOL} clips": {"number": POOL * share // 100} for share in SHARES},
    },
    "tracks": {"with contrastive loss": 2.0, "without": 0.0},
    "prompts": {"crop tokens and fine tokens": "full", "fine tokens alone": "fine"},
}
VALIDATION_SEED = 1000
TRACK_FRAMES = 8  # of a clip whose objects are followed


# ---- training


def run_variant(name: str, seed: int, args: argparse.Namespace) -> dict:
    """Train and measure a variant, or read what was measured."""
    folder = args.output / f"{name.replace(' ', '_').replace('%', 'percent')}-{seed}"
    if not (folder / "result.json").exists():
        train(folder, VARIANTS[args.part][name], seed, args)
        steps = json.loads((folder / "state.json").read_text())["step"]
        found = MEASURES[args.part](folder / "model", args)
        (folder / "result.json").write_text(json.dumps({**found, "steps": steps}))
    return json.loads((folder / "result.json").read_text())


def train(folder: Path, variant, seed: int, args: argparse.Namespace) -> None:
    """A short run, and its model in `model`."""
    settings = (args.start, args.minutes, args.rate, seed)
    if args.part == "tracks":
        return train_clips(folder, *settings, variant)
    if args.part == "prompts":
        start = GLEEForVideoSegmentation.from_pretrained(args.start).state_dict()
        start = {key: value for key, value in start.items() if not key.startswith("model.prompter.")}
        train_prompts(folder, start, *settings[1:], tokens=variant)
        return export(folder, folder / "model", **{**PROMPTER, "visual_prompter": variant})
    options = variant if args.part == "text" else {"scenes": Scenes(seed=seed, **variant), "text_tower": "distilled"}
    train_main(folder, *settings, **options)
    export(folder, folder / "model")


# ---- measures


def measure_names(model: Path, args: argparse.Namespace) -> dict:
    """J&F of expressions about looks, and AP50 of boxes by the names of shapes, on clips of a seed of its own."""
    videos = evaluate_videos(str(model), "validation", args.num_videos, VALIDATION_SEED, 128)
    names = evaluate_names(*load(model), "shapes", args.num_images, "validation", VALIDATION_SEED)
    return {"static": videos["table"]["model"]["static"], "box AP50": names["box AP50"]}


def measure_data(model: Path, args: argparse.Namespace) -> dict:
    """As of `text`, AP50 of boxes on first frames, and AP of tracks."""
    first = evaluate_names(*load(model), "shapes", args.num_images, "validation", VALIDATION_SEED, first=True)
    tracks = measure_tracks(model, args)
    return {**measure_names(model, args), "box AP50, first frames": first["box AP50"], **tracks}


def measure_tracks(model: Path, args: argparse.Namespace) -> dict:
    """YouTube-VIS AP of objects followed by names of colour and shape, in percent."""
    options = {"num_videos": args.num_videos, "num_frames": TRACK_FRAMES, "size": 128, "seed": VALIDATION_SEED}
    videos = VideoRows(load_object_dataset("motion_shapes", split="validation", **options))
    names = object_names("motion_shapes", split="validation", **options)
    finder = TrackFinder(SimpleNamespace(**dict(zip(("model", "processor"), load(model), strict=True))), "vis", names)
    with torch.no_grad():
        scores = score_ytvis([(video, finder.answer(video)) for video in videos], names)
    return {f"tracks {name}": 100 * scores[name] for name in ("AP", "AP50")}


def measure_answers(model: Path, args: argparse.Namespace) -> dict:
    """Mean J of prompted objects of stills, and J&F of those followed from masks through clips."""
    tokens = GLEEForVideoSegmentation.from_pretrained(model).config.visual_prompter
    sizes = {"still": args.num_images, "clip": args.num_videos}
    output = model.parent / "prompts.jsonl"
    records = measure_prompts(str(model), sizes, output, "validation", VALIDATION_SEED, kinds=(tokens,))
    return {name: mean for name, (mean, _) in means(records).items()}


def load(model: Path) -> tuple[GLEEForVideoSegmentation, GLEEProcessor]:
    return GLEEForVideoSegmentation.from_pretrained(model).eval(), GLEEProcessor.from_pretrained(model)


MEASURES = {"text": measure_names, "data": measure_data, "tracks": measure_tracks, "prompts": measure_answers}


def measure_temporal(args: argparse.Namespace) -> dict[str, list[dict]]:
    """J&F by kind with and without temporal similarity, per seed of clips."""
    found: dict[str, list[dict]] = {}
    for name, similarity in (("cosine", "cosine"), ("none", None)):
        for seed in args.seeds:
            pipe = glus_hf.pipeline(model=args.model)
            pipe.model.config.temporal_similarity = similarity
            result = evaluate_videos(pipe, "test", args.num_videos, seed, 128)
            found.setdefault(name, []).append(result["table"]["model"])
    return found


# ---- table


def table(found: dict[str, list[dict]]) -> str:
    """A row per variant: mean over the seeds, lowest to highest."""
    every = [row for rows in found.values() for row in rows]
    columns = [column for column in every[0] if all(column in row for row in every)]
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name, rows in found.items():
        values = [np.array([row[column] for row in rows]) for column in columns]
        cells = [f"{each.mean():.1f} ({each.min():.1f} to {each.max():.1f})" for each in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(VARIANTS), default="text", help="what is taken away")
    parser.add_argument("--start", type=Path, help="the contrastive stage; of tracks and prompts a finished model")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--variants", nargs="+", help="some of the part's, all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=3, help="CPU time of a run")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--num-videos", type=int, default=20, help="clips that a run is measured on")
    parser.add_argument("--num-images", type=int, default=200, help="stills that a run is measured on")
    parser.add_argument("--temporal", action="store_true", help="take temporal similarity away from --model")
    parser.add_argument("--model", default="glee-tiny")
    args = parser.parse_args()
    if not args.temporal and not (args.start and args.output):
        parser.error("give --start and --output, or --temporal")
    if unknown := set(args.variants or ()) - set(VARIANTS[args.part]):
        parser.error(f"{min(unknown)!r} is none of {', '.join(VARIANTS[args.part])}")
    torch.set_num_threads(1)
    if args.temporal:
        found = measure_temporal(args)
    else:
        found = {name: [] for name in args.variants or VARIANTS[args.part]}
        for seed in args.seeds:  # all variants of a seed first
            for name in found:
                found[name].append(run_variant(name, seed, args))
    print(table(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
