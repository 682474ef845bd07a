"""The Auto class of referring video segmentation: picks the model family from the config."""

from __future__ import annotations

import os
from collections import OrderedDict

from transformers import AutoConfig
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from ..hub_access import split_revision, without_waiting
from ..model_families import FAMILIES
from .adapters import base_of
from .checkpoint_loading import check_checkpoint, check_files, readable_errors, resolve_name


MODEL_FOR_REFERRING_VIDEO_SEGMENTATION_MAPPING_NAMES = OrderedDict(
    (model_type, names["model"]) for model_type, names in FAMILIES.items()
)
MODEL_FOR_REFERRING_VIDEO_SEGMENTATION_MAPPING = _LazyAutoMapping(
    CONFIG_MAPPING_NAMES, MODEL_FOR_REFERRING_VIDEO_SEGMENTATION_MAPPING_NAMES
)


class AutoModelForReferringVideoSegmentation(_BaseAutoModelClass):
    """Any model that gives masks of a video for an expression: `from_pretrained` and `from_config` pick the class.

    Another family joins with `AutoModelForReferringVideoSegmentation.register(ItsConfig, ItsModel)`.

    Example:

        >>> model = AutoModelForReferringVideoSegmentation.from_pretrained("glus-tiny")
        >>> type(model).__name__
        'GLUSForVideoSegmentation'
    """

    _model_mapping = MODEL_FOR_REFERRING_VIDEO_SEGMENTATION_MAPPING

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *model_args, **kwargs):
        """Load a model from an alias ("glus-tiny"), a folder or the Hub. The AutoModel of transformers knows no alias:
        give it `glus_hf.resolve_checkpoint("glus-tiny")`.

        Args:
            pretrained_model_name_or_path: alias, folder or Hub name.
            kwargs: as for any `from_pretrained` (`dtype`, `device_map`, ...).

        Raises:
            CheckpointError: the folder holds no model of this kind, or its weights do not fit; one line.
        """
        pretrained_model_name_or_path, kwargs = split_revision(pretrained_model_name_or_path, kwargs)
        name = resolve_name(pretrained_model_name_or_path, kwargs.get("revision"))
        kwargs["trust_remote_code"] = bool(kwargs.get("trust_remote_code"))  # None would ask on the terminal
        kwargs = without_waiting(name, kwargs)
        check_configuration(name, kwargs)
        with readable_errors(name):
            if kwargs.get("config") is None and (base := base_of(name, kwargs)) is not None:
                config = AutoConfig.from_pretrained(resolve_name(base), trust_remote_code=False)
                model_class = cls._model_mapping[type(config)]
                return model_class.from_pretrained(name, *model_args, **kwargs)
            return super().from_pretrained(name, *model_args, **kwargs)


def check_configuration(name_or_path: str | os.PathLike, options: dict) -> None:
    """Check what `from_pretrained` with these options reads before it builds a model.

    Raises:
        CheckpointError: there is no model of this kind, or its configuration is damaged; one line.

    Example:
        >>> from glus_hf import resolve_checkpoint
        >>> check_configuration(resolve_checkpoint("glus-tiny"), {})
    """
    if options.get("config") is None:
        if not options.get("trust_remote_code"):  # whose families we cannot know
            check_folder(name_or_path, options.get("subfolder") or "")
        check_files(name_or_path, options, of_model=True)


def check_folder(name_or_path: str | os.PathLike, subfolder: str = "") -> str:
    """Resolve an alias and check that a local folder holds a model of this kind; names on the Hub pass unchecked.

    Raises:
        CheckpointError: it does not; one line.
    """
    name = resolve_name(name_or_path)
    check_checkpoint(name, [config.model_type for config in MODEL_FOR_REFERRING_VIDEO_SEGMENTATION_MAPPING], subfolder)
    return name


__all__ = ["AutoModelForReferringVideoSegmentation", "check_configuration"]
