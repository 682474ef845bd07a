"""Every hostile case ends as it must: one line or the right result; nothing run, lost or hung."""

import os

import pytest

from tests.hostile.cases import GROUPS, all_cases, group_cases, quick_cases
from tests.hostile.sandbox import Sandbox


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs fork, inotify and resource limits")
SLOW = [pytest.mark.slow]
LEAST_CASES = 150


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with Sandbox(tmp_path_factory.mktemp("hostile")) as running:
        yield running


QUICK = set(quick_cases())


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else SLOW) for name in all_cases()])
def test_case(sandbox, name):
    result = sandbox.run(name)
    assert not result["problems"], f"{result['problems']}\n{result['err'][-1500:]}\n{result['out'][-500:]}"


def test_there_are_enough_cases_of_every_group():
    assert len(QUICK) >= LEAST_CASES
    assert all(len(group_cases(group)) >= 8 for group in GROUPS)
