"""Folders of a run: nothing of an earlier run is written over."""

import pytest

from glus_hf.errors import ConfigError
from glus_hf.training.glus_run_config import load_run_config
from glus_hf.training.runs.run_folders import check_run_folders
from tests.training.runs.run_files import DATA, write


def test_folders_are_checked_before_training(tmp_path):
    file = write(tmp_path, DATA)
    (tmp_path / "file").touch()
    (tmp_path / "old" / "checkpoint-7").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()

    def check(output, export=None, resume=None):
        overrides = [f"training.output_dir={tmp_path / output}"] + ([f"export={tmp_path / export}"] if export else [])
        check_run_folders(load_run_config(file, overrides), resume)

    for wrong, message in {
        ("old",): "old: holds checkpoints of an earlier run; pass --resume [^\n]*$",
        ("file",): "file: is a file; choose another training.output_dir",
        ("model",): "model: holds config.json; choose another training.output_dir",
        ("new", "model"): "model: is not empty; choose a new folder [^\n]*; set export= or --export",
        ("old", "model", True): "model: is not empty",
        ("new", "file"): "file: is a file; choose a new folder",
    }.items():
        with pytest.raises(ConfigError, match=message):
            check(*wrong)
    check("new")
    check("new", "new/inside")
    check("old", resume=True)
