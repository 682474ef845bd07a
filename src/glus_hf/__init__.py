"""Referring video segmentation for Hugging Face: a video and a sentence in, the pixels of what it means out."""

from __future__ import annotations

import importlib

__version__ = "0.1.0.dev0"

_EXPORTS = {
    "GLUSConfig": "models.glus.configuration_glus",
    "GLUSForVideoSegmentation": "models.glus.modeling_glus",
    "GLUSImageProcessor": "models.glus.image_processing_glus",
    "GLUSInferenceSession": "models.glus.inference_glus",
    "GLUSModel": "models.glus.modeling_glus",
    "GLUSProcessor": "models.glus.processing_glus",
    "GLUSSegmentationOutput": "models.glus.modeling_glus",
    "GLUSVideoSegmentationOutput": "models.glus.inference_glus",
}
__all__ = [*_EXPORTS, "__version__"]


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'glus_hf' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
