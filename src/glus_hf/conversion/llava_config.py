"""What converters take from the `config.json` of LLaVA-like checkpoints and of their CLIP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError

from ..checkpoint_files.json_fields import shorten
from ..errors import CheckpointError, UserError
from .provenance import read_json


TEXT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "rope_theta",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
VISION_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "projection_dim",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
)
CLIP_VIEW_FIELDS = ("size", "crop_size", "image_mean", "image_std", "resample", "rescale_factor")


@contextmanager
def readable_config(folder: Path) -> Iterator[None]:
    """Turn what configurations raise for values of a wrong kind into an error that names the folder.

    Raises:
        CheckpointError: a field is missing or wrong; one line.
    """
    try:
        yield
    except UserError as error:
        if str(folder) in str(error):
            raise
        message = f"a config of the checkpoint, CLIP or SAM-2 does not fit ({error})"
        raise CheckpointError(f"{folder}: {message}; download it again") from None
    except KeyError as error:
        raise CheckpointError(
            f"{folder}: the config of the checkpoint, CLIP or SAM-2 lacks {error}; download it again"
        ) from None
    except (StrictDataclassError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
        message = f"a config of the checkpoint, CLIP or SAM-2 is wrong ({shorten(error)}); download it again"
        raise CheckpointError(f"{folder}: {message}") from None


def refuse_rope_scaling(config: Mapping) -> None:
    """Refuse scaled positions, as Llamas with longer contexts have them."""
    if config.get("rope_scaling") is not None:
        raise UserError(
            f"rope_scaling {config['rope_scaling']} is not supported; use a released checkpoint, which has none"
        )


def pick_fields(config: Mapping, names: tuple[str, ...]) -> dict:
    """Those of `names` that a config has."""
    return {name: config[name] for name in names if config.get(name) is not None}


def _clip_view_settings(clip: Path, size: int) -> dict:
    """Settings of CLIP's image processor, from its folder where that has them.

    Args:
        clip: folder of a CLIP.
        size: side of its images in pixels.
    """
    settings = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
    saved = clip / "preprocessor_config.json"
    if saved.is_file():
        settings |= {name: value for name, value in read_json(saved).items() if name in CLIP_VIEW_FIELDS}
    return settings


def clip_image_processor(kind: Callable, clip: Path, size: int, **settings):
    """An image processor of the class `kind` with the settings in the folder of a CLIP, and others.

    Raises:
        CheckpointError: the file in the folder of the CLIP has settings that make none; one line.
    """
    views = _clip_view_settings(clip, size)
    try:
        return kind(**views, **settings)
    except Exception as error:  # transformers raises anything for settings of a wrong kind
        file = clip / "preprocessor_config.json"
        raise CheckpointError(f"{file}: makes no image processor ({shorten(error)}); download it again") from error


__all__ = [
    "TEXT_FIELDS",
    "VISION_FIELDS",
    "clip_image_processor",
    "pick_fields",
    "readable_config",
    "refuse_rope_scaling",
]
