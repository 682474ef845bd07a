"""Tell models apart without reading all their weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


_VOLATILE = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "_attn_implementation"}


def model_digest(model) -> str:
    """16 hexadecimal digits that depend on a model's config and on 64 values of each of its parameters.

    The same weights in another folder or process give the same digest; training changes it.

    Args:
        model: a `PreTrainedModel`.

    Example:
        >>> from transformers import CLIPVisionConfig, CLIPVisionModel
        >>> config = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> len(model_digest(CLIPVisionModel(config)))
        16
    """
    import torch

    digest = hashlib.sha256(json.dumps(_stable(model.config.to_dict()), sort_keys=True, default=str).encode())
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {list(parameter.shape)} {parameter.dtype}".encode())
        if parameter.is_meta or not parameter.numel():  # offloaded by accelerate
            continue
        values = parameter.detach().flatten()
        chosen = torch.linspace(0, len(values) - 1, min(64, len(values)), dtype=torch.float64).long()
        digest.update(values[chosen.to(values.device)].double().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def model_settings(model, name: str | None = None, processor=None) -> dict:
    """What the settings of a run say of its model. Compiled stages and views that a device makes are named where there
    are any: they change last digits.

    Args:
        model: a `PreTrainedModel`; SAM-2 that carries its masks, if another model does, is told of too.
        name: for messages; by default where the model was loaded from.
        processor: of the model.
    """
    from ...models.compiled_stages import is_compiled
    from ...models.device_views import where_made

    name = name or str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    described = {"name": Path(name).resolve().name, "digest": model_digest(model), "dtype": str(model.dtype)}
    settings = {"model": described}
    if hasattr(model, "propagation"):
        settings["propagation"] = {"by": model.propagation, "digest": model_digest(model.mask_model)}
    if where_made(processor, model.device) == "device":
        settings["views"] = "device"
    if is_compiled(model):
        settings["compile"] = True
    return settings


def _stable(config):
    """Without entries that say where a config comes from instead of what it is."""
    if isinstance(config, dict):
        return {str(key): _stable(value) for key, value in config.items() if key not in _VOLATILE}
    return config


__all__ = ["model_digest", "model_settings"]
