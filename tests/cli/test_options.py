from types import SimpleNamespace

import pytest
from transformers.utils import logging

from glus_hf.cli.options import load_pipeline, set_views
from glus_hf.errors import CheckpointError, UserError


def test_a_wait_for_the_hub_is_announced_where_progress_is_shown(monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for shown, words in ((True, "Looking for owner/name on the Hub and in its cache ...\n"), (False, "")):
        monkeypatch.setattr(logging, "is_progress_bar_enabled", lambda shown=shown: shown)
        with pytest.raises(CheckpointError, match="owner/name"):
            load_pipeline("owner/name", None, "auto")
        assert capsys.readouterr().err == words


def test_views_of_a_model_that_makes_them_on_the_cpu():
    pipe = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(model_type="glee")), processor=object())
    set_views(pipe, "pil")  # as it does
    with pytest.raises(UserError, match="^--views device: a glee model makes its views on the CPU; leave it out$"):
        set_views(pipe, "device")


def test_views_that_are_none_are_one_line():
    with pytest.raises(UserError, match="^--views gpu is unknown; use auto, pil, device$"):
        load_pipeline("glus-tiny", None, "auto", views="gpu")
