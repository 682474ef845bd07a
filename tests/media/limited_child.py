"""Run a function in a forked child whose memory is limited, and tell what came of it and what it took."""

import os
import pickle
import resource
import traceback
from dataclasses import dataclass


@dataclass
class Outcome:
    """`value` returned or `error` raised (its text), and how much resident memory the call added at most, in MB."""

    value: object
    error: str | None
    kind: str | None
    added_mb: float


def run_limited(function, *, address_space_gb: float | None = None) -> Outcome:
    """What `function()` returns must be small and picklable."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(_call(function, address_space_gb), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        content = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(content)


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
