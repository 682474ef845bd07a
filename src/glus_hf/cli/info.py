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
    """Parameters and bytes of each part and of the whole; of an adapter, those of its model. Weights are not read."""
    import torch
    from transformers import AutoConfig, AutoModel

    from ..model_families import ALL_FAMILIES
    from ..models.adapters import base_of
    from ..models.checkpoint_loading import check_checkpoint, check_files, check_weights, readable_errors, resolve_name

    folder = resolve_name(name)
    check_checkpoint(folder, list(ALL_FAMILIES))
    check_files(folder, {}, of_model=True)
    with readable_errors(folder):
        base = base_of(folder, {})
    if base is not None:
        return _model_rows(base)
    with readable_errors(folder), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = AutoModel.from_config(config, dtype=config.dtype, trust_remote_code=False)
    check_weights(type(model), folder, {})
    core = model.base_model
    parts = [*core.named_children(), *[part for part in model.named_children() if part[1] is not core]]
    return [_part_row(*part) for part in parts if any(True for _ in part[1].parameters())] + [_part_row("all", model)]


def _part_row(name: str, module) -> tuple[str, str, str]:
    parameters = list(module.parameters())
    megabytes = sum(parameter.numel() * parameter.element_size() for parameter in parameters) / 1e6
    return name, f"{sum(parameter.numel() for parameter in parameters):,}", f"{megabytes:,.1f} MB"
