"""Throughput of `glus-hf segment-many` with one process and with several of one machine, started by torchrun.

    OMP_NUM_THREADS=1 python benchmarks/many_videos.py --videos 12 --rounds 3 --json many_videos.json

Writes clips of MotionShapes and a manifest, and runs the command on them, with one process and with several in turn.
Then each runs again on its finished folder: what that takes is start-up, which a long run pays once. Wall time and CPU
time of all processes. Stops if the masks of several processes are not those of one, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.video import write_video


def write_manifest(folder: Path, num_videos: int, size: int, num_frames: int) -> tuple[Path, int]:
    """A manifest of clips with three expressions each, and the number of their masks."""
    lines, masks = [], 0
    for index in range(num_videos):
        clip = generate_clip(index, "test", 0, size, num_frames)
        write_video(folder / f"{index}.mp4", clip.frames, fps=6)
        texts = [expression.text for expression in clip.expressions][:3]
        lines.append(json.dumps({"video": f"{index}.mp4", "expressions": texts}))
        masks += len(texts) * len(clip.frames)
    (folder / "videos.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "videos.jsonl", masks


def command(manifest: Path, output: Path, processes: int) -> list[str]:
    own = ["-m", "glus_hf.cli", "segment-many", str(manifest), "-o", str(output), "--device", "cpu", "--quiet"]
    if processes == 1:
        return [sys.executable, *own]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), *own]


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command, with what it starts."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run(arguments, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - begin, cpu


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "masks").rglob("*.parquet"))}


def measure(folder: Path, manifest: Path, counts: list[int]) -> dict[int, dict[str, float]]:
    """One round."""
    found, masks = {}, {}
    for processes in counts:
        output = folder / f"masks-{processes}"
        shutil.rmtree(output, ignore_errors=True)
        wall, cpu = seconds(command(manifest, output, processes))
        again_wall, again_cpu = seconds(command(manifest, output, processes))
        found[processes] = {"wall": wall, "cpu": cpu, "start_wall": again_wall, "start_cpu": again_cpu}
        masks[processes] = files(output)
        if masks[processes] != masks[counts[0]]:
            raise SystemExit(f"{processes} processes wrote other masks than {counts[0]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, num_masks = write_manifest(folder, arguments.videos, arguments.size, arguments.frames)
        rounds = [measure(folder, manifest, arguments.processes) for _ in range(arguments.rounds)]
    rows = []
    for processes in arguments.processes:
        figures = {key: statistics.median(each[processes][key] for each in rounds) for key in rounds[0][processes]}
        work = figures["wall"] - figures["start_wall"], figures["cpu"] - figures["start_cpu"]
        row = {"processes": processes, "masks": num_masks, **figures}
        rows.append(row | {"masks_per_second": num_masks / work[0], "cpu_ms_per_mask": 1000 * work[1] / num_masks})
        print(json.dumps({key: round(value, 2) for key, value in rows[-1].items()}))
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
