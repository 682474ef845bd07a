"""Checkpoints to resume from: complete ones, of the same options."""

import pytest

from glus_hf.errors import CheckpointError
from tests.training.small_training import history, quick_trainer


def test_resume_true_takes_the_last_checkpoint(tmp_path):
    trainer = quick_trainer(tmp_path, max_steps=3, save_strategy="steps", save_steps=1)
    with pytest.raises(ValueError, match="no checkpoint"):
        trainer.train(resume_from_checkpoint=True)
    trainer.train()
    longer = quick_trainer(tmp_path, max_steps=4)
    longer.train(resume_from_checkpoint=True)
    assert longer.state.global_step == 4 and len(history(longer)) == 4


@pytest.mark.parametrize("name", ["trainer_state.json", "adapter_model.safetensors"])
def test_a_half_written_checkpoint_is_passed_over(tmp_path, name):
    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    whole = quick_trainer(tmp_path, **options)
    whole.train()
    file = tmp_path / "checkpoint-2" / name
    file.write_bytes(file.read_bytes()[:-20])  # as when killed
    with pytest.raises(CheckpointError, match="^[^\n]*checkpoint-2: is not complete [^\n]*; resume from another"):
        quick_trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    again = quick_trainer(tmp_path, **options)
    again.train(resume_from_checkpoint=True)
    assert history(again) == history(whole)  # step 2 was trained again
    (tmp_path / "checkpoint-1" / "trainer_state.json").unlink()
    (tmp_path / "checkpoint-2" / "trainer_state.json").unlink()
    with pytest.raises(CheckpointError, match="has no complete checkpoint to resume from"):
        again.train(resume_from_checkpoint=True)
    with pytest.raises(CheckpointError, match="checkpoint-1: has no trainer_state.json"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_a_checkpoint_of_other_options_is_refused(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    quick_trainer(tmp_path / "lora", **options).train()
    quick_trainer(tmp_path / "full", **options, language_model_training="full").train()
    for folder, other, named in [
        ("lora", {"lora_rank": 4}, "another lora_rank"),
        ("lora", {"lora_targets": ["q_proj"]}, "another lora_targets"),
        ("lora", {"embedding_training": "new_tokens"}, "and another embedding_training"),
        ("lora", {"mask_branch_training": "frozen"}, r"another choice of parts \(embedding_training, "),
        ("lora", {"language_model_training": "full"}, "another language_model_training"),
        ("full", {}, "another language_model_training"),
        (
            "full",
            {"language_model_training": "full", "embedding_training": "frozen"},
            "another optimizer or other parts",
        ),
    ]:
        message = f"^[^\n]*checkpoint-1: was trained with [^\n]*{named}[^\n]*; resume with the options it"
        with pytest.raises(CheckpointError, match=message):
            quick_trainer(tmp_path / folder, **other).train(resume_from_checkpoint=True)
