"""A Python that has PyTorch loaded: a new process costs a third of the time, because a server forks it.

`[*warm_python(), "-m", "glus_hf.cli", ...]` runs like `[sys.executable, "-m", ...]`: by `subprocess`, with its own
environment, folder, pipes and signals. Loaded are only libraries that read no settings of ours or of Hugging Face.
A test of what a process imports, or of its memory, needs `sys.executable`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path


LOADED = ("torch", "torch._dynamo", "torch.distributed.tensor", "torch.export", "scipy.optimize", "sympy", "pandas")


@functools.cache
def warm_python() -> tuple[str, ...]:
    """The first words of a command line; the server is started by the first call and ends with this process."""
    if not hasattr(os, "pidfd_open"):
        return (sys.executable,)
    address = os.path.join(tempfile.mkdtemp(prefix="glus-hf-warm-"), "socket")
    waiting = socket.socket(socket.AF_UNIX)
    waiting.bind(address)
    waiting.listen(64)
    unwanted = ("PYTHONPATH", *filter(_of_coverage, os.environ))  # the children measure, each into a file of its own
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, __file__, "serve", str(waiting.fileno()), address]
    server = subprocess.Popen(command, pass_fds=[waiting.fileno()], stdin=subprocess.PIPE, env=environment)
    waiting.close()
    atexit.register(server.communicate, timeout=60)
    return (sys.executable, "-I", "-S", __file__, address)


def _of_coverage(name: str) -> bool:
    return name.startswith("COVERAGE_PROCESS_")


def warm_executable(folder: Path) -> str:
    """A program for `sys.executable` of code that starts `python -P -m NAME`: a script for a warm Python."""
    script = folder / "warm-python"
    script.write_text(f'#!/bin/sh\nshift\nexec {shlex.join(warm_python())} "$@"\n')
    script.chmod(0o755)
    return str(script)


# --- the process that a test starts ---------------------------------------------------------------------------------


def ask(address: str, arguments: list[str]) -> int:
    """Let the server fork a process with our arguments, environment, folder and pipes, and end as that ends."""
    interruptible = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
    content = json.dumps({**request, "interruptible": interruptible}).encode()
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    socket.send_fds(server, [len(content).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(content)
    answers = server.makefile()
    child = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[not interruptible :]:
        signal.signal(number, lambda number, frame: os.kill(child, number))
    code = int(answers.readline())
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


# --- the server -----------------------------------------------------------------------------------------------------


def serve(waiting: socket.socket) -> dict | None:
    """Answer until standard input ends. Returns None then, and in every child what it is asked to be."""
    while waiting in select.select([waiting, 0], [], [])[0]:
        client, _ = waiting.accept()
        if os.fork() == 0:
            waiting.close()
            return _fork_asked(client)
        client.close()
        while _reap():
            pass
    return None


def _reap() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def _fork_asked(client: socket.socket) -> dict:
    """Returns in the child only. Its parent tells the client how it ends, and ends it if the client is gone."""
    length, pipes, _, _ = socket.recv_fds(client, 8, 3)
    request = json.loads(client.makefile("rb").read(int.from_bytes(length, "big")))
    child = os.fork()
    if child == 0:
        client.close()
        return {**request, "pipes": pipes}
    for pipe in pipes:
        os.close(pipe)
    client.sendall(f"{child}\n".encode())
    ended = os.pidfd_open(child)
    if ended not in select.select([ended, client], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        client.sendall(f"{code}\n".encode())
    os._exit(0)


def become(request: dict) -> None:
    """Run a program as `__main__`, as `python ARGUMENTS` does in this environment and folder, with these pipes."""
    for number, pipe in enumerate(request["pipes"]):
        os.dup2(pipe, number)
        os.close(pipe)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    signal.signal(signal.SIGINT, signal.default_int_handler if request["interruptible"] else signal.SIG_IGN)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0:1] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if any(map(_of_coverage, os.environ)):
        import coverage

        coverage.process_startup()
    how, *sys.argv[:] = request["arguments"]
    if how == "-c":
        main, code = types.ModuleType("__main__"), sys.argv[0]
        sys.argv[0], sys.modules["__main__"] = "-c", main
        exec(compile(code, "<string>", "exec"), main.__dict__)
    elif how == "-m":
        sys.path[0] = os.getcwd()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv.insert(0, how)
        sys.path[0] = os.path.dirname(os.path.abspath(how))
        runpy.run_path(how, run_name="__main__")


def main() -> None:
    if sys.argv[1] != "serve":
        raise SystemExit(ask(sys.argv[1], sys.argv[2:]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C ends the tests, and they end us
    for name in LOADED:
        __import__(name)
    gc.collect()
    gc.freeze()  # what is shared with the children stays shared
    request = serve(socket.socket(fileno=int(sys.argv[2])))
    if request is not None:
        _end_quickly(*_code_of(request))
    os.unlink(sys.argv[3])
    os.rmdir(os.path.dirname(sys.argv[3]))
    os._exit(0)


def _code_of(request: dict) -> tuple[int, bool]:
    """Become the program; its exit code, and whether a Ctrl-C ended it."""
    try:
        become(request)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0, False
        print(end.code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1, isinstance(error, KeyboardInterrupt)
    else:
        return 0, False
    return 1, False


def _end_quickly(code: int, interrupted: bool) -> None:
    """Without taking the libraries apart, which takes as long as to load them; what is registered for the end runs."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


if __name__ == "__main__":
    main()
