"""Configuration of SAM 3 as an engine for phrases."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, Sam3VideoConfig

from ...checkpoint_files.config_bounds import check_names, check_numbers
from ..checkpoint_loading import CheckpointMixin


@strict
class Sam3PhraseConfig(CheckpointMixin, PreTrainedConfig):
    r"""
    Configuration of [`Sam3PhraseForVideoSegmentation`].

    Args:
        sam3_config (`Sam3VideoConfig`): of SAM 3; its thresholds and its delay are set there.

    Example:

        >>> from glus_hf import Sam3PhraseConfig
        >>> Sam3PhraseConfig().sam3_config.hotstart_delay
        15
    """

    model_type = "sam3_phrase"
    sub_configs = {"sam3_config": Sam3VideoConfig}

    sam3_config: PreTrainedConfig | dict | None = None

    def __post_init__(self, **kwargs):
        check_numbers({**vars(self), **kwargs}, type(self).__name__)
        if self.sam3_config is None or isinstance(self.sam3_config, dict):
            values = {key: value for key, value in (self.sam3_config or {}).items() if key != "model_type"}
            check_names(Sam3VideoConfig, values, "Sam3PhraseConfig.sam3_config")
            self.sam3_config = Sam3VideoConfig(**values)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """A config from a dict; `kwargs` go before its values. Fields in the place of methods are refused.

        Example:

            >>> Sam3PhraseConfig.from_dict({}).sam3_config.image_size
            1008
        """
        check_names(cls, config_dict)
        return super().from_dict(config_dict, **kwargs)


__all__ = ["Sam3PhraseConfig"]
