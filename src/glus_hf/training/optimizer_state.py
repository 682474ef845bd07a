"""Whether what an optimizer and a scheduler took from a checkpoint can be gone on with: torch looks at none of it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch


SQUARES = {"exp_avg_sq", "max_exp_avg_sq", "square_avg"}
OF_PARAMETERS = {"exp_avg", "momentum_buffer", *SQUARES}
"""States of torch's optimizers that are as large as their parameter. Another size ends the process."""


def settings_of(optimizer, scheduler) -> list[dict]:
    """What numbers and switches both have, without parameters: of each group, and of the scheduler."""
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    scheduler = getattr(scheduler, "scheduler", scheduler)  # of accelerate
    return [*groups, {name: value for name, value in vars(scheduler).items() if _is_plain(value)}]


def check_loaded(optimizer, scheduler, before: list[dict]) -> None:
    """Refuse states that are no numbers or of another size, and settings of another kind than before.

    Args:
        optimizer, scheduler: after they took their states from files.
        before: [`settings_of`] them, before that.

    Raises:
        ValueError: one is wrong; it says which.
    """
    after = settings_of(optimizer, scheduler)
    if len(after) != len(before):
        raise ValueError(f"{len(after) - 1} groups of parameters instead of {len(before) - 1}")
    for old, new in zip(before, after, strict=True):
        _check_settings(old, new)
    _check_fields(getattr(scheduler, "scheduler", scheduler))
    is_torch = type(getattr(optimizer, "optimizer", optimizer)).__module__.startswith("torch.optim")
    for parameter, state in optimizer.state.items():
        tensors = {name: value for name, value in state.items() if type(value) is torch.Tensor}
        _check_numbers(tensors)
        if is_torch:  # others keep less than their parameters' size
            _check_sizes(parameter, tensors)


def _check_fields(scheduler) -> None:
    """A scheduler takes any field of a file, also in the place of a method."""
    own = [name for name in vars(scheduler) if callable(getattr(type(scheduler), name, None))]
    wrong = [name for name in own if not callable(getattr(scheduler, name))]
    if "optimizer" in vars(scheduler) and not hasattr(scheduler.optimizer, "param_groups"):
        wrong.append("optimizer")
    if wrong:
        raise ValueError(f"the scheduler has {', '.join(wrong)} of its own")


def _check_settings(old: Mapping, new: Mapping) -> None:
    for name, value in old.items():
        if name not in new or not _is_alike(value, new[name], name):
            shown = repr(new.get(name, "not there"))[:40]
            raise ValueError(f"{name} is {shown}")


def _is_alike(old, new, name: str) -> bool:
    """Whether a setting is of the same kind, and a number where it is one. A plateau's best is infinite at first."""
    if old is None or new is None or isinstance(old, (bool, str)):
        return old is None or new is None or type(old) is type(new)
    if isinstance(old, (tuple, list)):
        is_list = isinstance(new, (tuple, list)) and len(old) == len(new)
        return is_list and all(_is_alike(one, other, name) for one, other in zip(old, new, strict=True))
    if isinstance(new, torch.Tensor):
        return new.numel() == 1 and bool(new.isfinite())
    if isinstance(old, (int, float)):
        return isinstance(new, (int, float)) and (math.isfinite(new) or (name == "best" and not math.isnan(new)))
    return True


def _is_plain(value) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(each, (int, float)) for each in value)
    return isinstance(value, (int, float, str))


def _check_numbers(tensors: Mapping[str, torch.Tensor]) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{name} is not finite")


def _check_sizes(parameter: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> None:
    for name in OF_PARAMETERS & tensors.keys():
        value = tensors[name]
        if value.shape != parameter.shape:
            raise ValueError(f"{name} is {list(value.shape)} for a parameter of {list(parameter.shape)}")
        if name in SQUARES and bool((value < 0).any()):
            raise ValueError(f"{name} is below 0")


__all__ = ["check_loaded", "settings_of"]
