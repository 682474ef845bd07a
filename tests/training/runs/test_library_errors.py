"""Errors of libraries during a run: what a user can set right is one line, a defect keeps its type."""

import pytest
from safetensors import SafetensorError

from glus_hf.errors import ConfigError, UserError
from glus_hf.training.arguments import GLUSTrainingArguments
from glus_hf.training.runs.library_errors import library_errors, make_arguments


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("WandbCallback requires wandb to be installed."), "WandbCallback requires wandb to be"),
        (RuntimeError("[enforce fail] .\nPytorchStreamWriter failed writing file"), "a file could not be written"),
        (SafetensorError("Error while serializing: I/O error: No space left on device"), "is the disk full?"),
        (ImportError("no module named deepspeed"), "deepspeed; install it, or leave out what needs it"),
    ],
)
def test_what_a_user_can_set_right_is_one_line(error, message):
    with pytest.raises(UserError, match=message) as caught, library_errors("out/run", None):
        raise error
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("out/run: ") == ("disk" in str(caught.value))


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("a defect")])
def test_defects_keep_their_type(error):
    with pytest.raises(type(error), match=str(error)) as caught, library_errors():
        raise error
    assert not isinstance(caught.value, UserError)


def test_arguments_that_do_not_go_together_are_one_line(tmp_path):
    values = {"output_dir": str(tmp_path), "load_best_model_at_end": True, "eval_strategy": "no", "use_cpu": True}
    with pytest.raises(ConfigError, match="^training: .*strategy") as caught:
        make_arguments(GLUSTrainingArguments, values)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="^lora_rank must be 1 or more"):
        make_arguments(GLUSTrainingArguments, {"output_dir": str(tmp_path), "lora_rank": 0, "use_cpu": True})


def test_a_configuration_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="^training: [^\n]*No such file or directory: 'none.json'; correct it"):
        values = {"output_dir": str(tmp_path), "accelerator_config": "none.json", "use_cpu": True}
        make_arguments(GLUSTrainingArguments, values)
