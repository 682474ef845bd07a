"""Adapters of `peft` (checkpoints of training) as models: the base that they name, with them merged in."""

from __future__ import annotations

import os
from collections.abc import Mapping

from safetensors import safe_open
from transformers.utils import cached_file

from ..checkpoint_files.folder_check import ADAPTER_CONFIG, BASE_CONFIG
from ..checkpoint_files.json_fields import read_fields
from ..errors import CheckpointError
from .weight_fit import check_finite


ADAPTER_FILE = "adapter_model.safetensors"

HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
QUIET = {f"_raise_exceptions_for_{reason}": False for reason in ("missing_entries", "gated_repo", "connection_errors")}


def base_of(name_or_path: str | os.PathLike, options: Mapping) -> str | None:
    """Alias, folder or Hub name of the model that an adapter was trained on; None if this is no adapter, or a whole
    model with one beside it.

    Args:
        name_or_path: folder or Hub name.
        options: of its `from_pretrained`.

    Raises:
        CheckpointError: its `adapter_config.json` is damaged or names no base; one line.
    """
    file = _find(name_or_path, ADAPTER_CONFIG, options)
    if file is None or _find(name_or_path, "config.json", options) is not None:
        return None
    base = _read(file).get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise CheckpointError(
            f"{name_or_path}: does not name the model it was trained on; load that model and put the adapter on it "
            "with peft's PeftModel.from_pretrained"
        )
    return base


def load_adapted(cls, name_or_path: str | os.PathLike, base: str, *args, **kwargs):
    """The model `cls` of `base`, with the options of the adapter's training, and the adapter merged into its weights.

    Raises:
        CheckpointError: base or adapter are not there, are damaged or do not fit; one line.
    """
    from peft import PeftModel

    hub = {option: kwargs.pop(option) for option in HUB_OPTIONS if option in kwargs}
    wants_info = kwargs.pop("output_loading_info", False)
    file = _find(name_or_path, BASE_CONFIG, hub)
    if kwargs.get("config") is None and kwargs.get("compat") is None and file is not None:
        stored = _read(file)
        stored.pop("quantization_config", None)  # merged into the full weights
        dtype = {name: kwargs.pop(name) for name in ("dtype", "torch_dtype") if name in kwargs}
        config, kwargs = cls.config_class.from_dict(stored, return_unused_kwargs=True, **kwargs)
        kwargs = {**kwargs, **dtype, "config": config}
    of_base = {option: value for option, value in hub.items() if option not in ("revision", "subfolder")}
    model, info = cls.from_pretrained(base, *args, output_loading_info=True, **of_base, **kwargs)
    weights = _find(name_or_path, ADAPTER_FILE, hub)
    if weights is None:
        raise CheckpointError(f"{name_or_path}: has no {ADAPTER_FILE}; copy the checkpoint again")
    try:
        adapted = PeftModel.from_pretrained(model, str(name_or_path), **hub)
        if (misfit := misfit_of(adapted, weights)) is not None:
            raise ValueError(misfit)
        merged = adapted.merge_and_unload()
    except Exception as error:  # peft, safetensors and torch raise anything for files that are damaged or do not fit
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{name_or_path}: its adapter does not fit {base} or is damaged ({reason}); copy the checkpoint again"
        ) from error
    check_finite(name_or_path, merged)
    merged.name_or_path = str(name_or_path)
    return (merged, info) if wants_info else merged


def misfit_of(adapted, file: str | os.PathLike) -> str | None:
    """In what the tensors of a file are not those of the adapter on a model: peft passes over missing ones."""
    from peft import get_peft_model_state_dict

    own = get_peft_model_state_dict(adapted, save_embedding_layers=False)  # "auto" would ask the Hub
    wanted = {name: list(tensor.shape) for name, tensor in own.items()}
    with safe_open(file, framework="pt") as tensors:
        stored = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    wrong = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
    return f"{len(wrong)} tensors are missing, unexpected or of another shape, such as {wrong[0]}" if wrong else None


def _find(name_or_path: str | os.PathLike, file: str, options: Mapping) -> str | None:
    """Path of a file of a local folder, or of the Hub's cache; None if there is none."""
    hub = {name: options[name] for name in HUB_OPTIONS if options.get(name) is not None}
    if not os.path.isdir(name_or_path):
        return cached_file(str(name_or_path), file, **hub, **QUIET)
    path = os.path.join(name_or_path, hub.get("subfolder", ""), file)
    return path if os.path.isfile(path) else None


def _read(file: str) -> dict:
    return read_fields(file, remedy="save the adapter again")


__all__ = ["ADAPTER_CONFIG", "ADAPTER_FILE", "BASE_CONFIG", "base_of", "load_adapted", "misfit_of"]
