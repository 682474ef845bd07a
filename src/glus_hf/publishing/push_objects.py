"""Models, processors and pipelines in memory, pushed as repositories."""

from __future__ import annotations

import os
import re

from transformers.utils import logging

from ..errors import CheckpointError
from ..hub import is_alias
from ..hub_access import is_hub_name
from ..model_families import load_class
from .model_card import CardOptions
from .push import CommitInfo, PushOptions, push_saved


logger = logging.get_logger(__name__)

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def push_model(model, processor, repo_id: str, max_shard_size: int | str, **options) -> CommitInfo:
    """Push a model with its processor; what [`CheckpointMixin.push_to_hub`] does."""
    processor = processor or _processor_of(model)
    base = public_name(getattr(model, "name_or_path", None))

    def save(folder):
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        if processor is not None:
            processor.save_pretrained(folder)

    return push_saved(save, repo_id, *split_options({"base_model": base, **options}))


def push_object(item, repo_id: str, **options) -> CommitInfo:
    """Push what has `save_pretrained` and is no model."""
    return push_saved(item.save_pretrained, repo_id, *split_options(options))


def split_options(options: dict) -> tuple[PushOptions, CardOptions]:
    """Where to push, and the card, from the options of a `push_to_hub`.

    Raises:
        TypeError: one is unknown.

    Example:
        >>> split_options({"revision": "v2", "license": "mit"})[1].licence
        'mit'
    """
    names = {"license": "licence", "commit_message": "message", "commit_description": "description"}
    options = {names.get(name, name): value for name, value in options.items() if value is not None}
    of_card = {name: options.pop(name) for name in CardOptions.__dataclass_fields__ if name in options}
    return PushOptions(**options), CardOptions(**of_card)


def public_name(name: str | os.PathLike | None) -> str | None:
    """A name of a model that others can load too: an alias or one of the Hub; None for a folder.

    Example:
        >>> public_name("glus-tiny"), public_name("/home/me/model")
        ('glus-tiny', None)
    """
    name = str(name or "")
    is_public = name and (is_alias(name) or REPOSITORY.fullmatch(name)) and not os.path.exists(name)
    return name if is_public else None


def _processor_of(model):
    """The processor of the checkpoint that a model was loaded from; None, with a warning, where there is none."""
    name = getattr(model, "name_or_path", None)
    if name and (is_alias(name) or is_hub_name(name) or os.path.isdir(name)):
        try:
            return load_class(model.config.model_type, "processor").from_pretrained(name)
        except CheckpointError as error:
            logger.warning(f"the model is pushed without a processor ({error}); pass processor=")
            return None
    logger.warning("the model is pushed without a processor: pass processor=")
    return None


__all__ = ["public_name", "push_model", "push_object", "split_options"]
