"""Run a function in a forked child whose memory and time are limited, and tell what came of it and what it took."""

import faulthandler
import os
import pickle
import resource
import signal
import tempfile
import time
import traceback
from dataclasses import dataclass


SECONDS, MORE_SECONDS = 120, 10  # until the child says where it is, and from then until it is killed


@dataclass
class Outcome:
    """`value` returned or `error` raised (its text), and how much resident memory the call added at most, in MB."""

    value: object
    error: str | None
    kind: str | None
    added_mb: float


def run_limited(function, *, address_space_gb: float | None = None, seconds: float = SECONDS) -> Outcome:
    """What `function()` returns must be small and picklable. A child that has not ended after `seconds` (it may wait
    for a lock that a thread of the parent had when it was forked) is killed, and an AssertionError says where it was.
    """
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as told:
        child = os.fork()
        if child == 0:
            _answer(function, address_space_gb, seconds, answer, told)
        status = _wait(child, seconds + MORE_SECONDS)
        answer.seek(0), told.seek(0)
        said = told.read().decode(errors="replace")
        assert status is not None, f"the child did not end in {seconds} seconds and was killed:\n{said}"
        assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}:\n{said}"
        return pickle.load(answer)


def _answer(function, address_space_gb: float | None, seconds: float, answer, told) -> None:
    """In the child; does not return, whatever happens: it would go on with the other tests."""
    code = 1
    try:
        faulthandler.dump_traceback_later(seconds, file=told)
        pickle.dump(_call(function, address_space_gb), answer)
        answer.flush()
        code = 0
    except BaseException:
        told.write(traceback.format_exc().encode())
        told.flush()
    finally:
        os._exit(code)


def _wait(child: int, seconds: float) -> int | None:
    """Status of a child that has ended; None of one that had to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _call(function, address_space_gb: float | None) -> Outcome:
    _reset_peak()
    before = _peak_mb()
    value = error = kind = None
    try:
        if address_space_gb is not None:
            limit = _virtual_bytes() + int(address_space_gb * 1e9)  # beyond what the libraries have mapped
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        value = function()
    except Exception as raised:
        error, kind = str(raised), type(raised).__name__
        if kind not in ("VideoError", "DatasetFileError", "TarError", "UserError"):
            error = traceback.format_exc()
    return Outcome(value, error, kind, _peak_mb() - before)


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak_mb() -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1000


def _virtual_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
