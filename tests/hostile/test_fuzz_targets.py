"""Every input that was a finding once, and every seed, is answered; and a wrong reader is found."""

import base64

import pytest

from tests.hostile.fuzz import read_findings
from tests.hostile.fuzz_targets import TARGETS


FINDINGS = [(target, name) for target, named in read_findings().items() for name in named]


@pytest.mark.parametrize("target, name", FINDINGS)
def test_a_finding_is_answered(target, name):
    TARGETS[target]()(base64.b64decode(read_findings()[target][name]))


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_their_beginnings_are_answered(target):
    read = TARGETS[target]()
    for seed in read.seeds():
        for share in (1, 0.9, 0.5, 0.1, 0):
            read(seed[: int(len(seed) * share)])


@pytest.mark.parametrize("target, function", [("rle", "decode_rle"), ("json", "read_json"), ("tar", "TarFrames")])
def test_a_wrong_reader_is_found(monkeypatch, target, function):
    def wrong(*arguments):
        raise KeyError("not for users")

    monkeypatch.setattr(f"tests.hostile.fuzz_targets.{function}", wrong)
    read = TARGETS[target]()
    with pytest.raises(KeyError):
        read(read.seeds()[0])
