"""Starts the fork server and asks it for cases."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.paths import ROOT
from tests.warm_python import warm_python


def server_environment(folder: Path) -> dict[str, str]:
    """One thread, no network, caches in `folder`."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "home"),
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "HF_MODULES_CACHE": str(folder / "modules"),
        "COLUMNS": "200",
    }


class Sandbox:
    """A fork server with folders of its own; for `with`."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(
            [*warm_python(), "-m", "tests.hostile.server", str(folder / "cases")],
            cwd=ROOT,
            env=server_environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n", "the fork server did not start"

    def run(self, name: str) -> dict:
        """What became of a case; `problems` is empty if it ended as it must."""
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def check(self, name: str) -> None:
        """Fail with what is wrong, and with the last words of the case."""
        result = self.run(name)
        assert not result["problems"], f"{result['problems']}\n{result['err'][-1500:]}\n{result['out'][-500:]}"

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)
