"""`glus-hf data export`: what plain `datasets.load_dataset` reads again."""

import datasets
from typer.testing import CliRunner

from glus_hf import load_referring_dataset
from glus_hf.cli.main import app


OPTIONS = ("--split", "test", "--num-videos", "2", "--data-option", "size=64", "--quiet")


def export(output, *arguments):
    return CliRunner().invoke(app, ["data", "export", "motion_shapes", "-o", str(output), *OPTIONS, *arguments])


def test_plain_load_dataset_reads_the_same_rows(tmp_path):
    file = tmp_path / "test.parquet"
    result = export(file)
    assert result.exit_code == 0, result.output
    read = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=tmp_path / "cache")
    rows = load_referring_dataset("motion_shapes", split="test", num_videos=2, size=64, cache_dir=tmp_path / "rows")
    assert result.stdout == f"Wrote {file}: {len(rows)} rows\n"
    assert read.to_list() == rows.to_list()


def test_the_output_is_claimed(tmp_path):
    file = tmp_path / "test.parquet"
    assert export(file).exit_code == 0
    refused = export(file)
    assert refused.exit_code == 2 and "use --overwrite" in refused.stderr
    assert export(file, "--overwrite", "--embed-images").exit_code == 0
    images = datasets.Dataset.from_parquet(str(file), cache_dir=tmp_path / "cache")[0]["images"]
    assert len(images) == len(datasets.Dataset.from_parquet(str(file), cache_dir=tmp_path / "cache")[0]["frames"])


def test_a_dataset_that_is_not_there_is_one_line(tmp_path):
    command = ["data", "export", "mevis", "--data-dir", str(tmp_path), "-o", str(tmp_path / "x")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
