"""Earlier results, predictions, outputs and reports: refused in one line, or the right result."""

import os

import pytest

from tests.hostile.cases import RESULTS
from tests.hostile.parameters import parameters


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs fork, inotify and resource limits")


@pytest.mark.parametrize("name", parameters(RESULTS))
def test_case(sandbox, name):
    sandbox.check(name)
