"""Time and memory of loading a MeViS train index of real size: 1,662 videos, 23,051 expressions, 411 MB of masks.

    python benchmarks/mevis_index.py outputs/mevis_index [--num-proc 2] [--json]

Makes the index in the folder if it is not there (random ellipses with rough outlines, no images), then loads it twice
in processes of their own: the first reads and checks everything and writes the cache, the second maps the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask


NUM_VIDEOS, NUM_EXPRESSIONS = 1662, 23051
OBJECTS_PER_VIDEO = (1, 9)  # 6,900 objects or so, as in MeViS: 8,171 in all splits
SIZES = ((720, 1280), (1080, 1920), (540, 960), (360, 640))


def make_index(root: Path, seed: int = 0) -> None:
    """Write `train/meta_expressions.json`, `train/mask_dict.json` and an empty first frame per video."""
    rng = np.random.default_rng(seed)
    folder = root / "train"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    per_video = np.bincount(rng.integers(0, NUM_VIDEOS, NUM_EXPRESSIONS - NUM_VIDEOS), minlength=NUM_VIDEOS) + 1
    pool = {size: [_rle(rng, size) for _ in range(250)] for size in SIZES}
    videos, annotation = {}, 0
    with open(folder / "mask_dict.json", "w") as file:
        file.write("{")
        for index in range(NUM_VIDEOS):
            video_id, size = f"{rng.integers(1 << 48):012x}", SIZES[rng.integers(len(SIZES))]
            frames = [f"{frame:05d}" for frame in range(int(rng.integers(30, 100)))]
            objects = list(range(int(rng.integers(*OBJECTS_PER_VIDEO))))
            first = annotation
            for _ in objects:
                track = [_sample_mask(rng, pool[size]) for _ in frames]
                file.write(f"{', ' if annotation else ''}{json.dumps(str(annotation))}: {json.dumps(track)}")
                annotation += 1
            videos[video_id] = {
                "expressions": _expressions(rng, int(per_video[index]), objects, first),
                "vid_id": index,
                "frames": frames,
            }
            images = folder / "JPEGImages" / video_id
            images.mkdir(parents=True)
            (images / f"{frames[0]}.jpg").touch()
        file.write("}")
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}))


def _expressions(rng, number: int, objects: list[int], first: int) -> dict:
    expressions = {}
    for key in range(number):
        count = min(len(objects), int(rng.choice([1, 2, 3, 5], p=[0.7, 0.17, 0.08, 0.05])))
        chosen = sorted(int(item) for item in rng.choice(objects, count, replace=False))
        expressions[str(key)] = {
            "exp": f"the animal number {key} walking from left to right and turning around",
            "obj_id": chosen,
            "anno_id": [first + item for item in chosen],
        }
    return expressions


def _rle(rng, size: tuple[int, int]) -> dict:
    """An ellipse with a rough outline; about 1 KB of runs, so that the file has the size of MeViS'."""
    height, width = size
    x = np.arange(width)
    center, reach = rng.uniform(0.3, 0.7) * width, rng.uniform(167, 289)
    column = np.clip(1 - ((x - center) / reach) ** 2, 0, None) ** 0.5 * rng.uniform(0.15, 0.4) * height
    middle = rng.uniform(0.4, 0.6) * height + rng.normal(0, 2.0, width)
    low, high = middle - column, middle + column + rng.normal(0, 2.0, width)
    y = np.arange(height)[:, None]
    mask = (y >= low) & (y < high) & (column > 0)
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [height, width], "counts": rle["counts"].decode()}


def _sample_mask(rng, pool: list[dict]) -> dict | None:
    return None if rng.random() < 0.12 else pool[rng.integers(len(pool))]


def load(root: Path, cache: Path, num_proc: int | None) -> dict:
    """Load the split in this process; seconds, peak memory, and a check of one row."""
    start = time.perf_counter()
    from glus_hf import load_referring_dataset

    rows = load_referring_dataset("mevis", root, split="train", cache_dir=cache, num_proc=num_proc)
    seconds = time.perf_counter() - start
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    start = time.perf_counter()
    visible = sum(rle is not None for rle in rows[len(rows) // 2]["masks"])
    row_seconds = time.perf_counter() - start
    assert len(rows) == NUM_EXPRESSIONS and visible > 0
    return {
        "rows": len(rows),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in used), 2),
        "first_row_seconds": round(row_seconds, 4),
        "peak_rss_gb": round(used[0].ru_maxrss / 1e6, 2),
        "largest_worker_rss_gb": round(used[1].ru_maxrss / 1e6, 2) if num_proc else 0,
        "cache_gb": round(rows.dataset_size / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-proc", type=int, default=None)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--load-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    root, cache = arguments.folder / "mevis", arguments.folder / "cache"
    if arguments.load_only:
        print(json.dumps(load(root, cache, arguments.num_proc)))
        return
    if not (root / "train" / "meta_expressions.json").exists():
        make_index(root)
    shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, __file__, str(arguments.folder), "--load-only"]
    if arguments.num_proc:
        command += ["--num-proc", str(arguments.num_proc)]
    results = {}
    for call in ("first", "second"):
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results[call] = json.loads(output.splitlines()[-1])
    size = (root / "train" / "mask_dict.json").stat().st_size
    print(f"mask_dict.json {size / 1e6:.0f} MB, {os.cpu_count()} cores, num_proc {arguments.num_proc}")
    for call, result in results.items():
        print(f"{call}: {', '.join(f'{key} {value}' for key, value in result.items())}")
    if arguments.json:
        print(json.dumps({"mask_dict_mb": round(size / 1e6), **results}))


if __name__ == "__main__":
    main()
