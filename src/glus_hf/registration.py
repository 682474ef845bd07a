"""Make `transformers` know our models and our pipeline, without importing it.

`AutoConfig.register` and its siblings need the classes, so they would import `transformers` and all models at
`import glus_hf` (seconds). Instead we wait until the modules that hold the Auto mappings are imported and add our
names to the tables of names that `transformers` keeps for its own models; like those, ours load on first use. Nothing
is imported while `transformers` itself is only half imported, so the order of imports does not matter.
"""

from __future__ import annotations

import functools
import inspect
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

from .model_families import ALL_FAMILIES, TASK


def register_lazily() -> None:
    """Register with what is imported of `transformers` now, and with the rest when it gets imported."""
    if any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        return
    for model_type in ALL_FAMILIES:  # where transformers looks for the classes of this model type
        sys.modules.setdefault(f"transformers.models.{model_type}", sys.modules[__package__])
    sys.meta_path.insert(0, _AfterImport())
    for name, register in _REGISTER.items():
        if name in sys.modules:
            register(sys.modules[name])
    if _PIPELINES in sys.modules:
        _replace_earlier_imports(sys.modules[_PIPELINES].pipeline)


class _AfterImport(MetaPathFinder):
    """Runs `_REGISTER[name]` right after the module `name` was executed."""

    def find_spec(self, name, path=None, target=None):
        register = _REGISTER.get(name)
        spec = PathFinder.find_spec(name, path, target) if register else None
        if spec is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (execute(module), register(module))
        return spec


def _register_configs(module) -> None:
    module.CONFIG_MAPPING_NAMES.update({family: names["config"] for family, names in ALL_FAMILIES.items()})


def _register_classes(kind: str, mapping: str, module) -> None:
    for family, names in ALL_FAMILIES.items():
        if kind not in names:
            continue
        getattr(module, f"{mapping}_NAMES")[family] = names[kind]
        # filled at construction, perhaps before our configs were registered
        getattr(module, mapping)._reverse_config_mapping[names["config"]] = family


def _register_pipeline(module) -> None:
    from .hub import DEFAULT_MODEL, packaged_folder
    from .models.auto import AutoModelForReferringVideoSegmentation
    from .pipelines.referring_video_segmentation import ReferringVideoSegmentationPipeline

    module.PIPELINE_REGISTRY.register_pipeline(
        TASK,
        pipeline_class=ReferringVideoSegmentationPipeline,
        pt_model=AutoModelForReferringVideoSegmentation,
        default={"model": (str(packaged_folder(DEFAULT_MODEL)), None)},
        type="multimodal",
    )
    _teach_aliases(module)


def _teach_aliases(module) -> None:
    """Let `transformers.pipeline` take `model="glus-tiny"`, and report a wrong checkpoint in one line.

    `transformers.pipeline` asks the Hub about any name that is not a folder before it gives the pipeline class a say,
    so there is no hook for aliases: the function itself is wrapped. Other tasks go straight through.
    """
    original = module.pipeline
    signature = inspect.signature(original)

    @functools.wraps(original)
    def pipeline(*args, **kwargs):
        from .pipelines.factory import is_ours, load_components

        arguments = signature.bind(*args, **kwargs).arguments
        arguments.update(arguments.pop("kwargs", {}))
        if not is_ours(arguments):
            return original(*args, **kwargs)
        return original(**load_components(arguments))

    module.pipeline = pipeline


def _replace_earlier_imports(pipeline) -> None:
    """Give the wrapped function to modules that imported `transformers.pipeline` before `import glus_hf`.

    Any module may have done so, under any name, and there is no list of them: all that are loaded are looked at, once.
    """
    for holder in list(sys.modules.values()):
        for name, value in list(getattr(holder, "__dict__", {}).items()):
            if value is pipeline.__wrapped__:
                setattr(holder, name, pipeline)


_PIPELINES = "transformers.pipelines"
_AUTO = "transformers.models.auto"
_REGISTER = {
    f"{_AUTO}.configuration_auto": _register_configs,
    f"{_AUTO}.modeling_auto": functools.partial(_register_classes, "model", "MODEL_MAPPING"),
    f"{_AUTO}.processing_auto": functools.partial(_register_classes, "processor", "PROCESSOR_MAPPING"),
    f"{_AUTO}.image_processing_auto": functools.partial(
        _register_classes, "image_processor", "IMAGE_PROCESSOR_MAPPING"
    ),
    _PIPELINES: _register_pipeline,
}
