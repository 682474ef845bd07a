"""Expressions that start from different key frames: together, against one run per key frame. Seconds and their ratio.

    python benchmarks/different_key_frames.py --frames 24 --texts 6 --repeats 5

Both ways run alternately in one process, on glus-tiny; the masks are compared too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch

import glus_hf
from glus_hf.data.motion_shapes import generate_clip


def together(pipe, frames: np.ndarray, texts: list[str], starts: list[int]) -> list[np.ndarray]:
    return [result["masks"] for result in pipe(frames, texts, key_frame=starts)]


def one_by_one(pipe, frames: np.ndarray, texts: list[str], starts: list[int]) -> list[np.ndarray]:
    return [pipe(frames, text, key_frame=start)["masks"] for text, start in zip(texts, starts, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--texts", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default=None)
    args = parser.parse_args()
    pipe = glus_hf.pipeline(model=args.model, device=args.device)
    clip = generate_clip(0, num_frames=args.frames, num_expressions=args.texts)
    texts = [clip.expressions[index % len(clip.expressions)].text for index in range(args.texts)]
    starts = np.linspace(0, args.frames - 1, args.texts).round().astype(int).tolist()
    seconds: dict[str, list[float]] = {"together": [], "one by one": []}
    for _ in range(args.repeats + 1):  # the first warms up
        masks = {}
        for name, way in (("together", together), ("one by one", one_by_one)):
            begin = time.perf_counter()
            masks[name] = way(pipe, clip.frames, texts, starts)
            seconds[name].append(time.perf_counter() - begin)
    same = np.mean([a == b for a, b in zip(masks["together"], masks["one by one"], strict=True)])
    ratios = [b / a for a, b in zip(seconds["together"][1:], seconds["one by one"][1:], strict=True)]
    print(json.dumps({
        "seconds": {name: round(statistics.median(values[1:]), 3) for name, values in seconds.items()},
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "equal_pixels": float(same),
        "threads": torch.get_num_threads(),
        "device": str(pipe.device),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
