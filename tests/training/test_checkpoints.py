"""Checkpoints to resume from: complete ones, of the same options."""

import os
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from glus_hf.errors import CheckpointError, UserError
from glus_hf.training.checkpoints import checkpoint_to_resume, newest_complete
from tests.training.small_training import history, quick_trainer


def test_resume_true_takes_the_last_checkpoint(tmp_path):
    trainer = quick_trainer(tmp_path, max_steps=3, save_strategy="steps", save_steps=1)
    with pytest.raises(ValueError, match="no checkpoint"):
        trainer.train(resume_from_checkpoint=True)
    trainer.train()
    longer = quick_trainer(tmp_path, max_steps=4)
    longer.train(resume_from_checkpoint=True)
    assert longer.state.global_step == 4 and len(history(longer)) == 4


@pytest.mark.parametrize(
    "name", ["trainer_state.json", pytest.param("adapter_model.safetensors", marks=pytest.mark.slow)]
)
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


def test_without_a_complete_checkpoint_a_run_starts_anew_and_says_so(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("glus_hf.training.checkpoints.logger.warning", said.append)
    assert checkpoint_to_resume(tmp_path / "new", True) is None
    assert said == [f"{tmp_path / 'new'}: has no complete checkpoint to go on from, so the run starts anew there"]
    assert checkpoint_to_resume(tmp_path / "new", None) is None
    assert checkpoint_to_resume(tmp_path, "runs/checkpoint-5") == "runs/checkpoint-5"


def _without_a_tensor(file):
    tensors = load_file(file)
    tensors.popitem()
    save_file(tensors, file)


def _optimizer(change):
    """Damage of every state of the optimizer."""

    def run(file):
        content = torch.load(file, weights_only=True)
        for state in content["state"].values():
            state.update({name: change(tensor) for name, tensor in state.items() if name != "step"})
        torch.save(content, file)

    return run


def _fields(**fields):
    """Damage of fields, of every group where there are some."""

    def run(file):
        content = torch.load(file, weights_only=True)
        for part in content.get("param_groups", [content]):
            part.update(fields)
        torch.save(content, file)

    return run


def _packed(file):
    with zipfile.ZipFile(file) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


DAMAGE = {
    "state, deep": ("trainer_state.json", "[" * 200_000),
    "state, no object": ("trainer_state.json", "[1]"),
    "state, other kinds": ("trainer_state.json", '{"global_step": 1, "log_history": 5}'),
    "state, a text for a number": ("trainer_state.json", '{"global_step": "x"}'),
    "adapter, another file": ("adapter_model.safetensors", "text"),
    "adapter, a tensor missing": ("adapter_model.safetensors", _without_a_tensor),
    "adapter settings": ("adapter_config.json", "{"),
    "adapter settings, other kinds": ("adapter_config.json", '{"peft_type": 5}'),
    "optimizer": ("optimizer.pt", "text"),
    "optimizer of other sizes": ("optimizer.pt", _optimizer(lambda tensor: tensor.flatten()[:1].clone())),
    "optimizer, NaN": ("optimizer.pt", _optimizer(lambda tensor: tensor * float("nan"))),
    "optimizer, squares below 0": ("optimizer.pt", _optimizer(lambda tensor: tensor - 1)),
    "optimizer, settings of text": ("optimizer.pt", _fields(betas="x")),
    "optimizer, a rate that is NaN": ("optimizer.pt", _fields(lr=float("nan"))),
    "optimizer, packed": ("optimizer.pt", _packed),
    "scheduler, a method": ("scheduler.pt", _fields(step="x")),
    "scheduler, its optimizer": ("scheduler.pt", _fields(optimizer=5)),
    "scheduler without rates": ("scheduler.pt", _fields(base_lrs=[])),
    "scheduler, an epoch of text": ("scheduler.pt", _fields(last_epoch="x")),
    "state, a step below 0": ("trainer_state.json", '{"global_step": -5}'),
    "state, a best of text": ("trainer_state.json", '{"global_step": 1, "best_metric": "x"}'),
    "scheduler": ("scheduler.pt", lambda file: file.write_bytes(file.read_bytes()[:-9])),
    "random state": ("rng_state.pth", lambda file: shutil.copy(file.with_name("scheduler.pt"), file)),
    "scheduler of another kind": ("scheduler.pt", lambda file: shutil.copy(file.with_name("rng_state.pth"), file)),
    "bank": ("contrastive_bank_0.safetensors", lambda file: save_file({}, file)),
    "a pipe": ("optimizer.pt", lambda file: (file.unlink(), os.mkfifo(file))),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    quick_trainer(folder, max_steps=1, save_strategy="steps", save_steps=1).train()
    return folder / "checkpoint-1"


SAME_REFUSAL = {name for name in DAMAGE if name.startswith(("optimizer, ", "scheduler, ", "scheduler with"))}
SAME_REFUSAL |= {"state, no object", "state, a text for a number", "state, a step below 0", "state, a best of text"}
SAME_REFUSAL |= {"adapter settings", "adapter settings, other kinds"}


@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=[pytest.mark.slow] * (name in SAME_REFUSAL)) for name in DAMAGE]
)
def test_a_damaged_checkpoint_is_refused_in_one_line(checkpoint, tmp_path, damage):
    name, change = DAMAGE[damage]
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint-1")
    change(folder / name) if callable(change) else (folder / name).write_text(change)
    with pytest.raises(UserError, match=f"^{folder}[^\\n]*$"):
        quick_trainer(tmp_path, max_steps=2).train(resume_from_checkpoint=str(folder))


def test_the_state_of_a_damaged_checkpoint_is_set_aside(checkpoint, tmp_path):
    """Else a run that starts anew and is killed while it writes this checkpoint would seem to have saved it."""
    whole, damaged = (shutil.copytree(checkpoint, tmp_path / f"checkpoint-{step}") for step in (1, 2))
    (damaged / "optimizer.pt").write_text("text")
    assert newest_complete(tmp_path) == whole
    assert not (damaged / "trainer_state.json").exists()
    assert (damaged / "trainer_state.json.incomplete").is_file() and (whole / "trainer_state.json").is_file()
