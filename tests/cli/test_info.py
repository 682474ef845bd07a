"""`glus-hf info`."""

from peft import LoraConfig, get_peft_model
from typer.testing import CliRunner

from glus_hf import GLUSForVideoSegmentation
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


def test_info_of_an_adapter_is_that_of_its_model(tmp_path):
    model = GLUSForVideoSegmentation.from_pretrained("glus-tiny")
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path)
    results = [CliRunner().invoke(app, ["info", "--model", name]) for name in (str(tmp_path), "glus-tiny")]
    assert results[0].exit_code == 0, results[0].stderr
    assert results[0].stdout == results[1].stdout
