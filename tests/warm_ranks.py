"""Several processes of one distributed program, without a launcher: what torchrun sets, and warm Pythons."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from pathlib import Path

from tests.warm_python import warm_python


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run_ranks(
    processes: int, arguments: list[str], cwd: str | Path, env: dict[str, str], timeout: float = 500
) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS` as often as said, together.

    Returns:
        An exit code that is not 0 if one is, and what all of them printed.
    """
    places = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_PORT": free_port()}
    places |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": 1}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = []
        for rank in range(processes)[::-1]:
            place = {name: str(value) for name, value in {**places, "RANK": rank, "LOCAL_RANK": rank}.items()}
            started.append(
                subprocess.Popen([*warm_python(), *arguments], cwd=cwd, env={**env, **place}, stdout=out, stderr=err)
            )
        codes = [process.wait(timeout) for process in started]
        return subprocess.CompletedProcess(arguments, next(filter(None, codes), 0), _content(out), _content(err))


def _content(file) -> str:
    file.seek(0)
    return file.read()
