"""`transformers.pipeline` for our task: defaults, aliases and errors in one line."""

from __future__ import annotations

import os

import transformers.pipelines

from ..errors import UserError
from ..hub import DEFAULT_MODEL, is_alias
from ..hub_access import split_revision, without_waiting
from ..model_families import ALL_FAMILIES, DETECTION_TASK, FINDS_NAMES, PROMPT_TASK, TAKES_PROMPTS, TASK
from ..models.auto import AutoModelForReferringVideoSegmentation, check_configuration
from ..models.checkpoint_loading import check_files, model_type_of, readable_errors, resolve_name


OTHER_TASKS = {
    DETECTION_TASK: (FINDS_NAMES, "find objects by names"),
    PROMPT_TASK: (TAKES_PROMPTS, "take points, boxes or masks"),
}
"""Tasks of transformers that families of ours do, too: which ones, and what the others do not."""


def pipeline(task: str = TASK, model=None, **kwargs):
    """`transformers.pipeline` with our task and model as defaults.

    Args:
        task: any task of `transformers.pipeline`. "zero-shot-object-detection" with a model of ours that finds objects
            by names gives an [`ObjectsByNamePipeline`]; "mask-generation" with one that takes points, boxes and masks
            gives a [`PromptedObjectsPipeline`].
        model: alias ("glus-tiny"), folder, Hub name or a model in memory (which needs `processor=` too).
        kwargs: `compat="released"`, `"evaluation-script"` or `"paper"`, for model and processor; `revision`, of an
            alias too ("glus-7b"); `compile=True`, which calls `model.compile_stages()`; else as for
            `transformers.pipeline` (`device`, `dtype`, ...), and the settings of
            [`ReferringVideoSegmentationPipeline`] (`threshold`, `progress`, ...), which become its defaults.

    Returns:
        [`ReferringVideoSegmentationPipeline`] for our task.

    Raises:
        CheckpointError: the model cannot be loaded; one line.

    Example:
        >>> pipe = pipeline()
        >>> pipe("clip.mp4", "the red circle")["masks"].shape  # doctest: +SKIP
        (16, 128, 128)
    """
    pipeline_class = _pipeline_class(task, model)
    if pipeline_class is not None:
        components = load_components({**kwargs, "model": model}) | {"task": task}
        return transformers.pipelines.pipeline(**components, pipeline_class=pipeline_class)
    if task in OTHER_TASKS and isinstance(model, (str, os.PathLike)):  # of transformers' own
        kwargs["trust_remote_code"] = bool(kwargs.get("trust_remote_code"))  # None would ask on the terminal
        with readable_errors(model):
            return transformers.pipelines.pipeline(task, model, **kwargs)
    return transformers.pipelines.pipeline(task, model, **kwargs)


def _pipeline_class(task: str, model) -> type | None:
    """Our pipeline of a task of transformers, for a model of ours that does it.

    Raises:
        UserError: the model is of a family of ours that does not; or the checkpoint cannot be read; one line.
    """
    if task not in OTHER_TASKS or not model:
        return None
    families, what = OTHER_TASKS[task]
    by_name = isinstance(model, (str, os.PathLike))
    model_type = model_type_of(model) if by_name else getattr(getattr(model, "config", None), "model_type", None)
    if model_type not in ALL_FAMILIES:
        return None
    if model_type not in families:
        name = model if by_name else "this model"
        raise UserError(f"{name} does not {what}; use a model of the family {', '.join(families)}")
    if task == DETECTION_TASK:
        from .zero_shot_object_detection import ObjectsByNamePipeline

        return ObjectsByNamePipeline
    from .prompted_objects import PromptedObjectsPipeline

    return PromptedObjectsPipeline


def is_ours(arguments: dict) -> bool:
    """Whether the arguments of `transformers.pipeline` mean our task: by name, or by an alias alone."""
    task, model = arguments.get("task"), arguments.get("model")
    return task == TASK or (task is None and isinstance(model, str) and is_alias(model))


def load_components(arguments: dict) -> dict:
    """Arguments of `transformers.pipeline` for our task, with the model loaded and the processor's alias resolved.

    `transformers.pipeline` would load the model itself, but hides the reason of a failure in a traceback.
    """
    arguments = {**arguments, "task": TASK}
    arguments["trust_remote_code"] = bool(arguments.get("trust_remote_code"))  # None would ask on the terminal
    model, compat = arguments.get("model"), arguments.pop("compat", None)
    if model is None or (isinstance(model, str) and not model):  # a compiled module has no truth value
        model = DEFAULT_MODEL
    if isinstance(arguments.get("processor"), (str, os.PathLike)):
        arguments["processor"] = resolve_name(arguments["processor"])
        check_files(arguments["processor"], arguments, of_model=False)
    if not isinstance(model, (str, os.PathLike)):
        if compat is not None:
            raise UserError("compat goes with a model's name; pass compat to its from_pretrained")
        _check_model(model)
        if arguments.get("processor") is None:
            raise UserError("a model in memory goes with its processor: pass processor= too")
        return arguments
    model, arguments = split_revision(model, arguments)
    name = resolve_name(model, arguments.get("revision"))
    load = {key: arguments[key] for key in ("config", "revision", "token", "trust_remote_code") if key in arguments}
    load["dtype"] = arguments.pop("torch_dtype", None) or arguments.get("dtype") or "auto"
    if arguments.get("device_map") is not None:
        load["device_map"] = arguments.pop("device_map")
    load.update(arguments.pop("model_kwargs", None) or {})
    preset = {} if compat is None else {"compat": compat}
    if arguments.get("processor") is None:  # first: it takes no memory, and can be as damaged as weights
        arguments["processor"] = _load_processor(name, load, preset)
    arguments["model"] = AutoModelForReferringVideoSegmentation.from_pretrained(name, **preset, **load)
    return arguments


def _load_processor(name, load: dict, preset: dict):
    """The processor beside a model's weights, which are looked at only as far as its configuration."""
    from transformers import AutoProcessor

    load = without_waiting(name, load)
    check_configuration(name, load)
    hub = {key: load[key] for key in ("revision", "token", "local_files_only") if key in load}
    check_files(name, hub, of_model=False)
    with readable_errors(name):
        trusted = load["trust_remote_code"]
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=trusted, **preset, **hub)
        _check_processor(processor)
    return processor


def _check_model(model) -> None:
    if not hasattr(model, "propagate_in_video_iterator"):
        kind = type(model).__name__
        raise UserError(f"model is a {kind}, which does not segment videos: pass a name, a folder or a model of ours")


def _check_processor(processor) -> None:
    """Of a class that it does not know, transformers loads the tokenizer alone."""
    if not hasattr(processor, "init_video_session"):
        kind = type(processor).__name__
        raise UserError(f"its processor is a {kind}, which makes no session of a video; correct processor_class")


__all__ = ["is_ours", "load_components", "pipeline"]
