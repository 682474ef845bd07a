"""Segmenting a clip against the order of work of the original code, on one model with random weights.

    OMP_NUM_THREADS=1 python benchmarks/inference.py --json inference.json --plot inference.png
    OMP_NUM_THREADS=1 python benchmarks/inference.py --quick --json inference.json

Both ways run alternately in one process; figures are CPU time, whatever else the machine does. The program stops if
the logits differ by more than a millionth of their range. `--quick` runs some of the expressions through the
reference; the others cost the same, as it does everything for each expression alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from mid_size_model import build_mid_size, expressions, noisy_clip
from reference_schedule import ReferenceSchedule
from stage_clock import counted_flops, cpu_seconds

from glus_hf.models import propagation
from glus_hf.models.window_reader import shared_lead


LARGEST_DIFFERENCE = 1e-6
COUNTS = (1, 4, 16)


@dataclass(frozen=True)
class Plan:
    """Frames and rounds of a measurement, and the expressions that the reference runs."""

    num_expressions: int
    num_frames: int
    rounds: int
    referenced: int
    counts_flops: bool = True


def plans(quick: bool) -> list[Plan]:
    if quick:
        return [Plan(1, 8, 1, 1), Plan(4, 6, 1, 2, False), Plan(16, 4, 1, 2, False)]
    return [Plan(1, 24, 3, 1), Plan(4, 12, 3, 4), Plan(16, 8, 3, 16)]


def our_places(model, session) -> dict[str, tuple]:
    parts, images = model.model, session.image_processor
    return {
        "views": (images, "clip_view", "mask_view"),
        "CLIP": (parts, "encode_frames"),
        "language model, prefix": (model, "read_prefix"),
        "language model, leads": (model, "read_leads"),
        "language model, windows": (model, "read_windows"),
        **mask_places(parts),
        "resize and score": (propagation, "resize_and_score"),
    }


def reference_places(reference: ReferenceSchedule) -> dict[str, tuple]:
    return {
        "views": (reference, "views"),
        "CLIP": (reference, "clip"),
        "language model, windows": (reference, "language_model"),
        "heads on all positions": (reference, "heads"),
        **mask_places(reference.model.model),
        "SAM-2 image encoder": (reference, "mask_encoder"),
        "resize and score": (reference, "resize"),
    }


def mask_places(parts) -> dict[str, tuple]:
    return {
        "SAM-2 image encoder": (parts, "encode_mask_frames"),
        "memory attention": (parts, "condition_on_memory"),
        "mask decoder": (parts, "decode_masks"),
        "memory encoder": (parts, "encode_memory"),
    }


class Comparison:
    """One clip and its expressions, both ways."""

    def __init__(self, model, processor, plan: Plan, **settings):
        self.model, self.plan, self.settings = model, plan, settings
        self.session = processor.init_video_session(noisy_clip(plan.num_frames), expressions(plan.num_expressions))
        self.reference = ReferenceSchedule(model)
        self.masks: dict[str, torch.Tensor] = {}

    def ours(self) -> None:
        outputs = self.model.propagate_in_video_iterator(self.session, **self.settings)
        self.masks["ours"] = torch.stack([output.mask_logits for output in outputs], 1)

    def public(self) -> None:
        self.masks["public"] = torch.stack([
            torch.stack([logits for _, logits in self.reference.segment(self.session, text)])
            for text in range(self.plan.referenced)
        ])  # fmt: skip

    def measure(self, meter) -> tuple[dict[str, float], dict[str, float]]:
        """Per frame and expression, by stage: the reference and ours."""
        public = meter(self.public, reference_places(self.reference))
        ours = meter(self.ours, our_places(self.model, self.session))
        frames, plan = self.plan.num_frames, self.plan
        return per(public, frames * plan.referenced), per(ours, frames * plan.num_expressions)

    def difference(self) -> float:
        """Largest difference of logits, as a share of their range."""
        ours, public = self.masks["ours"][: self.plan.referenced], self.masks["public"]
        return float((ours - public).abs().max() / (public.max() - public.min()))


def per(figures: dict[str, float], count: int) -> dict[str, float]:
    return {stage: value / count for stage, value in figures.items()}


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {stage: statistics.median(figures[stage] for figures in rounds) for stage in rounds[0]}


def compare(model, processor, plan: Plan, **settings) -> dict:
    comparison = Comparison(model, processor, plan, **settings)
    rounds = [comparison.measure(cpu_seconds) for _ in range(plan.rounds)]
    ratios = [public["total"] / ours["total"] for public, ours in rounds]
    public, ours = (medians(list(side)) for side in zip(*rounds, strict=True))
    found = {
        "num_frames": plan.num_frames,
        "rounds": plan.rounds,
        "speedup": statistics.median(ratios),
        "speedup_range": [min(ratios), max(ratios)],
        "max_abs_diff": comparison.difference(),
        "seconds": {"public": public, "ours": ours},
        "flops_of_the_cost_model": cost_model(model.config, comparison.session),
    }
    if plan.counts_flops:
        public, ours = comparison.measure(counted_flops)
        found["flops"] = {"public": public, "ours": ours, "ratio": public["total"] / ours["total"]}
    return found


def cost_model(config, session) -> dict[str, float]:
    """Operations of the language model per frame and expression of a long clip: all of the prompt every time, and
    what is left when prefix, leads and the last layer are computed once or where they are read."""
    text = config.text_config
    prefix, count = len(session.prefix_input_ids), len(session.texts)
    lengths = [
        (config.num_query_frames - 1) * len(turn) + len(last)
        for turn, last in zip(session.turn_input_ids, session.last_turn_input_ids, strict=True)
    ]
    lead = shared_lead(session, config.image_token_id, config.num_image_tokens)
    projections = 8 * text.hidden_size**2 + 6 * text.hidden_size * text.intermediate_size
    whole = sum(layers(text, text.num_hidden_layers, projections, length + prefix, 0) for length in lengths)
    keys = 4 * text.hidden_size**2
    removed = sum(
        layers(text, text.num_hidden_layers - 1, projections, length - lead, prefix + lead) + keys * (length - lead)
        for length in lengths
    )
    leads = layers(text, text.num_hidden_layers - 1, projections, lead, prefix) + keys * lead
    return {"public": whole / count, "ours": (removed + leads) / count}


def layers(text, count: int, projections: int, length: int, before: int) -> float:
    """Operations of `count` layers on `length` positions behind `before`."""
    attention = 4 * text.hidden_size * length * (before + (length + 1) / 2)
    return count * (projections * length + attention)


def print_tables(results: dict[int, dict]) -> None:
    print("| expressions | frames | speedup (range) | operations, ratio | largest difference / range |")
    print("| --- | --- | --- | --- | --- |")
    for count, found in results.items():
        low, high = found["speedup_range"]
        operations = f"{found['flops']['ratio']:.2f}" if "flops" in found else ""
        print(
            f"| {count} | {found['num_frames']} | {found['speedup']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {operations} | {found['max_abs_diff']:.1e} |"
        )
    for count, found in results.items():
        public, ours = found["seconds"]["public"], found["seconds"]["ours"]
        print(f"\n| {count} expression{'s' * (count > 1)}: stage | public ms | ours ms |\n| --- | --- | --- |")
        for stage in dict.fromkeys([*public, *ours]):
            print(f"| {stage} | {1000 * public.get(stage, 0):.1f} | {1000 * ours.get(stage, 0):.1f} |")


def plot(results: dict[int, dict], file: Path) -> None:
    """Milliseconds per frame and expression by stage, both ways beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [(f"E={count}\n{side}", found["seconds"][side]) for count, found in results.items() for side in SIDES]
    stages = [stage for stage in dict.fromkeys(name for _, part in bars for name in part) if stage != "total"]
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    bottom = [0.0] * len(bars)
    for stage, color in zip(stages, pyplot.get_cmap("tab20").colors, strict=False):
        heights = [1000 * part.get(stage, 0) for _, part in bars]
        axes.bar([name for name, _ in bars], heights, bottom=bottom, label=stage, color=color)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_ylabel("CPU ms per frame and expression")
    figure.legend(fontsize="small", loc="outside right upper")
    figure.savefig(file, dpi=120)


