"""What a hostile case is, and the list of all. The groups are in the files `*_cases.py`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


GROUPS = {
    "video": 3,
    "image": 3,
    "text": 4,
    "dataset": 4,
    "object": 4,
    "tar": 1,
    "checkpoint": 4,
    "processor": 6,
    "resume": 6,
    "prediction": 4,
    "output": 6,
    "report": 6,
    "pair": 5,
    "many": 20,
    "prompt": 15,
    "recipe": 12,
    "family": 30,
}
"""Of each group every n-th case is in the quick suite; a model is loaded for some, which takes a second."""

ONE_LINE, WORKS, PROBLEMS, USAGE = "one line", "works", "problems", "usage"
"""Refused in one line, exit code 2; exit code 0; problems listed on stdout, exit code 2 (`data check`); refused in one
line that names a wrong option, exit code 2."""


@dataclass(frozen=True)
class Case:
    """One input that is bad, or only odd, and what must become of it.

    Attributes:
        name: unique among all cases.
        make: writes the files, into the working folder it is given; `outside` beside that folder is foreign ground.
        call: arguments of `glus-hf`, or a function of the working folder; both run in the working folder.
        expect: `ONE_LINE`, `WORKS`, `PROBLEMS` or `USAGE`.
        words: what the line, or stdout, must hold: the path or the argument.
        writes: paths in the working folder below which files may appear or change.
        check: called with the working folder and stdout afterwards; an `AssertionError` fails the case.
        reads_outside: the input names files in `outside` openly (a link, an argument), so they may be opened.
        connects: the input is an address, so it may be asked.
        warns: further lines on stderr are meant.
        slow: not in the quick suite.
    """

    name: str
    make: Callable[[Path], object]
    call: Sequence[str] | Callable[[Path], object]
    expect: str = ONE_LINE
    words: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    check: Callable[[Path, str], object] | None = None
    reads_outside: bool = False
    connects: bool = False
    warns: bool = False
    slow: bool = False


def group_cases(group: str) -> list[Case]:
    """The cases of one group."""
    return importlib.import_module(f"tests.hostile.{group}_cases").CASES


def quick_cases() -> list[str]:
    """Names of the cases of the quick suite."""
    chosen = [case for group, step in GROUPS.items() for case in group_cases(group)[::step]]
    return [case.name for case in chosen if not case.slow]


def all_cases() -> dict[str, Case]:
    """Every case by its name."""
    cases = {}
    for group in GROUPS:
        for case in group_cases(group):
            assert case.name not in cases, f"two cases are named {case.name}"
            cases[case.name] = case
    return cases
