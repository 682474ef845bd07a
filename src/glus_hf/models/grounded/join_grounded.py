"""A detector and SAM-2, each as its authors released it for transformers, become one checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

from transformers import AutoConfig, AutoModelForZeroShotObjectDetection, AutoTokenizer, Sam2VideoModel
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

from ...atomic_write import new_folder
from ...errors import CheckpointError
from ..checkpoint_loading import check_files, readable_errors
from ..hub_parts import image_statistics, load_part
from .configuration_grounded import DETECTORS, GroundedConfig
from .modeling_grounded import GroundedForVideoSegmentation
from .processing_grounded import GroundedProcessor


def join_checkpoints(
    detector: str | os.PathLike, mask_model: str | os.PathLike, output: str | os.PathLike, **settings
) -> Path:
    """Write a folder for `GroundedForVideoSegmentation.from_pretrained` and `GroundedProcessor.from_pretrained`.

    Args:
        detector: folder of a Grounding DINO or MM-Grounding-DINO.
        mask_model: folder of a `Sam2VideoModel`.
        output: must not exist.
        settings: of [`GroundedConfig`].

    Raises:
        CheckpointError: a folder holds another model, its weights do not fit, or `output` exists; one line.
    """
    detector, mask_model = Path(detector), Path(mask_model)
    kind = _config(detector).model_type
    if kind not in DETECTORS:
        raise CheckpointError(f"{detector}: holds a {kind!r} model, no detector; use {' or '.join(DETECTORS)}")
    parts = {
        "detector": load_part(AutoModelForZeroShotObjectDetection, detector),
        "mask_model": load_part(Sam2VideoModel, mask_model),
    }
    # copies: a composite model sets the attention of its configs anew, and those of the parts are in use
    configs = {
        "detector_config": parts["detector"].config.to_dict(),
        "mask_config": parts["mask_model"].config.to_dict(),
    }
    model = GroundedForVideoSegmentation(GroundedConfig(**configs, **settings), **parts)
    processor = _join_processors(detector, mask_model)
    output = Path(output).absolute()
    with new_folder(output) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return output


def _config(folder: Path):
    check_files(folder, {}, of_model=True)
    with readable_errors(folder):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def _join_processors(detector: Path, mask_model: Path) -> GroundedProcessor:
    check_files(detector, {}, of_model=False)
    with readable_errors(detector):
        images = GroundingDinoImageProcessorPil.from_pretrained(detector)
        tokenizer = AutoTokenizer.from_pretrained(detector, trust_remote_code=False)
    statistics = image_statistics(mask_model)
    if statistics is None:
        return GroundedProcessor(images, tokenizer)
    return GroundedProcessor(images, tokenizer, mask_image_mean=statistics[0], mask_image_std=statistics[1])


__all__ = ["join_checkpoints"]
