"""Whether stored weights are those of a model, seen from their headers; and whether they are numbers."""

from __future__ import annotations

import functools
import json

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..checkpoint_files.json_fields import shorten
from ..checkpoint_files.safetensors_header import StoredWeight
from ..errors import CheckpointError
from .refusals import REFUSALS


MOST_MISSING = 2**24  # numbers that a model may have and its files not, before anything is loaded
PACKING = 16  # numbers in one of a quantized weight, at most


def make_without_data(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """A model on the device "meta": all shapes, no memory. Takes a second for 7B."""
    with torch.device("meta"):
        return model_class(config).eval()


def find_misfits(model: PreTrainedModel, weights: dict[str, StoredWeight], is_packed: bool = False) -> dict:
    """What makes stored weights unfit for a model, as transformers would find it after it has taken the memory.

    Args:
        model: from [`make_without_data`].
        weights: by name, as the files have them.
        is_packed: weights are quantized.

    Returns:
        `mismatched_keys` (name, shape in the file, shape in the model), `whole_numbers` (names), and, only where so
        much is missing that making it would take memory, `missing_keys`.

    Example:
        >>> find_misfits(model, {})["missing_keys"][0]  # doctest: +SKIP
        'lm_head.weight'
    """
    expected = model.state_dict()
    stored = {name: _stored(name, weights, model.base_model_prefix) for name in expected}
    missing = [name for name, weight in stored.items() if weight is None]
    both = {name: weight for name, weight in stored.items() if weight is not None}
    found = sum(weight.num_bytes for weight in weights.values()) * (PACKING if is_packed else 1)
    info: dict = {"mismatched_keys": [], "whole_numbers": []}
    if sum(expected[name].numel() for name in missing) > MOST_MISSING + found:
        info["missing_keys"] = missing
    if is_packed:
        return info
    shapes = {name: (weight.shape, tuple(expected[name].shape)) for name, weight in both.items()}
    info["mismatched_keys"] = [(name, *pair) for name, pair in shapes.items() if pair[0] != pair[1]]
    info["whole_numbers"] = [
        name for name, weight in both.items() if expected[name].is_floating_point() and not weight.is_floating
    ]
    return info


def check_shapes(name_or_path, model: PreTrainedModel) -> None:
    """Run a model without data on a small input, if its family has `try_shapes`: sizes that are no shapes of weights
    (strides, poolings, heads) would fail at the first frame only. Takes two seconds for 7B, once per configuration.

    Raises:
        CheckpointError: it cannot compute; one line.
    """
    problem = _find_shape_problem(type(model), json.dumps(model.config.to_dict(), sort_keys=True, default=str))
    if problem is not None:
        message = f"config.json describes a model that cannot compute ({problem}); use the one saved with the weights"
        raise CheckpointError(f"{name_or_path}: {message}")


@functools.lru_cache(maxsize=16)
def _find_shape_problem(model_class: type[PreTrainedModel], config: str) -> str | None:
    model = make_without_data(model_class, model_class.config_class.from_dict(json.loads(config)))
    try_shapes = getattr(model.base_model, "try_shapes", None)
    if try_shapes is None:
        return None
    try:
        try_shapes()
    except REFUSALS as error:
        if "meta" in str(error) or isinstance(error, NotImplementedError):
            return None  # a kernel that needs data: nothing is known
        return f"{type(error).__name__}: {shorten(error, 200)}"
    return None


def _stored(name: str, weights: dict[str, StoredWeight], prefix: str) -> StoredWeight | None:
    """A weight by the name that the model has for it, which may be a part of the stored model or hold it as a part."""
    names = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
    return next((weights[name] for name in names if name in weights), None)


@torch.no_grad()
def check_finite(name_or_path, model: PreTrainedModel) -> None:
    """Refuse weights that are NaN or infinite. Every weight is read once: 3 seconds for 7B in bfloat16 on a CPU.

    Raises:
        CheckpointError: one line with the first of them.
    """
    by_device: dict[torch.device, dict[str, torch.Tensor]] = {}
    for name, tensor in model.state_dict().items():
        if _is_plain(tensor):
            bounds = torch.stack(torch.aminmax(tensor))  # either is NaN if one number is
            by_device.setdefault(tensor.device, {})[name] = bounds.isfinite().all()
    for found in by_device.values():
        finite = torch.stack(list(found.values())).tolist()  # one transfer for each device
        wrong = [name for name, is_finite in zip(found, finite, strict=True) if not is_finite]
        if wrong:
            message = f"{len(wrong)} weights have values that are NaN or infinite ({wrong[0]}); get the weights again"
            raise CheckpointError(f"{name_or_path}: {message}")


def _is_plain(tensor: torch.Tensor) -> bool:
    has_numbers = tensor.is_floating_point() and tensor.element_size() > 1 and tensor.numel() > 0
    return has_numbers and tensor.device.type != "meta"


__all__ = ["check_finite", "check_shapes", "find_misfits", "make_without_data"]
