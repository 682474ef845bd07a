"""Ctrl-C: the step is finished and saved, and resuming gives what an undisturbed run gives."""

import os
import signal

import pytest
from transformers import TrainerCallback
from typer.testing import CliRunner

from glus_hf.cli.main import app
from glus_hf.training.runs.interruption import TrainingStopped, stopping_at_ctrl_c
from tests.training.small_training import history, quick_trainer, saved_model, tiny_run


class PressCtrlC(TrainerCallback):
    """Presses it `times` times while the step after `step` is computed."""

    def __init__(self, step: int, times: int = 1):
        self.step, self.times = step, times

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


def run(folder, callbacks=(), resume=None, **options):
    trainer = quick_trainer(folder, max_steps=3, callbacks=list(callbacks), **options)
    with stopping_at_ctrl_c(trainer):
        trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_the_step_is_saved_and_the_run_goes_on_as_if_undisturbed(tmp_path, capfd):
    before = signal.getsignal(signal.SIGINT)
    whole = run(tmp_path / "whole")
    with pytest.raises(TrainingStopped, match="^Stopped at step 2; go on with --resume$"):
        run(tmp_path / "run", [PressCtrlC(1)])
    assert "Stopping after this step; press Ctrl-C again to stop at once" in capfd.readouterr().err
    assert (tmp_path / "run" / "checkpoint-2" / "trainer_state.json").is_file()
    again = run(tmp_path / "run", resume=True)
    assert history(again) == history(whole)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    with pytest.raises(
        TrainingStopped, match="^Stopped at step 0, before the first checkpoint; --resume starts anew$"
    ):
        run(tmp_path / "new", [PressCtrlC(0, 2)])
    options = {"save_strategy": "steps", "save_steps": 1}
    said = "^Stopped at step 2; the last checkpoint is of step 1: go on from there with --resume$"
    with pytest.raises(TrainingStopped, match=said):
        run(tmp_path / "run", [PressCtrlC(2, 2), _Forget(2)], **options)


class _Forget(TrainerCallback):
    """A checkpoint that is lost: its state was not written when the program ended."""

    def __init__(self, step: int):
        self.step = step

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.remove(os.path.join(args.output_dir, f"checkpoint-{self.step}", "trainer_state.json"))


def test_the_command_prints_one_line_and_exits_with_130(tmp_path, monkeypatch):
    base = saved_model(tmp_path / "base")
    press = lambda trainer: trainer.add_callback(PressCtrlC(0))
    monkeypatch.setattr("glus_hf.training.trainer.GLUSTrainer.create_optimizer", _pressing(press))
    result = CliRunner().invoke(app, ["train", "tiny", *tiny_run(tmp_path, base)])
    assert result.exit_code == 130 and "Traceback" not in result.output
    assert result.stderr.endswith("\nStopped at step 1; go on with --resume\n")
    monkeypatch.undo()
    result = CliRunner().invoke(app, ["train", "tiny", *tiny_run(tmp_path, base), "--resume"])
    assert result.exit_code == 0 and (tmp_path / "model" / "model.safetensors").is_file()


def _pressing(press):
    from glus_hf.training.trainer import GLUSTrainer

    original = GLUSTrainer.create_optimizer

    def create_optimizer(trainer, *args, **kwargs):
        press(trainer)
        return original(trainer, *args, **kwargs)

    return create_optimizer
