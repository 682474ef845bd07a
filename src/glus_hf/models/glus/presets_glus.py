"""Presets of the options in which paper and original code of GLUS disagree. docs/fidelity.md has the reasons."""

from __future__ import annotations

from ...errors import CheckpointError


MODEL_OPTIONS = (
    "fuser_scale",
    "dense_position_dtype",
    "multimask_fallback",
    "memory_features",
    "seg_hidden_state",
    "detach_memory",
)
PROCESSOR_OPTIONS = ("context_frames", "overlap")

COMPAT = {
    # what the released weights were trained with; the defaults of GLUSConfig and GLUSProcessor
    "released": {
        "fuser_scale": "checkpoint",
        "dense_position_dtype": "model",
        "multimask_fallback": True,
        "memory_features": "conditioned",
        "seg_hidden_state": "last",
        "detach_memory": True,
        "context_frames": "middle",
        "overlap": "union",
    },
    # what the original scripts end up with, their two oversights included: the scale of the fuser that is not loaded,
    # and targets of 2 where objects overlap
    "evaluation-script": {
        "fuser_scale": "identity",
        "dense_position_dtype": "model",
        "multimask_fallback": True,
        "memory_features": "conditioned",
        "seg_hidden_state": "last",
        "detach_memory": True,
        "context_frames": "middle",
        "overlap": "sum",
    },
    # what the paper says; where it says nothing about the mask branch, what SAM-2 does
    "paper": {
        "fuser_scale": "checkpoint",
        "dense_position_dtype": "float32",
        "multimask_fallback": True,
        "memory_features": "raw",
        "seg_hidden_state": "penultimate",
        "detach_memory": False,
        "context_frames": "middle",
        "overlap": "union",
    },
}


def apply_compat(config, name: str):
    """Set the model's options to those of a preset.

    Args:
        config ([`GLUSConfig`]): changed in place. A model made before does not see all of them: make it afterwards.
        name (`str`): "released", "evaluation-script" or "paper".

    Returns:
        The config.

    Raises:
        `CheckpointError`: no such preset.

    Example:

        >>> from glus_hf import GLUSConfig
        >>> apply_compat(GLUSConfig(), "paper").seg_hidden_state
        'penultimate'
    """
    return _set_options(config, select_options(name, MODEL_OPTIONS))


def apply_processor_compat(processor, name: str):
    """Set the processor's options to those of a preset, as [`apply_compat`] does with the model's.

    Example:

        >>> apply_processor_compat(processor, "evaluation-script").overlap
        'sum'
    """
    return _set_options(processor, select_options(name, PROCESSOR_OPTIONS))


def select_options(name: str | None, options: tuple[str, ...]) -> dict:
    """The values that preset `name` has for `options`; nothing without a name.

    Example:

        >>> select_options("evaluation-script", PROCESSOR_OPTIONS)
        {'context_frames': 'middle', 'overlap': 'sum'}
    """
    if name is None:
        return {}
    if name not in COMPAT:
        raise CheckpointError(f"unknown compat {name!r}; use one of {', '.join(COMPAT)}")
    return {option: COMPAT[name][option] for option in options}


def _set_options(target, options: dict):
    for option, value in options.items():
        setattr(target, option, value)
    return target


__all__ = ["COMPAT", "apply_compat", "apply_processor_compat"]
