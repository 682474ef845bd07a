"""One fork server for all hostile cases of a test process."""

import pytest

from tests.hostile.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory):
    with Sandbox(tmp_path_factory.mktemp("hostile")) as running:
        yield running
