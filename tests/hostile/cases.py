"""What a hostile case is, and the list of all. The groups are in the files `*_cases.py`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


MEDIA = {"video": 10, "image": 10, "text": 7, "dataset": 13, "object": 10, "tar": 7}
MODELS = {"checkpoint": 10, "processor": 15, "pair": 16, "prompt": 40, "recipe": 20, "family": 50}
RESULTS = {"resume": 10, "prediction": 10, "output": 18, "report": 12, "many": 40}
GROUPS = {**MEDIA, **MODELS, **RESULTS}
"""Of each group, and of each kind of case in it, every n-th case is in the quick suite: the first always is."""

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


def quick_cases(group: str) -> set[str]:
    """Names of the cases of a group that are in the quick suite."""
    kinds: dict[tuple, list[str]] = {}
    for case in group_cases(group):
        if not case.slow:
            kinds.setdefault((_called(case), case.expect), []).append(case.name)
    return {name for names in kinds.values() for name in names[:: GROUPS[group]]}


def _called(case: Case) -> tuple[str, ...]:
    """The command, or the function, that a case calls."""
    if callable(case.call):
        return (case.call.__qualname__,)
    words = tuple(map(str, case.call))
    return words[: 2 if words[0] == "data" else 1]


def all_cases() -> dict[str, Case]:
    """Every case by its name."""
    cases = {}
    for group in GROUPS:
        for case in group_cases(group):
            assert case.name not in cases, f"two cases are named {case.name}"
            cases[case.name] = case
    return cases
