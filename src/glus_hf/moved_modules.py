"""Import paths that documentation has shown, and where their modules are now."""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec


MOVED = {
    "glus_hf.data.atomic_write": "glus_hf.atomic_write",
    "glus_hf.data.key_frames": "glus_hf.predictions.key_frame_file",
    "glus_hf.data.masks": "glus_hf.media.rle",
    "glus_hf.data.video": "glus_hf.media.video",
    "glus_hf.evaluation.iou": "glus_hf.metrics.iou",
    "glus_hf.evaluation.j_and_f": "glus_hf.metrics.j_and_f",
    "glus_hf.evaluation.metrics": "glus_hf.metrics.evaluate_modules",
    "glus_hf.evaluation.no_target": "glus_hf.metrics.no_target",
    "glus_hf.evaluation.robustness": "glus_hf.metrics.robustness",
    "glus_hf.evaluation.score": "glus_hf.evaluation.scoring.score_predictions",
    "glus_hf.evaluation.temporal_iou": "glus_hf.metrics.temporal_iou",
    "glus_hf.models.glus.compat_glus": "glus_hf.models.glus.presets_glus",
    "glus_hf.models.glus.key_mapping_glus": "glus_hf.models.glus.weight_names_glus",
}


class MovedModules(MetaPathFinder, Loader):
    """Gives the module at its new place to whoever imports it by its old name."""

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module) -> None:
        sys.modules[module.__name__] = importlib.import_module(MOVED[module.__name__])


def keep_old_paths() -> None:
    """Let the old import paths work."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
