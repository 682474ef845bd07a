"""What docs/training.md says of equal runs: with one thread they are equal, resumed or not, bit for bit."""

import json
import os
import subprocess

import pytest

from tests.paths import ROOT
from tests.warm_python import warm_python


THREADS = "OMP_NUM_THREADS=1"


def train(folder, *more, threads: str = THREADS) -> dict:
    """`glus-hf train tiny` in a process of its own; its state and the bytes of what it trained."""
    overrides = [
        *("data.train.0.options.num_videos=8", "validation.name=''", "training.eval_strategy='no'"),
        *("training.total_train_batch_size=2", "training.per_device_train_batch_size=2", "training.logging_steps=1"),
        *("training.save_steps=2", "training.use_cpu=true", "export=null", f"training.output_dir={folder}"),
        *("training.lr_scheduler_type=constant", "training.warmup_steps=0"),  # the same at 2 and at 4 steps
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **dict([threads.split("=")])}
    command = [*warm_python(), "-m", "glus_hf.cli", "train", "tiny", *overrides, *more]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    losses = [(entry["step"], entry["loss"], entry["grad_norm"]) for entry in log if "loss" in entry]
    return {"losses": losses, "weights": (folder / "adapter_model.safetensors").read_bytes()}


@pytest.mark.slow
def test_equal_runs_are_equal_bit_for_bit_with_one_thread(tmp_path):
    whole, again = (train(tmp_path / name, "training.max_steps=4") for name in ("whole", "again"))
    assert len(whole["losses"]) == 4 and again == whole
    train(tmp_path / "part", "training.max_steps=2")
    assert train(tmp_path / "part", "training.max_steps=4", "--resume") == whole


def test_the_page_and_the_readme_state_the_condition():
    page, readme = ((ROOT / name).read_text() for name in ("docs/training.md", "README.md"))
    said = " ".join(page[page.index("bit for bit") :].split())
    assert "one thread per process" in said[:100] and f"`{THREADS}`" in said[:300]
    assert "bit for bit (on a CPU, one thread)" in readme
