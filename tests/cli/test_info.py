"""`glus-hf info`."""

from typer.testing import CliRunner

from glus_hf.cli.main import app
from tests.models.glus_selector.small_selector import small_selector


def test_info_of_a_selector(tmp_path):
    small_selector()[0].save_pretrained(tmp_path)
    result = CliRunner().invoke(app, ["info", "--model", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert "score_head" in result.stdout and "all" in result.stdout


def test_info():
    result = CliRunner().invoke(app, ["info", "--model", "glus-tiny"])
    assert result.exit_code == 0
    for word in ("glus-hf", "torch", "transformers", "cpu", "glus-tiny", "parameters", "all"):
        assert word in result.stdout
