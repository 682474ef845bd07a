"""The child that the tests of limits run in ends whatever is in it."""

import os
import threading
import time

import pytest

from tests.media.limited_child import run_limited


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs fork and resource limits")


def test_a_child_gives_its_value_or_its_error():
    assert run_limited(lambda: 7).value == 7
    outcome = run_limited(lambda: bytearray(3 << 30), address_space_gb=0.5)
    assert outcome.kind == "MemoryError" and outcome.added_mb < 500


def test_a_child_that_waits_for_a_lock_of_its_parent_is_killed_and_says_where(monkeypatch):
    monkeypatch.setattr("tests.media.limited_child.MORE_SECONDS", 1)
    lock, begin = threading.Lock(), time.monotonic()

    def waits_for_ever():
        with lock:
            pass

    with lock, pytest.raises(AssertionError, match="did not end in 1 seconds(.|\n)*in waits_for_ever"):
        run_limited(waits_for_ever, seconds=1)
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_child_never_goes_on_with_the_tests_of_its_parent(end):
    def ends():
        raise end

    with pytest.raises(AssertionError, match=f"ended with 1:(.|\n)*{end.__name__}"):
        run_limited(ends)
    with pytest.raises(AssertionError, match="(?i)pickle"):
        run_limited(lambda: lambda: 0)