SIDES = ("public", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="write a picture of the stages here")
    parser.add_argument("--quick", action="store_true", help="under 3 minutes on a core")
    parser.add_argument("--expressions", type=int, nargs="+", default=COUNTS, help=f"some of {COUNTS}")
    parser.add_argument("--window", default="sliding", help="sliding, which is exact, or whole")
    parser.add_argument("--frame-stride", type=int, default=1, help="read every so many frames; 1 is exact")
    args = parser.parse_args()
    settings = {"window": args.window, "frame_stride": args.frame_stride}
    model, processor = build_mid_size()
    compare(model, processor, Plan(1, 1, 1, 1, False))  # the first run warms up
    chosen = [plan for plan in plans(args.quick) if plan.num_expressions in args.expressions]
    results = {plan.num_expressions: compare(model, processor, plan, **settings) for plan in chosen}
    record = {
        "settings": settings,
        "speedup": {count: found["speedup"] for count, found in results.items()},
        "max_abs_diff": max(found["max_abs_diff"] for found in results.values()),
        "results": results,
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "machine": platform.processor() or platform.machine(),
    }
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n")
    if args.plot:
        plot(results, args.plot)
    print_tables(results)
    is_exact = settings == {"window": "sliding", "frame_stride": 1}
    if is_exact and record["max_abs_diff"] > LARGEST_DIFFERENCE:
        raise SystemExit("the logits differ: ours are wrong, or the reference is")


if __name__ == "__main__":
    main()
