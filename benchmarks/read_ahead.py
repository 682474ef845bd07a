"""What reading frames ahead in a thread costs and saves on a CPU, on a generated 1280x720 file with glus-tiny.

    OMP_NUM_THREADS=1 python benchmarks/read_ahead.py --frames 60 --rounds 3

Runs with and without take turns; the masks must be equal.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from glus_hf import pipeline
from glus_hf.media import frames_on_demand
from glus_hf.media.frames_on_demand import FramesOnDemand
from glus_hf.media.video import write_video


def write_clip(path: Path, num_frames: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    write_video(path, [np.roll(noise, 5 * index, axis=1) for index in range(num_frames)])


def measure(pipe, path: Path) -> tuple[float, float, np.ndarray]:
    """CPU and wall milliseconds a frame, and the scores."""
    cpu, wall = time.process_time(), time.perf_counter()
    scores = pipe(path, "the red circle", output="rle")["scores"]
    spent = (time.process_time() - cpu, time.perf_counter() - wall)
    return *(1000 * each / len(scores) for each in spent), scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    frames_on_demand.HELD_BYTES = 0  # as of a long file
    pipe, ahead = pipeline(model="glus-tiny", device="cpu"), FramesOnDemand.read_ahead
    ways = {"ahead": ahead, "when asked for": lambda frames, positions: None}
    rows, scores = {way: [] for way in ways}, []
    with tempfile.TemporaryDirectory() as folder:
        write_clip(path := Path(folder) / "clip.mp4", args.frames)
        for _ in range(args.rounds):
            for way, read in ways.items():
                FramesOnDemand.read_ahead = read
                *row, found = measure(pipe, path)
                rows[way].append(row)
                scores.append(found)
    if not all(np.array_equal(found, scores[0]) for found in scores):
        raise SystemExit("the scores differ")
    for way, found in rows.items():
        cpu, wall = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{way}: {cpu:.1f} ms of CPU a frame, {wall:.1f} ms of time")


if __name__ == "__main__":
    main()
