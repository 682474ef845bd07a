"""A process that has imported everything, forks the commands, and kills them or lets their disk fill up.

    python -m tests.faults.server

reads JSON objects `{"command", "fault", "seed", "folder"}`, one a line, and answers each in one line: the problems,
and what was done. Faults are "kill", SIGKILL at random points of the undisturbed run's time, and "disk", a file system
that is too small; where none may be mounted a limit of the size of files.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.faults.commands import COMMANDS, Command, results
from tests.hostile.server import import_everything


KILLS = {"segment": 6, "evaluate": 6, "pseudo-label": 5, "convert": 8, "train": 5}
SHARES_OF_DISK = (0.02, 0.4, 0.8)
SLOWEST = 300


def main() -> None:
    import_everything()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = disturb(**request)
        except Exception:
            answer = {"problems": [traceback.format_exc()]}
        print(json.dumps(answer), flush=True)


def disturb(command: str, fault: str, seed: int, folder: str, times: int = 0) -> dict:
    """Run a command undisturbed, then with faults, then to its end, and compare."""
    chosen, rng = COMMANDS[command], random.Random(seed)
    undisturbed, work = Path(folder) / "undisturbed", Path(folder) / "disturbed"
    for place in (undisturbed, work):
        (place / "out").mkdir(parents=True)
        chosen.make(place)
    seconds = _to_the_end(chosen, undisturbed, chosen.arguments)
    wanted = results(undisturbed / "out", chosen)
    assert wanted, "nothing to compare"
    if fault == "kill":
        problems, done = _kill(chosen, work, seconds, times or KILLS[command], rng)
    else:
        problems, done = _fill_disk(chosen, work, wanted, times or len(SHARES_OF_DISK))
    found = results(work / "out", chosen)
    problems += [f"{name}: differs" for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
    if fault == "kill":
        problems += [f"{path.relative_to(work)}: left behind" for path in _leftovers(work / "out")]
    return {"problems": problems, "done": done, "seconds": round(seconds, 2), "files": len(wanted)}


# --- kills -----------------------------------------------------------------------------------------------------------


def _kill(command: Command, work: Path, seconds: float, times: int, rng: random.Random) -> tuple[list[str], dict]:
    problems, done = [], {"killed": 0, "finished before": 0}
    for _ in range(times):
        arguments = command.arguments + (command.again if done["killed"] else ())
        children = _start(command, work, arguments)
        time.sleep(rng.uniform(0, seconds * (0.5 if command.resumes else 1)))
        victims = children if rng.random() < 0.5 else [rng.choice(children)]
        for child in victims:
            os.kill(child, signal.SIGKILL)
        codes = [_wait(child) for child in children]
        killed = -signal.SIGKILL in codes
        done["killed" if killed else "finished before"] += 1
        others = [code for child, code in zip(children, codes, strict=True) if child not in victims]
        problems += [f"the other process ended with {code}" for code in others if killed and code not in (0, 2)]
        visible = [path.name for path in (work / "out").iterdir() if not path.name.startswith(".")]
        if visible and not command.resumes:
            problems += [f"{name}: is there after a kill" for name in visible if not _is_whole(work, name)]
            shutil.rmtree(work / "out")  # it was done, and would refuse its own place
            (work / "out").mkdir()
        if command.refuses is not None and (work / "out" / command.refuses).exists():
            if not _is_whole(work, command.refuses, command.compared):
                problems.append(f"{command.refuses}: is there after a kill, and not whole")
            shutil.rmtree(work / "out" / command.refuses)  # the line of the refusal says that the run is done
    _to_the_end(command, work, command.arguments + command.again)
    return problems, done


def _is_whole(work: Path, name: str, compared=lambda name: True) -> bool:
    """Whether what a kill left in the place of a result is that of a run that was done."""
    wanted = work.parent / "undisturbed" / "out" / name
    files = [path for path in wanted.rglob("*") if path.is_file()] if wanted.is_dir() else [wanted]
    files = [path for path in files if compared(path.relative_to(wanted.parent).as_posix())]
    place = work / "out" / name
    pairs = [(file, place / file.relative_to(wanted) if wanted.is_dir() else place) for file in files]
    return all(found.is_file() and found.read_bytes() == file.read_bytes() for file, found in pairs)


def _leftovers(folder: Path) -> list[Path]:
    """Half-written files of runs that were killed, after one that was not. The lock of a run stays, its folder too."""
    hidden = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock"]
    return [path for path in hidden if "partial" in str(path) or path.name.endswith((".tmp", ".lock"))]


# --- full disks ------------------------------------------------------------------------------------------------------


def _fill_disk(command: Command, work: Path, wanted: dict[str, bytes], times: int) -> tuple[list[str], dict]:
    problems, done = [], {"refused": 0, "by": "a small file system"}
    total = sum(len(content) for content in wanted.values())
    for share in SHARES_OF_DISK[:times]:
        size = max(16, int(total * share) // 4096 * 4)
        with _small_disk(work / "out", size) as mounted:
            if not mounted:
                done["by"] = "a limit of the size of files"
            limit = None if mounted else int(max(map(len, wanted.values())) * share)
            code, lines = _run_once(command, work, command.arguments, limit)
        done["refused"] += code == 2
        errors = [line for line in lines if line.startswith("Error: ")]
        if code != 2 or len(errors) != 1 or lines[-1] != errors[0] or "out" not in errors[0]:
            problems.append(f"{size} KiB: exit code {code}, {lines[-6:]}")
    _to_the_end(command, work, command.arguments)
    return problems, done


@contextlib.contextmanager
def _small_disk(folder: Path, kilobytes: int):
    """Mount a file system of this size; False where that is not allowed."""
    shutil.rmtree(folder)
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
        shutil.rmtree(folder)
        folder.mkdir()


def _run_once(command: Command, work: Path, arguments: tuple, limit: int | None) -> tuple[int, list[str]]:
    """Exit code of the first process, and its lines on stderr."""
    children = _start(command, work, arguments, limit)
    codes = [_wait(child) for child in children]
    lines = (work / "stderr-0.txt").read_text().splitlines()
    return codes[0], [line for line in lines if line.strip() and "\r" not in line]


# --- processes -------------------------------------------------------------------------------------------------------


def _to_the_end(command: Command, work: Path, arguments: tuple) -> float:
    """Run without faults; seconds."""
    begin = time.monotonic()
    codes = [_wait(child) for child in _start(command, work, arguments)]
    errors = (work / "stderr-0.txt").read_text()
    assert not any(codes), f"an undisturbed run ended with {codes}: {errors[-1500:]}"
    return time.monotonic() - begin


def _start(command: Command, work: Path, arguments: tuple, limit: int | None = None) -> list[int]:
    """Fork the processes of a command; their ids."""
    port = _free_port()
    children = []
    for rank in range(command.processes):
        child = os.fork()
        if child == 0:
            _run(command, work, arguments, rank, port, limit)
        children.append(child)
    return children


def _run(command: Command, work: Path, arguments: tuple, rank: int, port: int, limit: int | None) -> None:
    """In the child; does not return."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(work / f"{name}-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.chdir(work)
    if command.processes > 1:
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": command.processes, "LOCAL_WORLD_SIZE": 2}
        os.environ.update({name: str(value) for name, value in places.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    code = 1
    try:
        from glus_hf.cli.main import main as run_command

        run_command(list(arguments))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _wait(child: int) -> int:
    """Exit code, negative for a signal."""
    until = time.monotonic() + SLOWEST
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
