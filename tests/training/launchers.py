"""Command lines of torchrun and accelerate, and runs of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT
from tests.warm_ranks import free_port


CONFIGS = ROOT / "examples" / "accelerate"
COMMAND = str(Path(sys.executable).with_name("glus-hf"))


def python_path() -> str:
    return os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])


def torchrun(processes: int = 2) -> list[str]:
    return [
        *("-m", "torch.distributed.run", "--nproc_per_node", str(processes)),
        *("--master_addr", "127.0.0.1", "--master_port", str(free_port())),
    ]


def accelerate(config: str) -> list[str]:
    options = ["--config_file", str(CONFIGS / config), "--main_process_port", str(free_port())]
    return ["-m", "accelerate.commands.launch", *options]


def run(command: list[str], python=(sys.executable,), **environment) -> subprocess.CompletedProcess:
    variables = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    variables["PYTHONPATH"] = python_path()
    return subprocess.run(
        [*python, *command],
        cwd=ROOT,
        env={**os.environ, **variables, **environment},
        capture_output=True,
        text=True,
        timeout=500,
    )


def losses(folder: Path) -> list[float]:
    state = json.loads((folder / "run" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]
