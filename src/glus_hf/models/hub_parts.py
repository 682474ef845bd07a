"""A model of transformers as its authors released it, to become a part of one of ours."""

from __future__ import annotations

import os

from ..checkpoint_files.json_fields import read_fields
from ..errors import CheckpointError, UserError
from .checkpoint_loading import check_files, readable_errors
from .mask_images import check_statistics


BUFFERS = ("position_ids", "relative_position_index", "num_batches_tracked")  # of older versions; computed today


def load_part(model_class, name_or_path: str | os.PathLike, dtype: str = "float32"):
    """A model of a folder or the Hub; strictly, but for buffers that are computed today.

    Args:
        model_class: of transformers, such as `Sam2VideoModel`.
        name_or_path: in the format of transformers.
        dtype: precision of the weights, or "auto" for that of the file.

    Raises:
        CheckpointError: it cannot be loaded, holds another model, or its weights do not fit; one line.
    """
    check_files(name_or_path, {}, of_model=True)
    with readable_errors(name_or_path):
        model, info = model_class.from_pretrained(name_or_path, dtype=dtype, output_loading_info=True)
    unexpected = [key for key in info["unexpected_keys"] if not key.endswith(BUFFERS)]
    for problem, keys in {"missing": info["missing_keys"], "unexpected": unexpected}.items():
        if keys:
            names = ", ".join(sorted(keys)[:3])
            raise CheckpointError(f"{name_or_path}: {len(keys)} weights are {problem} ({names}); download it again")
    return model


def image_statistics(folder: str | os.PathLike) -> tuple[list[float], list[float]] | None:
    """Mean and deviation of a model's images, from whichever file of its processor has them; None if there is none.

    Raises:
        CheckpointError: a file cannot be read, or has other numbers than three for each; one line.
    """
    for name in ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        file = os.path.join(folder, name)
        fields = read_fields(file) if os.path.lexists(file) else {}
        for found in (fields, fields.get("image_processor"), fields.get("video_processor")):
            if isinstance(found, dict) and "image_mean" in found and "image_std" in found:
                try:
                    return check_statistics(found["image_mean"], found["image_std"])
                except UserError as error:
                    raise CheckpointError(f"{file}: {error}") from error
    return None


__all__ = ["BUFFERS", "image_statistics", "load_part"]
