"""A process that has imported everything and forks a child for each case, so that a case costs milliseconds.

    python -m tests.hostile.server FOLDER

reads names of cases, one a line, and answers each with a JSON object in one line; `tests/hostile/sandbox.py` talks to
it. A case runs in a child with limits of address space, time, open files and file size.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

from tests.hostile.cases import Case, all_cases
from tests.hostile.verdict import problems_of
from tests.hostile.watch import OpenedFiles, picture, record_events


# the address space is counted from what the libraries map: a CUDA build of PyTorch alone maps 5 GB
ADDRESS_SPACE, CPU_SECONDS, OPEN_FILES, FILE_SIZE = 6 << 30, 40, 256, 256 << 20
STILL_SECONDS, BUSY_SECONDS = 120, 0.5  # a child that computes less than this in that time hangs
NOT_IMPORTED = ("glus_hf.cli.__main__", "glus_hf.webapp")


def main(folder: Path) -> None:
    import_everything()
    cases = all_cases()
    gc.freeze()  # what is shared with the children stays shared
    print("ready", flush=True)
    for line in sys.stdin:
        name = line.strip()
        print(json.dumps(run_case(cases[name], folder / name)), flush=True)


def import_everything() -> None:
    """All of the package, and what it imports only when it is used."""
    import glus_hf

    for module in pkgutil.walk_packages(glus_hf.__path__, "glus_hf."):
        if not module.name.startswith(NOT_IMPORTED):
            importlib.import_module(module.name)
    import datasets  # noqa: F401
    import torch
    from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer, LlamaTokenizerFast  # noqa: F401

    torch.set_num_threads(1)


def run_case(case: Case, folder: Path) -> dict:
    """Make the files, fork the child that uses them, and say what became of it."""
    work, outside = folder / "work", folder / "outside"
    for path in (work, outside):
        path.mkdir(parents=True)
    (outside / "secret.txt").write_text("secret\n")
    _in_child(lambda: case.make(work))
    before, opened = picture(folder), OpenedFiles(outside)
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        _call(case, work, folder.with_suffix(".out"), folder.with_suffix(".err"), folder.with_suffix(".events"))
    status, usage, hung = _wait(child)
    result = {
        "code": os.waitstatus_to_exitcode(status),
        "hung": hung,
        "seconds": round(time.monotonic() - begin, 2),
        "cpu": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": usage.ru_maxrss // 1024,
        "out": folder.with_suffix(".out").read_bytes().decode("utf-8", "backslashreplace"),
        "err": folder.with_suffix(".err").read_bytes().decode("utf-8", "backslashreplace"),
        "opened_outside": opened.names(),
        "events": folder.with_suffix(".events").read_text().splitlines(),
    }
    os.close(opened.handle)
    result["problems"] = problems_of(case, result, before, picture(folder))
    if case.check is not None and not result["problems"]:
        result["problems"] += _failed_check(case, work, result["out"])
    return result


def _in_child(function) -> None:
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)  # the answers go to stdout
        _end_with(function)
    if os.waitpid(child, 0)[1] != 0:
        raise SystemExit("the files of a case could not be made")


def _end_with(function) -> None:
    """Call, and end this process with 0, or 1 and a traceback."""
    try:
        function()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _failed_check(case: Case, work: Path, out: str) -> list[str]:
    try:
        case.check(work, out)
    except Exception as error:
        return [f"check: {type(error).__name__}: {error}"]
    return []


def _mapped() -> int:
    """Bytes of address space that this process has already."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _call(case: Case, work: Path, out: Path, err: Path, events: Path) -> None:
    """In the child: limits, then the call. Does not return."""
    answers = work.parent.with_suffix(".in")
    answers.write_text("y\n" * 100)  # whoever asks whether to run something is told yes
    os.dup2(os.open(answers, os.O_RDONLY), 0)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.chdir(work)
    os.setpgid(0, 0)
    limits = {"AS": _mapped() + ADDRESS_SPACE, "CPU": CPU_SECONDS, "NOFILE": OPEN_FILES, "FSIZE": FILE_SIZE, "CORE": 0}
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    record_events(events)
    code = 1
    try:
        code = _run(case.call, work)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _run(call, work: Path) -> int:
    from glus_hf.cli.main import main as command
    from glus_hf.errors import UserError

    if not callable(call):
        command([str(argument) for argument in call])
        return 0
    try:
        call(work)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def _wait(child: int) -> tuple[int, resource.struct_rusage, bool]:
    """Exit status, what it used, and whether the child had to be killed. One that only waits for a busy machine goes
    on: its CPU time is limited."""
    looked, used, hung = time.monotonic(), 0.0, False
    while True:
        found, status, usage = os.wait4(child, 0 if hung else os.WNOHANG)
        if found:
            too_long = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
            return status, usage, hung or too_long
        if time.monotonic() > looked + STILL_SECONDS:
            before, used, looked = used, _cpu_seconds(child), time.monotonic()
            hung = used - before < BUSY_SECONDS
            if hung:
                os.killpg(child, signal.SIGKILL)
        time.sleep(0.003)


def _cpu_seconds(child: int) -> float:
    """Of a process and of its children that have ended."""
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
