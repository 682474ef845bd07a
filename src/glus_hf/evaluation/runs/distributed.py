"""The processes that evaluate together, started by `accelerate launch` or `torchrun`; one alone works the same."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from ...errors import ProcessFailed
from ...predictions.prediction_tree import PRIVATE_FOLDER


class Processes:
    """All processes of this run.

    Args:
        cpu: stay on the CPU although there is an accelerator.
        timeout_minutes: how long to wait for the slowest process.

    Attributes:
        rank, size: this process's number, and how many there are.
        device: what `accelerate` chose for this process.
    """

    def __init__(self, cpu: bool = False, timeout_minutes: float = 120):
        import torch
        from accelerate import PartialState

        # without an accelerator and without cpu=True, PartialState takes each process for the only one
        cpu = cpu or not torch.accelerator.is_available()
        try:
            self.state = PartialState(cpu=cpu, timeout=timedelta(minutes=timeout_minutes))
        except RuntimeError as error:  # such as a master that cannot be reached
            raise ProcessFailed(
                f"the processes cannot find each other ({_first_line(error)}); start all of them with one command"
            ) from None
        expected = int(os.environ.get("WORLD_SIZE", 1))
        if self.state.num_processes < expected:
            raise ProcessFailed(
                f"{expected} processes were started but accelerate sees {self.state.num_processes}; "
                "start them with torchrun or accelerate launch, without a PartialState made before"
            )
        self.rank, self.size = self.state.process_index, self.state.num_processes
        self.device = self.state.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def gather(self, items: list) -> list:
        """The items of all processes, in the order of their ranks."""
        from accelerate.utils import gather_object

        return self._together(lambda: gather_object(items)) if self.size > 1 else items

    def from_main(self, function: Callable[[], Any]) -> Any:
        """Run `function` on the first process; all get its result, or its ValueError or OSError."""
        if self.size == 1:
            return function()
        from accelerate.utils import broadcast_object_list

        answer: list = [None, None]
        if self.is_main:
            try:
                answer[0] = function()
            except (ValueError, OSError) as error:
                answer[1] = error
        self._together(lambda: broadcast_object_list(answer))
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def share_folder(self, folder: Path) -> bool:
        """Whether all processes see the same `folder`, which the first one has made."""
        if self.size == 1:
            return True
        name = self.from_main(lambda: _leave_token(folder))
        is_seen = _wait_for(folder / PRIVATE_FOLDER / name)
        all_see = all(self.gather([is_seen]))
        if self.is_main:
            (folder / PRIVATE_FOLDER / name).unlink(missing_ok=True)
        return all_see

    def close(self) -> None:
        """Take leave of the other processes."""
        if self.size > 1:
            self.state.destroy_process_group()

    def _together(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except RuntimeError as error:
            raise ProcessFailed(
                f"another process stopped or was silent for too long ({_first_line(error)}); "
                "see its message, then run the same command again: it goes on where it stopped"
            ) from None


def _leave_token(folder: Path) -> str:
    name = f"token-{uuid.uuid4().hex[:12]}"
    (folder / PRIVATE_FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / PRIVATE_FOLDER / name).touch()
    return name


def _wait_for(path: Path, seconds: float = 5) -> bool:
    """Whether the file is there; network file systems may show it late."""
    until = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


__all__ = ["ProcessFailed", "Processes"]
