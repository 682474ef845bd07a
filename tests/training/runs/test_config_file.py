"""YAML as dataclasses: what is wrong is said in one line, and numbers are what they look like."""

import os

import pytest

from glus_hf.errors import ConfigError
from glus_hf.training.glus_run_config import load_run_config
from tests.training.runs.run_files import DATA, write


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="no such file: check the path"):
        load_run_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\nb: 2")
    with pytest.raises(ConfigError, match=r"is no YAML \([^\n]*; correct it$"):
        load_run_config(tmp_path / "broken.yaml")
    (tmp_path / "text.yaml").write_text("a text")
    with pytest.raises(ConfigError, match="the file must be keys with values, got 'a text'"):
        load_run_config(tmp_path / "text.yaml", ["model.dtype=float32"])


def test_numbers_without_a_point(tmp_path):
    """YAML takes 3e-4 for text."""
    file = write(tmp_path, {**DATA, "training": {"learning_rate": "3e-4", "max_steps": "7"}})
    assert load_run_config(file, ["training.warmup_steps=1e1"]).training == {
        "learning_rate": 3e-4,
        "max_steps": 7,
        "warmup_steps": 10.0,
    }


def test_fields_of_several_kinds(tmp_path):
    training = {"report_to": ["none"], "lr_scheduler_kwargs": {"a": 1}, "run_name": None, "max_steps": 1e3}
    assert load_run_config(write(tmp_path, {**DATA, "training": training})).training == training


def test_a_bare_no_is_a_strategy(tmp_path):
    """YAML takes no for false."""
    file = write(tmp_path, DATA)
    config = load_run_config(file, ["training.eval_strategy=no", "training.save_strategy=steps", "training.bf16=no"])
    assert config.training == {"eval_strategy": "no", "save_strategy": "steps", "bf16": False}


def test_overrides(tmp_path):
    file = write(tmp_path, DATA)
    config = load_run_config(file, ["data.train.0.weight=2", "model.options.num_maskmem=0", "export=out"])
    assert (config.data.train[0].weight, config.model.options, config.export) == (2, {"num_maskmem": 0}, "out")
    for wrong in ("max_steps", "data.train.3.weight=1", "data.train.x=1", "training.lernrate=1", "export=[1", "=1"):
        with pytest.raises(ConfigError):
            load_run_config(file, [wrong])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 200_000, "is no YAML"),
        ("a: 2020-99-99", "is no YAML"),
        ("a: &a [1]\n" + "b: [" + "*a, " * 21 + "]", "more than 20 aliases"),
        ("model: &a {b: *a}", "is no YAML"),
        ("model: [" + "1, " * 10_000 + "]", "model must be keys with values, got "),
        ("!!python/object/apply:os.system [ls]", "is no YAML"),
        ("#" * 10**6 + "\n", "run.yaml: [^\n]*1 MB"),
        ("a: !!int ''", "is no YAML"),
        ("a: !!bool maybe", "is no YAML"),
        ("a: !!timestamp x", "is no YAML"),
        ("a: 1" + ":59" * 300 + ".5", "a number of more than 100 letters"),
        ("a: 1" + ":59" * 300_000, "a number of more than 100 letters"),
        ("".join(f"k{number}: 1\n" for number in range(50_000)), "more than"),
        ("model: {dtype: float32}\ntraining: {learning_rate: .inf}", "must be a finite number"),
    ],
)
def test_hostile_files_are_one_short_line(tmp_path, content, message):
    file = tmp_path / "run.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=f"^[^\n]*{message}") as caught:
        load_run_config(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match="run.yaml: is a named pipe"):
        load_run_config(tmp_path / "run.yaml")


def test_a_hostile_override_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="is no position in a list of 1"):
        load_run_config(write(tmp_path, DATA), [f"data.train.{'9' * 5000}.name=x"])
    with pytest.raises(ConfigError, match="^[^\n]*the value cannot be read as YAML; quote it$"):
        load_run_config(write(tmp_path, DATA), ["training.max_steps=" + "[" * 200_000])
