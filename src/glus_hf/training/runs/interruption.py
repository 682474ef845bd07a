"""Ctrl-C while a run trains: the step is finished and saved, so that `--resume` goes on from there."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import Trainer, TrainerCallback

from ..checkpoints import check_complete, newest_complete


class TrainingStopped(KeyboardInterrupt):
    """Ctrl-C ended the training; its text says at which step, and how to go on."""


@contextmanager
def stopping_at_ctrl_c(trainer: Trainer) -> Iterator[None]:
    """While the block trains, the first Ctrl-C ends it after the step, with a checkpoint; the second ends it at once.
    Of several processes each ends at once: they would not stop at the same step.

    Raises:
        TrainingStopped: Ctrl-C was pressed.
    """
    stop = _StopAfterStep()
    trainer.add_callback(stop)
    before = signal.getsignal(signal.SIGINT)
    handles = trainer.args.world_size == 1 and threading.current_thread() is threading.main_thread()
    handles = handles and before is not signal.SIG_IGN  # as in a job in the background
    if handles:
        signal.signal(signal.SIGINT, stop.on_signal)
    try:
        yield
        if stop.is_asked:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise TrainingStopped(_what_is_saved(trainer)) from None
    finally:
        if handles:
            signal.signal(signal.SIGINT, before)
        trainer.remove_callback(stop)


class _StopAfterStep(TrainerCallback):
    def __init__(self):
        self.is_asked, self.process = False, os.getpid()

    def on_signal(self, number, frame) -> None:
        if os.getpid() != self.process:
            return  # a worker of the data loader: it ends with its parent
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
        print("\nStopping after this step; press Ctrl-C again to stop at once", file=sys.stderr)

    def on_step_end(self, args, state, control, **kwargs):
        if self.is_asked:
            control.should_save = control.should_training_stop = True


def _what_is_saved(trainer: Trainer) -> str:
    """Where the run is now, in words that its folder bears out."""
    step = trainer.state.global_step
    found = newest_complete(trainer.args.output_dir)
    if found is None:
        return f"Stopped at step {step}, before the first checkpoint; --resume starts anew"
    saved = check_complete(found)
    if saved == step:
        return f"Stopped at step {step}; go on with --resume"
    return f"Stopped at step {step}; the last checkpoint is of step {saved}: go on from there with --resume"


__all__ = ["TrainingStopped", "stopping_at_ctrl_c"]
