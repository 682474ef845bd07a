"""docs/own-data.md: its training block, on the clips of examples/make_clips.py, gives the figures that it prints."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.paths import ROOT


PAGE = ROOT / "docs" / "own-data.md"


def training_block() -> str:
    section = PAGE.read_text().split("\n## Train\n")[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def printed_figures() -> tuple[float, float]:
    before, after = re.search(r"J&F on `valid` rises from ([0-9.]+) to ([0-9.]+)", PAGE.read_text()).groups()
    return float(before), float(after)


def run(folder, *command) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def j_and_f(folder, model: str, output: str) -> float:
    """In percent, on the split that was not trained on."""
    data = ["--dataset", "own", "--data-dir", "clips", "--split", "valid"]
    run(folder, "-m", "glus_hf.cli", "evaluate", *data, "--model", model, "--output", output, "--quiet")
    return 100 * json.loads((folder / output / "summary.json").read_text())["totals"]["J&F"]


def test_the_page_prints_a_gain():
    before, after = printed_figures()
    assert after > before + 5
    assert "max_steps=" in training_block() and "warmup_steps" not in training_block()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_block_raises_j_and_f_as_printed(tmp_path):
    run(tmp_path, ROOT / "examples" / "make_clips.py", "clips")
    (tmp_path / "block.py").write_text(training_block())
    run(tmp_path, "block.py")
    before, after = printed_figures()
    assert j_and_f(tmp_path, "glus-tiny", "before") == pytest.approx(before, abs=0.1)
    assert j_and_f(tmp_path, "my-glus", "after") == pytest.approx(after, abs=5)  # rounding differs between machines
    assert j_and_f(tmp_path, "run/checkpoint-100", "checkpoint") == pytest.approx(after, abs=5)
