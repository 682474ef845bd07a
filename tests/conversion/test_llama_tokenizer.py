"""The tokenizer of a folder of the original code, and what is said where nothing can read it."""

import sys

import pytest

from glus_hf.conversion.llama_tokenizer import load_tokenizer
from glus_hf.errors import CheckpointError
from tests.paths import FIXTURES


def test_without_sentencepiece_one_line_is_all_that_is_said(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # as if it were not installed
    with pytest.raises(CheckpointError, match="^[^\n]*needs sentencepiece and protobuf; pip install "):
        load_tokenizer(FIXTURES / "upstream_tiny" / "checkpoint")
    assert capfd.readouterr() == ("", "")
