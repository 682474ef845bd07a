"""CPU seconds of fresh processes: an import, the help of the command line, the first mask of a cold `glus-hf segment`.

    OMP_NUM_THREADS=1 python benchmarks/start_up.py --rounds 3

`python -X importtime -m glus_hf.cli segment ...` shows which imports take them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from memory import write_clip


LIBRARIES = "from transformers import CLIPVisionModel, LlamaModel, Sam2VideoModel"


def commands(folder: Path) -> dict[str, list[str]]:
    segment = ["segment", str(folder / "clip.mp4"), "the red circle", "-o", str(folder / "overlay.mp4")]
    return {
        "import glus_hf": ["-c", "import glus_hf"],
        "glus-hf --help": ["-m", "glus_hf.cli", "--help"],
        "import torch": ["-c", "import torch"],
        "import of the transformers models": ["-c", LIBRARIES],
        "glus-hf segment, 2 frames": ["-m", "glus_hf.cli", *segment, "--overwrite", "--quiet"],
    }


def cpu_seconds(arguments: list[str]) -> float:
    """Of all threads of a new Python process, with what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder) / "clip.mp4", 2, 320, 240, 10, {})
        found = commands(Path(folder))
        times = {name: [] for name in found}
        for _ in range(rounds):
            for name, arguments in found.items():
                times[name].append(cpu_seconds(arguments))
    for name, seconds in times.items():
        row = {"command": name, "median": statistics.median(seconds), "lowest": min(seconds), "highest": max(seconds)}
        print(json.dumps({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}))


if __name__ == "__main__":
    main()
