"""Two processes do what one does, started by torchrun and by accelerate with the configurations of examples/."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.paths import ROOT
from tests.training.launchers import COMMAND, CONFIGS, accelerate, losses, python_path, run, torchrun
from tests.training.small_training import saved_model, tiny_run
from tests.warm_python import warm_python
from tests.warm_ranks import run_ranks


SCRIPT = ROOT / "tests" / "training" / "run_ranks.py"
OPTIONS = {"max_steps": 3, "optim": "sgd", "learning_rate": 0.1, "contrastive_gather": True}


def launch(launcher: list[str] | int, output: Path, **options) -> dict:
    """Run the script with a launcher, or in as many processes without one; its record and what it trained."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path()}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(output / "cache")}
    output.mkdir(parents=True, exist_ok=True)
    command = [str(SCRIPT), str(output), json.dumps({**OPTIONS, **options})]
    if isinstance(launcher, int):
        done = run_ranks(launcher, command, cwd=ROOT, env=environment)
    else:
        command = [sys.executable, *launcher, *command]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    record = json.loads((output / "record.json").read_text())
    return record | {"trained": torch.load(output / "trained.pt", weights_only=True)}


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    return launch(1, tmp_path_factory.mktemp("one"), total_train_batch_size=4)


def assert_alike(found, expected):
    for name in ("loss", "grad_norm", "ce_loss", "mask_bce_loss", "mask_dice_loss", "contrastive_loss"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4), name
    torch.testing.assert_close(found["trained"], expected["trained"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("launcher", "batch_size"),
    [
        *(pytest.param(torchrun, size, marks=pytest.mark.slow) for size in (1, 2)),
        pytest.param(lambda: accelerate("multi_cpu.yaml"), 1, marks=pytest.mark.slow),
        (lambda: 2, 1),
    ],
    ids=["torchrun-1", "torchrun-2", "accelerate-1", "processes-1"],
)
def test_two_ranks_equal_one(tmp_path, one_rank, launcher, batch_size):
    """The same four videos per step, as 1 x 2 x 2 and 2 x 2 x 1 instead of 2 x 1 x 2; contrastive bank shared."""
    assert (one_rank["ranks"], one_rank["accumulation"]) == (1, 2)
    # one batch per step: then the contrastive bank fills up in the same order
    reference = one_rank if batch_size == 1 else launch(1, tmp_path / "one", per_device_train_batch_size=4)
    two = launch(launcher(), tmp_path / "two", total_train_batch_size=4, per_device_train_batch_size=batch_size)
    assert two["ranks"] == 2 and two["accumulation"] == 2 // batch_size
    assert max(two["contrastive_loss"]) > 0
    assert_alike(two, reference)


@pytest.mark.slow
def test_two_ranks_share_the_negatives_of_the_batch(tmp_path):
    """One process with four videos and two with two each: the gradient of a token comes from the anchors of both."""
    options = {"contrastive_negatives": "batch", "contrastive_loss_weight": 1.0, "total_train_batch_size": 4}
    one = launch(1, tmp_path / "one", **options, per_device_train_batch_size=4)
    two = launch(torchrun(), tmp_path / "two", **options, per_device_train_batch_size=2)
    assert max(two["contrastive_loss"]) > 0
    assert_alike(two, one)


@pytest.mark.slow
def test_two_ranks_resume(tmp_path):
    """With a contrastive bank per process."""
    options = {"contrastive_gather": False, "lora_dropout": 0.1, "per_device_train_batch_size": 1}
    whole = launch(torchrun(), tmp_path, **options, save_strategy="steps", save_steps=1)
    again = launch(torchrun(), tmp_path, **options, resume=str(tmp_path / "checkpoint-2"))
    assert again["loss"] == whole["loss"] and again["grad_norm"] == whole["grad_norm"]
    torch.testing.assert_close(again["trained"], whole["trained"], rtol=0, atol=0)


@pytest.mark.slow
def test_two_ranks_evaluate_together(tmp_path):
    options = {"max_steps": 1, "eval_steps": 1, "validate": True, "per_device_train_batch_size": 1}
    one = launch(1, tmp_path / "one", **options, total_train_batch_size=2)
    two = launch(torchrun(), tmp_path / "two", **options, total_train_batch_size=2)
    assert len(two["eval_J&F"]) == 1
    assert two["eval_J&F"] == pytest.approx(one["eval_J&F"], abs=0.5)


@pytest.mark.slow
def test_sharded_layers_give_the_same_gradients(tmp_path):
    """FSDP2 of a model with an adapter, units as in fsdp2.yaml."""
    done = run([*torchrun(), str(ROOT / "tests" / "training" / "run_fsdp.py")], HF_DATASETS_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("agrees") == 2


@pytest.mark.parametrize("config", ["multi_cpu", "zero2", "fsdp2"])
def test_accelerate_reads_its_configurations(config):
    from accelerate.commands.config.config_args import load_config_from_file

    read = load_config_from_file(str(CONFIGS / f"{config}.yaml"))
    expected = {"multi_cpu": ("MULTI_GPU", 2), "zero2": ("DEEPSPEED", 4), "fsdp2": ("FSDP", 4)}
    assert (str(read.distributed_type.value), read.num_processes) == expected[config]


def test_zero2(tmp_path):
    """accelerate knows DeepSpeed with one process only where there is no GPU."""
    pytest.importorskip("deepspeed")
    options = {"gradient_accumulation_steps": 2, "use_cpu": False}
    launcher = [*accelerate("zero2.yaml"), "--num_processes", "1", "--mixed_precision", "no"]
    found = launch(launcher, tmp_path / "zero2", optim="adamw_torch", learning_rate=1e-3, **options)
    plain = launch(1, tmp_path / "plain", optim="adamw_torch", learning_rate=1e-3, gradient_accumulation_steps=2)
    assert found["strategy"] == "DistributedType.DEEPSPEED"
    for name in ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss"):
        assert found[name] == pytest.approx(plain[name], rel=1e-3), name


TRAIN = str(ROOT / "examples" / "train.py")
TINY = str(ROOT / "examples" / "configs" / "tiny.yaml")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("base"))


LAUNCHERS = {
    "python": [TRAIN, TINY],
    "torchrun": [*torchrun(), TRAIN, TINY],
    "accelerate": [*accelerate("multi_cpu.yaml"), TRAIN, TINY],
    "command": [*accelerate("multi_cpu.yaml"), "--no_python", COMMAND, "train", "tiny"],
}


def trained(folder: Path, base: Path, command: list[str], python, *options: str) -> list[float]:
    """Train, export into `folder / "model"`; the losses."""
    done = run([*command, *tiny_run(folder, base, "training.contrastive_loss_weight=0"), *options], python)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return losses(folder)


@pytest.fixture(scope="module")
def by_python(tmp_path_factory, base):
    folder = tmp_path_factory.mktemp("python") / "run"
    found = trained(folder, base, LAUNCHERS["python"], warm_python())
    assert len(found) == 3 and (folder / "model" / "model.safetensors").is_file()
    return folder, found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchrun", "accelerate", "command"])
def test_the_command_and_the_script_under_every_launcher(tmp_path, base, by_python, name):
    """Python, torchrun and accelerate train the same model and export it."""
    assert trained(tmp_path, base, LAUNCHERS[name], (sys.executable,)) == pytest.approx(by_python[1], rel=1e-4)
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_the_command_under_a_launcher(tmp_path, base, by_python):
    """As above, started by warm Pythons instead of the script `glus-hf`."""
    command = [*accelerate("multi_cpu.yaml"), "--no_python", *warm_python(), "-m", "glus_hf.cli", "train", "tiny"]
    assert trained(tmp_path, base, command, warm_python()) == pytest.approx(by_python[1], rel=1e-4)
    assert (tmp_path / "model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_stopped_run_of_the_script_goes_on(tmp_path, base, by_python):
    folder, found = by_python
    checkpoint = ["--export", str(tmp_path / "again"), "--resume", str(folder / "run" / "checkpoint-1")]
    assert trained(folder, base, LAUNCHERS["python"], warm_python(), *checkpoint) == found
