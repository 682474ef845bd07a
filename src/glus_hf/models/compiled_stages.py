"""Stages of inference that `torch.compile` compiles, each to one graph for all its sizes.

A stage is a function of a module and tensors, without a wait, a copy to the host or a choice by values. The module
keeps how its stages are compiled and not the compiled functions, so that it is copied, saved and moved as before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from ..errors import UserError


MODES = (None, "default", "max-autotune-no-cudagraphs")
"""Of `torch.compile`. The others replay CUDA graphs, which write over what a session keeps."""


class CompiledStages:
    """Of a module with stages: says how they are run. Under gradients they are never compiled."""

    stage_compiler: tuple[str | Callable, str | None] | None = None

    def compile_stages(self, compile: bool = True, backend: str | Callable = "inductor", mode: str | None = None):
        """Let the stages of inference be compiled when they first run, or (`compile=False`) leave them as they are.

        Of GLUS, a run with one expression makes at most 7 graphs, and so does one with several; later videos, other
        sizes of frames and other numbers of expressions make no more. Masks are equal up to rounding.

        Args:
            compile: whether they are compiled.
            backend: of `torch.compile`.
            mode: of `torch.compile`, one of [`MODES`].

        Raises:
            UserError: another mode.

        Example:

            >>> model.compile_stages()  # doctest: +SKIP
            >>> outputs = list(model.propagate_in_video_iterator(session))  # doctest: +SKIP
        """
        if mode not in MODES:
            raise UserError(f"mode={mode!r:.60} cannot compile stages; use {', '.join(map(str, MODES))}")
        self.stage_compiler = (backend, mode) if compile else None

    @property
    def compiles_now(self) -> bool:
        """Whether a stage that is run now is compiled."""
        return self.stage_compiler is not None and not torch.is_grad_enabled()

    def stage(self, function: Callable) -> Callable:
        """A stage that is a function, as it is to be run."""
        return compiled(function, *self.stage_compiler) if self.compiles_now else function

    def own_stage(self, name: str) -> Callable:
        """A stage that is a method, as it is to be run."""
        return partial(self.stage(getattr(type(self), name)), self) if self.compiles_now else getattr(self, name)

    def any_size(self, values: Tensor, *dims: int) -> Tensor:
        """Tell the compiler that these dimensions change from call to call; returns the tensor."""
        for dim in dims if self.compiles_now else ():
            torch._dynamo.maybe_mark_dynamic(values, dim)
        return values

    def several(self, rows: Tensor) -> Tensor:
        """A single row of a stage that is compiled as two equal rows: one row alone would take a graph of its own."""
        is_alone = self.compiles_now and len(rows) == 1
        return rows.repeat(2, *[1] * (rows.ndim - 1)) if is_alone else rows


def compile_model(model) -> None:
    """`model.compile_stages()`, of a model whose stages are known.

    Raises:
        UserError: of another model; one line.
    """
    if not hasattr(model, "compile_stages"):
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise UserError(f"a {kind} model has no stages to compile; leave compile out")
    model.compile_stages()


def is_compiled(model) -> bool:
    """Whether the stages of a model are compiled."""
    return getattr(getattr(model, "mask_branch", None), "stage_compiler", None) is not None


@cache
def compiled(function: Callable, backend: str | Callable = "inductor", mode: str | None = None) -> Callable:
    """A stage, compiled to whole graphs; the same one for the same settings."""
    return torch.compile(function, fullgraph=True, backend=backend, mode=mode)


__all__ = ["MODES", "CompiledStages", "compile_model", "compiled", "is_compiled"]
