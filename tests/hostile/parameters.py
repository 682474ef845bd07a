"""The cases of some groups as parameters of a test."""

import pytest

from tests.hostile.cases import group_cases, quick_cases


def parameters(groups) -> list:
    """The names of the cases; those that are not in the quick suite are marked slow."""
    quick = {name for group in groups for name in quick_cases(group)}
    names = [case.name for group in groups for case in group_cases(group)]
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in names]
