import pytest
from transformers.utils import logging

from glus_hf.cli.options import load_pipeline
from glus_hf.errors import CheckpointError


def test_a_wait_for_the_hub_is_announced_where_progress_is_shown(monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for shown, words in ((True, "Looking for owner/name on the Hub and in its cache ...\n"), (False, "")):
        monkeypatch.setattr(logging, "is_progress_bar_enabled", lambda shown=shown: shown)
        with pytest.raises(CheckpointError, match="owner/name"):
            load_pipeline("owner/name", None, "auto")
        assert capsys.readouterr().err == words
