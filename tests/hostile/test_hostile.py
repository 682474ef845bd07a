"""Every hostile case ends as it must: one line or the right result; nothing run, lost or hung."""

import os

import pytest

from tests.hostile.cases import GROUPS, all_cases, group_cases
from tests.hostile.sandbox import Sandbox


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs fork, inotify and resource limits")
LEAST_CASES = 150


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with Sandbox(tmp_path_factory.mktemp("hostile")) as running:
        yield running


def marked(case):
    return pytest.param(case.name, marks=[pytest.mark.slow] if case.slow else [])


@pytest.mark.parametrize("name", [marked(case) for group in GROUPS for case in group_cases(group)])
def test_case(sandbox, name):
    result = sandbox.run(name)
    assert not result["problems"], f"{result['problems']}\n{result['err'][-1500:]}\n{result['out'][-500:]}"


def test_there_are_enough_cases_of_every_group():
    assert len(all_cases()) >= LEAST_CASES
    assert all(len(group_cases(group)) >= 8 for group in GROUPS)
