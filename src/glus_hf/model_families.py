"""What there is of models, as strings only: the task, the families, their classes, converters and checkpoints.

Whoever must know a family looks it up here and imports it when it is used. So nothing imports more than it needs, no
two files import each other, and a family is added by adding its names.
"""

from __future__ import annotations

import importlib
import importlib.util


PACKAGE = "glus_hf"
TASK = "referring-video-segmentation"

FAMILIES = {
    "glus": {
        "config": "GLUSConfig",
        "model": "GLUSForVideoSegmentation",
        "processor": "GLUSProcessor",
        "image_processor": {"pil": "GLUSImageProcessor"},
    },
    "glus_vlm": {
        "config": "GLUSVLMConfig",
        "model": "GLUSVLMForVideoSegmentation",
        "processor": "GLUSVLMProcessor",
    },
    "glee": {
        "config": "GLEEConfig",
        "model": "GLEEForVideoSegmentation",
        "processor": "GLEEProcessor",
        "image_processor": {"pil": "GLEEImageProcessor"},
    },
    "grounded": {
        "config": "GroundedConfig",
        "model": "GroundedForVideoSegmentation",
        "processor": "GroundedProcessor",
    },
    "sam3_phrase": {
        "config": "Sam3PhraseConfig",
        "model": "Sam3PhraseForVideoSegmentation",
        "processor": "Sam3PhraseProcessor",
    },
}
"""Per model type that segments, the public names of its classes in `glus_hf`."""

HELPER_FAMILIES = {
    "glus_selector": {
        "config": "GLUSSelectorConfig",
        "model": "GLUSSelector",
        "processor": "GLUSSelectorProcessor",
    },
    "chat_univi": {
        "config": "ChatUniViConfig",
        "model": "ChatUniViForConditionalGeneration",
        "processor": "ChatUniViProcessor",
    },
}
"""The same of models that help: the key-frame selector and its base. Both use CLIP's image processor."""

ALL_FAMILIES = FAMILIES | HELPER_FAMILIES

DETECTION_TASK = "zero-shot-object-detection"
FINDS_NAMES = ("glee",)
"""The families that find objects by names, which is a task of transformers."""

PROMPT_TASK = "mask-generation"
TAKES_PROMPTS = ("glee",)
"""The families that take points, boxes and masks as prompts, which is a task of transformers."""

KEY_FRAME_SELECTOR = "glus_selector"
"""The family that scores frames."""

CONVERTERS = {
    "llava": "models.glus.convert_glus_to_hf",
    "ChatUniVi": "models.glus_selector.convert_glus_selector_to_hf",
}
"""By the `model_type` in the `config.json` of an original checkpoint, the module that converts it."""

FILE_CONVERTER = "models.glee.convert_glee_to_hf"
"""The module that converts an original checkpoint which is a single file of weights."""

STARTING_WEIGHTS = "models.glus.convert_glus_to_hf"
"""The module that puts starting weights together and swaps the mask branch."""

NEW_MODEL = "models.glus_vlm.new_glus_vlm"
"""The module that puts a checkpoint to start training from together, from models of transformers."""

EXPORTERS = {"upstream": "models.glus.convert_glus_to_original"}
"""By format, the module that writes a model for the original code."""

RELEASED = {
    **dict.fromkeys(("glus-7b", "glus-s", "glus-s-partial", "glus-a"), "models.glus.released_glus"),
    **dict.fromkeys(("glee-lite", "glee-plus", "glee-pro"), "models.glee.released_glee"),
    **dict.fromkeys(("grounded-tiny", "grounded-base"), "models.grounded.released_grounded"),
    "sam3": "models.sam3_video.released_sam3_video",
}
"""By alias of a released checkpoint, the module that fetches it."""

RUNS = {
    **dict.fromkeys(("glus", "glus_vlm"), ("training.glus_run", "load_run_config", "build_trainer")),
    "glus_selector": ("training.selector_run", "load_selector_config", "build_selector_trainer"),
    "glee": ("training.glee_run", "load_glee_config", "build_glee_trainer"),
}
"""By model type, the module of its training runs, with its functions that read a configuration and build a trainer."""


def load_module(path: str):
    """The module `glus_hf.<path>`; None where the package is not installed: a model pushed with its code runs alone.

    Example:
        >>> load_module("errors").__name__
        'glus_hf.errors'
    """
    return None if importlib.util.find_spec(PACKAGE) is None else importlib.import_module(f"{PACKAGE}.{path}")


def load_class(model_type: str, kind: str) -> type:
    """A class of a family by its public name.

    Args:
        model_type: a key of `FAMILIES` or `HELPER_FAMILIES`.
        kind: "config", "model" or "processor".

    Example:
        >>> load_class("glus", "config").__name__
        'GLUSConfig'
    """
    return getattr(importlib.import_module(PACKAGE), ALL_FAMILIES[model_type][kind])


__all__ = ["ALL_FAMILIES", "CONVERTERS", "EXPORTERS", "FAMILIES", "HELPER_FAMILIES", "load_class", "load_module"]
