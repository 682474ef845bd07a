"""`glus-hf pseudo-label`: what it says of expressions that fail, and masks as a dataset."""

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


def test_masks_of_videos_without_any_become_a_dataset(tmp_path):
    """The loop of the paper's outlook: own videos, expressions, no masks; then a folder that training takes."""
    generate = ["--dataset", "motion_shapes", "--split", "train", "--num-videos", "1", "--device", "cpu", "--json"]
    generate += ["--data-option", "size=48", "--data-option", "num_frames=5"]
    command = [
        "pseudo-label",
        "--masks",
        "--min-score",
        "0.3",
        "--min-agreement",
        "0.3",
        "-o",
        str(tmp_path / "pseudo"),
    ]
    first = CliRunner().invoke(app, [*command, *generate])
    assert first.exit_code == 0, first.stderr
    report = json.loads(first.stdout.splitlines()[-1])
    assert report["num_kept"] > 0 and report["clips"] == str(tmp_path / "pseudo" / "clips")
    check = CliRunner().invoke(app, ["data", "check", report["clips"]])
    assert check.exit_code == 0 and f"{report['num_kept']} expression" in check.stdout
    again = CliRunner().invoke(app, [*command, *generate, "--min-score", "1", "--min-agreement", "1"])
    assert again.exit_code == 2 and "lower --min-score or --min-agreement" in again.stderr
    assert (tmp_path / "pseudo" / "clips" / "expressions.jsonl").is_file()  # what was there stays
    part = CliRunner().invoke(app, [*command, *generate, "--half"])
    assert part.exit_code == 2 and part.stderr.startswith("Error: --masks labels all videos")
