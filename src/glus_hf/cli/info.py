"""`glus-hf info`: versions, devices, bundled models."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import print_table


def info(
    model: Annotated[str | None, typer.Option(help="Also summarise this model.")] = None,
) -> None:
    """Print versions, devices, bundled models and, with --model, a summary of that model."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from .. import __version__
    from ..hub import PACKAGED

    rows = [("glus-hf", __version__), ("python", platform.python_version())]
    for package in ("torch", "transformers", "accelerate", "peft", "datasets", "huggingface-hub", "av", "numpy"):
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    rows += [("devices", ", ".join(["cpu", *names])), ("bundled models", ", ".join(PACKAGED))]
    print_table(["", ""], rows)
    if model is not None:
        print_table(["part", "parameters", "as stored"], _model_rows(model))


def _model_rows(name: str) -> list[tuple[str, str, str]]:
    """Parameters and bytes of each part and of the whole. Weights are not read."""
    from ..models.model_summary import part_sizes

    return [(part.name, f"{part.parameters:,}", f"{part.bytes / 1e6:,.1f} MB") for part in part_sizes(name)]
