"""Load the model of a command, with one-line errors for its options."""

from __future__ import annotations

from ..errors import UserError


DTYPES = ("auto", "float32", "bfloat16", "float16")


def load_pipeline(model: str, device: str | None, dtype: str, compat: str | None = None):
    """The pipeline of `--model`, `--device`, `--dtype` and `--compat`."""
    from ..pipelines.factory import pipeline

    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype} is unknown; use {', '.join(DTYPES)}")
    if device is not None:
        _check_device(device)
    preset = {} if compat is None else {"compat": compat}
    return pipeline(model=model, device=device, dtype=dtype, **preset)


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:80]
        raise UserError(f"--device {device} cannot be used ({reason}); use cpu or leave it out") from None


__all__ = ["DTYPES", "load_pipeline"]
