"""Videos, images, expressions and datasets: refused in one line, or the right result."""

import os

import pytest

from tests.hostile.cases import MEDIA
from tests.hostile.parameters import parameters


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs fork, inotify and resource limits")


@pytest.mark.parametrize("name", parameters(MEDIA))
def test_case(sandbox, name):
    sandbox.check(name)
