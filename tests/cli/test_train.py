"""`glus-hf train`: recipes, resuming, one-line errors. Launchers: tests/training/test_distributed.py."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from glus_hf import GLUSForVideoSegmentation, GLUSSelector
from glus_hf.cli.main import app
from glus_hf.cli.train import with_resume_value
from tests.models.glus_selector.small_selector import small_selector
from tests.training.runs.selector_data import labelled_rows
from tests.training.small_training import saved_model, tiny_run


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("base"))


def train(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_a_recipe_is_trained_exported_and_resumed(tmp_path, base):
    overrides = tiny_run(tmp_path, base, "training.max_steps=1")
    result = train("tiny", *overrides)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"Model: {tmp_path / 'model'}\n")
    assert GLUSForVideoSegmentation.from_pretrained(tmp_path / "model").config.model_type == "glus"
    result = train("tiny", *overrides, "--resume", "training.max_steps=2", "--export", tmp_path / "more")
    assert result.exit_code == 0, result.output
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert state["global_step"] == 2 and (tmp_path / "more" / "model.safetensors").is_file()


def test_without_a_configuration_the_bundled_model_trains_on_generated_clips(tmp_path, base):
    result = train(*tiny_run(tmp_path, base, "training.max_steps=1"))
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"Model: {tmp_path / 'model'}\n")
    assert "pass glus_s data.root=FOLDER" in result.stderr
    assert train("--show").stdout == train("tiny", "--show").stdout


def test_resume_without_a_complete_checkpoint_starts_anew(tmp_path, base):
    """A run that was killed while it wrote its first checkpoint goes on by the same command."""
    half = tmp_path / "run" / "checkpoint-1"
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"12345678{")
    (half / "trainer_state.json").write_text('{"global_step": 1, "epoch": 0.5}')
    command = [*tiny_run(tmp_path, base, "training.max_steps=1", "training.save_steps=5"), "--resume"]
    result = train("tiny", *command)
    assert result.exit_code == 0, result.output
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert state["global_step"] == 1 and (tmp_path / "model" / "model.safetensors").is_file()


def test_the_model_to_start_from_decides_what_is_trained(tmp_path):
    model, processor = small_selector()
    model.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    dataset, labels = labelled_rows(tmp_path)
    section = {"name": "motion_shapes", "split": "test", "options": dataset, "labels": str(labels)}
    training = {"max_steps": 1, "total_train_batch_size": 2, "per_device_train_batch_size": 1, "use_cpu": True}
    config = {
        "model": {"pretrained": str(tmp_path / "start")},
        "data": {"train": [section], "context_frames": [2, 3], "cache_dir": str(tmp_path / "cache")},
        "training": {"output_dir": str(tmp_path / "run"), **training},
        "export": str(tmp_path / "model"),
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(config))
    result = train(file)
    assert result.exit_code == 0, result.output
    assert GLUSSelector.from_pretrained(tmp_path / "model").config.model_type == "glus_selector"


def test_show_prints_the_recipe():
    result = train("tiny", "--show")
    assert result.exit_code == 0 and yaml.safe_load(result.stdout)["model"] == {"pretrained": "glus-tiny"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["training.learning_rte=1"], "unknown key training.learning_rte; did you mean training.learning_rate?"),
        (["training.total_train_batch_size=80"], "the training set has 8 videos, an optimizer step takes 80"),
        (["model.pretrained=/no/such/folder"], "/no/such/folder"),
        (["model=glus-tiny"], "model must be keys with values"),
        (["data.train.0.name=mevs"], "unknown dataset 'mevs'"),
        (["training.learning_rate=.nan"], "training.learning_rate must be a finite number, got nan"),
        (["data.train.0.options.num_frames=3"], "3 frames, a sample needs 4"),
        (["training.lr_scheduler_type=steep"], "training: steep is not a valid SchedulerType"),
        (["training.report_to=[clearml]"], "clearml"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, base, arguments, message):
    result = train("tiny", *tiny_run(tmp_path, base, *arguments))
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert result.exit_code == 2 and message in line and "Traceback" not in result.stderr


def test_a_name_that_is_no_recipe():
    result = train("tinny")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: tinny: there is no such file; name a file, or one of the recipes")
    assert "tiny" in result.stderr and "selector" in result.stderr


def test_a_model_that_cannot_be_trained(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "chat_univi"}')
    result = train("tiny", f"model.pretrained={tmp_path}")
    assert result.exit_code == 2 and "is a 'chat_univi' model; training starts from glus or" in result.stderr


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        (["a", "--resume"], ["a", "--resume", "last"]),
        (["--resume", "--export", "b"], ["--resume", "last", "--export", "b"]),
        (["--resume", "training.max_steps=5"], ["--resume", "last", "training.max_steps=5"]),
        (["--resume", "runs/checkpoint-5"], ["--resume", "runs/checkpoint-5"]),
        (["--resume=runs/checkpoint-5"], ["--resume=runs/checkpoint-5"]),
    ],
)
def test_resume_alone_means_the_last_checkpoint(given, completed):
    assert with_resume_value(given) == completed
