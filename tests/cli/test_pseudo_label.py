"""`glus-hf pseudo-label`: what it says of expressions that fail."""

import json

from typer.testing import CliRunner

from glus_hf.cli.main import app
from tests.data.own.own_folders import CLIP, runs_of, write_frames, write_lines


def test_skipped_expressions_are_named(tmp_path):
    write_frames(tmp_path / "own" / "videos" / "clip1")
    masks = runs_of(CLIP.masks[0])
    texts = ["the first thing", "thing " * 400]
    write_lines(tmp_path / "own", [{"video": "clip1", "expression": text, "masks": masks} for text in texts])
    arguments = ["pseudo-label", "--dataset", "own", "--data-dir", str(tmp_path / "own"), "--device", "cpu"]
    arguments += ["--output", str(tmp_path / "labels"), "--data-option", f'cache_dir="{tmp_path / "cache"}"']
    result = CliRunner().invoke(app, [*arguments, "--on-error", "skip", "--json"])
    assert result.exit_code == 0, result.stderr
    (failed,) = [line for line in result.stderr.splitlines() if line.startswith("Failed: ")]
    assert failed.startswith("Failed: video clip1, expression 1: ") and "tokens" in failed
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["num_expressions"] == 1 and report["failures"][0]["expression_id"] == "1"
