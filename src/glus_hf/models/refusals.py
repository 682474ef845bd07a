"""A model that a library refuses to compute: sizes in the settings of a checkpoint that do not go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..checkpoint_files.json_fields import shorten
from ..errors import CheckpointError, UserError
from ..hub import is_alias


REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What PyTorch and transformers raise for sizes that do not go together."""


@contextmanager
def explained(model) -> Iterator[None]:
    """Turn the error of a computation of a model that others made into a line that names it. Those of a model that is
    known to compute, by its alias, are defects of ours and stay.

    Args:
        model: a loaded model.

    Raises:
        CheckpointError: it cannot compute; one line.

    Example:

        >>> import torch
        >>> from glus_hf import GLEEConfig, GLEEForVideoSegmentation
        >>> with explained(GLEEForVideoSegmentation(GLEEConfig.tiny())):
        ...     torch.ones(2) @ torch.ones(3)
        Traceback (most recent call last):
        CheckpointError: the model cannot compute (RuntimeError: ...); use config, processor and weights as they ...
    """
    try:
        yield
    except UserError:
        raise
    except REFUSALS as error:
        if type(error).__name__ == "OutOfMemoryError":  # of PyTorch, which is not imported here: it takes seconds
            raise
        name = str(getattr(model, "name_or_path", "") or "")
        if is_alias(name):
            raise
        where = f"{name}: the model" if name else "the model"
        message = "use config, processor and weights as they were saved together, or report it with --debug"
        raise CheckpointError(
            f"{where} cannot compute ({type(error).__name__}: {shorten(error)}); {message}"
        ) from error


def explained_outputs(model, outputs: Iterable) -> Iterator:
    """What a model gives one after another, each computed as [`explained`] says."""
    with explained(model):
        yield from outputs


__all__ = ["REFUSALS", "explained", "explained_outputs"]
