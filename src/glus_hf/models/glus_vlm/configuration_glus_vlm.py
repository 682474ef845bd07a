"""Configuration of the GLUS recipe on any vision-language model."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from ...checkpoint_files.config_bounds import check_names, check_numbers
from ...errors import CheckpointError
from ..checkpoint_loading import CheckpointMixin
from ..vision_language_families import VISION_LANGUAGE_FAMILIES


MASK_MODELS = ("sam2_video", "sam3_tracker_video", "edgetam_video")
PARTS = {"vlm_config": tuple(VISION_LANGUAGE_FAMILIES), "mask_config": MASK_MODELS}
DEFAULTS = {"vlm_config": "smolvlm", "mask_config": "sam2_video"}
CHOICES = {"memory_features": ("conditioned", "raw")}


@strict
class GLUSVLMConfig(CheckpointMixin, PreTrainedConfig):
    r"""
    Configuration of [`GLUSVLMForVideoSegmentation`]: a vision-language model of transformers that reads context and
    query frames, and a mask model of transformers that its [SEG] states prompt.

    Args:
        vlm_config: of LLaVA, SmolVLM, Idefics3, LLaVA-OneVision, InternVL, Qwen2.5-VL, Qwen3-VL, Qwen3.5, Gemma 3 or
            LFM2-VL. SmolVLM's by default.
        mask_config: of `Sam2VideoModel`, `Sam3TrackerVideoModel` or `EdgeTamVideoModel`. SAM-2's by default.
        num_context_frames (`int`, defaults to 4): frames sampled from the whole video.
        num_query_frames (`int`, defaults to 4): longest sliding window of frames read together.
        seg_token_id (`int`, *optional*): id of [SEG].
        num_maskmem (`int`, defaults to 7): most memories read at once; 0 switches the memory bank off.
        memory_stride (`int`, defaults to 3): stride of the older memories at inference.
        training_memory_stride (`int`, defaults to 1): the same in training.
        detach_memory (`bool`, defaults to `True`): no gradient through memories.
        memory_features (`"conditioned"` or `"raw"`): what the memory encoder sees: features after memory attention
            (GLUS) or before (SAM-2).
        multimask_fallback (`bool`, defaults to `True`): in eval mode an unstable mask is replaced by the best of SAM's
            three other heads.
        ce_loss_weight, mask_bce_loss_weight, mask_dice_loss_weight (`float`): 1.0, 2.0, 0.5.
        tie_word_embeddings (`bool`): as the vision-language model has it, whatever is given.

    Example:

        >>> from glus_hf import GLUSVLMConfig
        >>> config = GLUSVLMConfig(vlm_config={"model_type": "qwen3_vl"}, num_query_frames=2)
        >>> config.vlm_config.model_type, config.mask_config.model_type
        ('qwen3_vl', 'sam2_video')
    """

    model_type = "glus_vlm"
    sub_configs = {"vlm_config": AutoConfig, "mask_config": AutoConfig}

    vlm_config: PreTrainedConfig | dict | None = None
    mask_config: PreTrainedConfig | dict | None = None
    num_context_frames: int = 4
    num_query_frames: int = 4
    seg_token_id: int | None = None
    num_maskmem: int = 7
    memory_stride: int = 3
    training_memory_stride: int = 1
    detach_memory: bool = True
    memory_features: str = "conditioned"
    multimask_fallback: bool = True
    ce_loss_weight: float = 1.0
    mask_bce_loss_weight: float = 2.0
    mask_dice_loss_weight: float = 0.5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    fuser_scale = "checkpoint"
    dense_position_dtype = "model"
    """What is an option of GLUS, where its paper and its code differ, is here as the mask model has it."""

    def __post_init__(self, **kwargs):
        check_numbers({**vars(self), **kwargs}, type(self).__name__)
        for name, kinds in PARTS.items():
            value = getattr(self, name)
            if value is None or isinstance(value, dict):
                value = _part(name, kinds, dict(value or {"model_type": DEFAULTS[name]}))
                setattr(self, name, value)
            _check_kind(name, kinds, value.model_type)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"GLUSVLMConfig.{name} must be one of {choices}, got {getattr(self, name)!r}.")
        self.tie_word_embeddings = bool(getattr(self.vlm_config, "tie_word_embeddings", False))
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """A config from a dict; `kwargs` go before its values. A [SEG] without a row in the embeddings is refused.

        Example:

            >>> GLUSVLMConfig.from_dict({"num_query_frames": 2}).num_query_frames
            2
        """
        check_names(cls, config_dict)
        result = super().from_dict(config_dict, **kwargs)
        config = result[0] if isinstance(result, tuple) else result
        rows, seg = config.get_text_config().vocab_size, config.seg_token_id
        if seg is not None and not 0 <= seg < rows:
            raise CheckpointError(f"GLUSVLMConfig.seg_token_id is {seg}; it must be from 0 to {rows - 1}")
        return result

    def get_text_config(self, *args, **kwargs) -> PreTrainedConfig:
        """Of the language model inside the vision-language model."""
        return self.vlm_config.get_text_config(*args, **kwargs)

    @property
    def seg_embedding_size(self) -> int:
        """Width of the mask prompt."""
        return self.mask_config.prompt_encoder_config.hidden_size


def _part(name: str, kinds: tuple[str, ...], values: dict) -> PreTrainedConfig:
    kind = values.pop("model_type", DEFAULTS[name])
    _check_kind(name, kinds, kind)
    return AutoConfig.for_model(kind, **values)


def _check_kind(name: str, kinds: tuple[str, ...], kind: str) -> None:
    if kind not in kinds:
        raise CheckpointError(f"GLUSVLMConfig.{name}.model_type must be one of {', '.join(kinds)}, got {kind!r}")


__all__ = ["MASK_MODELS", "GLUSVLMConfig"]
