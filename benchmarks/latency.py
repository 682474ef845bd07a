"""How long a frame waits for its masks: frames that are pushed one by one, and the first mask of a file.

    OMP_NUM_THREADS=1 python benchmarks/latency.py --frames 200 --texts 1 4 --json latency.json

CPU time, whatever else the machine does; on an idle machine it is the wait. Frames at which the context is sampled
anew are counted with the others and shown apart.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from memory import TEXTS, write_clip

from glus_hf import pipeline
from glus_hf.media.video import open_video


PERCENTILES = (50, 90, 99, 100)


def push_times(pipe, frames, texts: list[str]) -> np.ndarray:
    """CPU milliseconds of each frame."""
    live, found = pipe.open_live(texts), []
    for frame in frames:
        begin = time.process_time()
        live.push(frame)
        found.append(1000 * (time.process_time() - begin))
    return np.array(found)


def first_mask_time(pipe, frames, texts: list[str]) -> float:
    """CPU milliseconds from a session of a whole video to its first mask."""
    session = pipe.processor.init_video_session(frames, texts)
    begin = time.process_time()
    next(iter(pipe.model.propagate_in_video_iterator(session)))
    return 1000 * (time.process_time() - begin)


def row_of(pipe, frames, texts: list[str]) -> dict:
    push_times(pipe, frames[:4], texts)
    times = push_times(pipe, frames, texts)
    renewed = np.array([number & (number - 1) == 0 for number in range(1, len(frames) + 1)])
    renewed[:8] = False  # their windows are short
    first, second = np.split(times, [len(times) // 2])
    return {
        "texts": len(texts),
        "frames": len(frames),
        **{f"p{share}_ms": round(float(np.percentile(times, share)), 1) for share in PERCENTILES},
        "first_frame_ms": round(float(times[0]), 1),
        "renewed_context_ms": round(float(times[renewed].max()), 1) if renewed.any() else None,
        "second_half_to_first": round(float(np.median(second) / np.median(first[8:])), 3),
        "first_mask_of_a_file_ms": round(first_mask_time(pipe, frames, texts), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--texts", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    pipe = pipeline("referring-video-segmentation", model=arguments.model, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder) / "clip.mp4", arguments.frames, width, height, 30, {"g": "250"})
        frames = list(open_video(Path(folder) / "clip.mp4").frames)
    rows = []
    for count in arguments.texts:
        rows.append(row_of(pipe, frames, TEXTS[:count]))
        print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        settings = {"size": arguments.size, "model": arguments.model}
        arguments.json.write_text(json.dumps({**settings, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
