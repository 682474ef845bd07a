"""Configuration of the grounded engine."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, Sam2VideoConfig
from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoMaskDecoderConfig

from ...checkpoint_files.config_bounds import check_names, check_numbers
from ...errors import CheckpointError, UserError
from ..checkpoint_loading import CheckpointMixin


@strict
class GroundedConfig(CheckpointMixin, PreTrainedConfig):
    r"""
    Configuration of [`GroundedForVideoSegmentation`]: a detector that gives boxes for a phrase, and SAM-2 that follows
    the best box through the video.

    Args:
        detector_config: of Grounding DINO or MM-Grounding-DINO.
        mask_config (`Sam2VideoConfig`): of SAM-2.
        num_detection_frames (`int`, defaults to 8): frames on which the detector looks for the phrase, in the middle
            of equal segments of the video.
        no_target_threshold (`float`, *optional*, defaults to 0.25): empty masks where the best box of all these frames
            has a lower score; `None` always follows the best box.

    Example:

        >>> from glus_hf import GroundedConfig
        >>> config = GroundedConfig(num_detection_frames=4)
        >>> config.detector_config.model_type, config.mask_config.image_size
        ('grounding-dino', 1024)
    """

    model_type = "grounded"
    sub_configs = {"detector_config": AutoConfig, "mask_config": Sam2VideoConfig}

    detector_config: PreTrainedConfig | dict | None = None
    mask_config: PreTrainedConfig | dict | None = None
    num_detection_frames: int = 8
    no_target_threshold: float | None = 0.25

    def __post_init__(self, **kwargs):
        check_numbers({**vars(self), **kwargs}, type(self).__name__)
        if self.detector_config is None or isinstance(self.detector_config, dict):
            self.detector_config = _detector_config(dict(self.detector_config or {}))
        if self.mask_config is None or isinstance(self.mask_config, dict):
            values = _without_type(self.mask_config or {})
            check_names(Sam2VideoConfig, values, "GroundedConfig.mask_config")
            decoder = values.get("mask_decoder_config")
            if isinstance(decoder, dict):  # transformers 5.17 makes a prompt encoder's config of it
                values["mask_decoder_config"] = Sam2VideoMaskDecoderConfig(**_without_type(decoder))
            self.mask_config = Sam2VideoConfig(**values)
        _check_detector(self.detector_config.model_type)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """A config from a dict; `kwargs` go before its values. Fields in the place of methods are refused.

        Example:

            >>> GroundedConfig.from_dict({"num_detection_frames": 2}).num_detection_frames
            2
        """
        check_names(cls, config_dict)
        return super().from_dict(config_dict, **kwargs)


def resized_mask_config(config: Sam2VideoConfig, side: int) -> Sam2VideoConfig:
    """A copy of a configuration of SAM-2 for images of another side; no weight changes its shape.

    Args:
        config: of any SAM-2.
        side: of the square images, in pixels; a multiple of 32.

    Raises:
        UserError: SAM-2 cannot have this side; one line.

    Example:

        >>> resized_mask_config(Sam2VideoConfig(), 512).memory_attention_rope_feat_sizes
        [32, 32]
    """
    if isinstance(side, bool) or not isinstance(side, int) or side % 32 or not LEAST_SIDE <= side <= LARGEST_SIDE:
        raise UserError(f"mask size {side} cannot be used: take a multiple of 32 from {LEAST_SIDE} to {LARGEST_SIDE}")
    values = config.to_dict()
    values["image_size"] = values["prompt_encoder_config"]["image_size"] = side
    values["vision_config"]["backbone_config"]["image_size"] = [side, side]
    values["vision_config"]["backbone_feature_sizes"] = [[side // stride] * 2 for stride in STRIDES]
    values["memory_attention_rope_feat_sizes"] = [side // STRIDES[-1]] * 2
    return GroundedConfig(mask_config=values).mask_config


def _detector_config(values: dict) -> PreTrainedConfig:
    kind = values.pop("model_type", DETECTORS[0])
    _check_detector(kind)
    return AutoConfig.for_model(kind, **values)


def _check_detector(kind: str) -> None:
    if kind not in DETECTORS:
        raise CheckpointError(f"GroundedConfig.detector_config.model_type must be one of {DETECTORS}, got {kind!r}")


def _without_type(values: dict) -> dict:
    return {key: value for key, value in values.items() if key != "model_type"}


DETECTORS = ("grounding-dino", "mm-grounding-dino")
STRIDES = (4, 8, 16)  # of the feature maps of SAM-2
LEAST_SIDE, LARGEST_SIDE = 64, 2048

__all__ = ["GroundedConfig", "resized_mask_config"]
