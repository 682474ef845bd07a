"""Configuration of GLUS."""

from huggingface_hub.dataclasses import strict
from transformers import CLIPVisionConfig, LlamaConfig, PreTrainedConfig, Sam2VideoConfig
from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoMaskDecoderConfig

from ...checkpoint_files.config_bounds import BOUNDS, check_names, check_numbers, check_token_ids
from ..checkpoint_loading import CheckpointMixin
from .presets_glus import MODEL_OPTIONS, select_options


@strict
class GLUSConfig(CheckpointMixin, PreTrainedConfig):
    r"""
    Configuration of [`GLUSForVideoSegmentation`]: three sub-configurations and everything that the original code
    keeps outside its config. The defaults are those of the released checkpoints; `from_pretrained(path, compat=name)`
    sets all options in which paper and original code differ at once (see `presets_glus.COMPAT`).

    Args:
        vision_config (`CLIPVisionConfig`): the tower whose tokens the language model reads.
        text_config (`LlamaConfig`): the language model.
        mask_config (`Sam2VideoConfig`): the mask branch.
        num_context_frames (`int`, defaults to 4): frames sampled from the whole video.
        num_query_frames (`int`, defaults to 4): longest sliding window of frames read together.
        image_token_pooling (`int`, defaults to 4): neighbouring patch tokens averaged into one, along the raster.
        vision_feature_layer (`int`, defaults to -2): hidden state of the tower that is read, without post norm.
        image_token_id (`int`, defaults to -200): stands for an image position in `input_ids`; not in the vocabulary.
        seg_token_id (`int`, *optional*): id of [SEG].
        num_maskmem (`int`, defaults to 7): most memories read at once; 0 switches the memory bank off.
        memory_stride (`int`, defaults to 3): stride of the older memories at inference.
        training_memory_stride (`int`, defaults to 1): the same in training.
        detach_memory (`bool`, defaults to `True`): no gradient through memories.
        memory_features (`"conditioned"` or `"raw"`): what the memory encoder sees: features after memory attention
            (GLUS) or before (SAM-2).
        fuser_scale (`"checkpoint"` or `"identity"`): layer scale of the memory encoder's fuser. `"identity"` is what
            the original evaluation script ends up with.
        dense_position_dtype (`"model"` or `"float32"`): precision of the dense positional encoding.
        multimask_fallback (`bool`, defaults to `True`): in eval mode an unstable mask is replaced by the best of SAM's
            three other heads.
        seg_hidden_state (`"last"` or `"penultimate"`): state projected into the mask prompt; the code of GLUS uses
            the last after the final norm, its paper says penultimate.
        frame_position_embedding (`bool`, defaults to `False`): add learned token positions and frame times to the
            image tokens. Not in GLUS; the bundled tiny model uses it.
        ce_loss_weight, mask_bce_loss_weight, mask_dice_loss_weight (`float`): 1.0, 2.0, 0.5.

    Example:

        >>> from glus_hf import GLUSConfig
        >>> config = GLUSConfig(num_query_frames=2)
        >>> config.mask_config.image_size
        1024
    """

    model_type = "glus"
    sub_configs = {"vision_config": CLIPVisionConfig, "text_config": LlamaConfig, "mask_config": Sam2VideoConfig}

    # the class first: whatever a value is not, the validation of transformers prints in full
    vision_config: PreTrainedConfig | dict | None = None
    text_config: PreTrainedConfig | dict | None = None
    mask_config: PreTrainedConfig | dict | None = None
    num_context_frames: int = 4
    num_query_frames: int = 4
    image_token_pooling: int = 4
    vision_feature_layer: int = -2
    image_token_id: int = -200
    seg_token_id: int | None = None
    num_maskmem: int = 7
    memory_stride: int = 3
    training_memory_stride: int = 1
    detach_memory: bool = True
    memory_features: str = "conditioned"
    fuser_scale: str = "checkpoint"
    dense_position_dtype: str = "model"
    multimask_fallback: bool = True
    seg_hidden_state: str = "last"
    frame_position_embedding: bool = False
    ce_loss_weight: float = 1.0
    mask_bce_loss_weight: float = 2.0
    mask_dice_loss_weight: float = 0.5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        check_numbers({**vars(self), **kwargs}, type(self).__name__)
        for name, config_class in self.sub_configs.items():
            value = getattr(self, name)
            if value is None or isinstance(value, dict):
                values = _without_type(value or RELEASED_SIZES[name])
                check_names(config_class, values, f"{type(self).__name__}.{name}")
                decoder = values.get("mask_decoder_config")
                if isinstance(decoder, dict):  # transformers 5.17 makes a prompt encoder's config of it
                    values["mask_decoder_config"] = Sam2VideoMaskDecoderConfig(**_without_type(decoder))
                setattr(self, name, config_class(**values))
        self._check_options()
        if "compat" in kwargs:
            raise ValueError("GLUSConfig takes no compat; use apply_compat(config, name) or from_pretrained")
        super().__post_init__(**kwargs)

    def _check_options(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"GLUSConfig.{name} must be one of {choices}, got {getattr(self, name)!r}.")
        check_numbers(vars(self), type(self).__name__)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """A config from a dict; `kwargs` go before its values, and before those of the preset `compat`.

        Example:

            >>> config = GLUSConfig.from_dict({}, compat="paper", memory_features="conditioned")
            >>> config.seg_hidden_state, config.memory_features
            ('penultimate', 'conditioned')
        """
        check_names(cls, config_dict)
        options = select_options(kwargs.pop("compat", None), MODEL_OPTIONS)
        result = super().from_dict(config_dict, **{**options, **kwargs})
        config = result[0] if isinstance(result, tuple) else result
        config._check_options()
        check_token_ids(config, "seg_token_id")
        return result

    @property
    def num_image_tokens(self) -> int:
        """Positions that one frame takes in the language model (64 in the released checkpoints)."""
        return (self.vision_config.image_size // self.vision_config.patch_size) ** 2 // self.image_token_pooling

    @property
    def seg_embedding_size(self) -> int:
        """Width of the mask prompt."""
        return self.mask_config.prompt_encoder_config.hidden_size


def _without_type(values: dict) -> dict:
    return {key: value for key, value in values.items() if key != "model_type"}


CHOICES = {
    "memory_features": ("conditioned", "raw"),
    "fuser_scale": ("checkpoint", "identity"),
    "dense_position_dtype": ("model", "float32"),
    "seg_hidden_state": ("last", "penultimate"),
}

OPTION_NUMBERS = ("num_context_frames", "num_query_frames", "num_maskmem", "memory_stride", "training_memory_stride")
MINIMUMS = {name: BOUNDS[name][0] for name in OPTION_NUMBERS}

RELEASED_SIZES = {
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "projection_dim": 768,
    },
    "text_config": {
        "vocab_size": 32004,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "pad_token_id": 0,
    },
    "mask_config": {
        "enable_occlusion_spatial_embedding": False,
        "enable_temporal_pos_encoding_for_object_pointers": False,
        "vision_config": {
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 144,
                "num_attention_heads": 2,
                "blocks_per_stage": [2, 6, 36, 4],
                "embed_dim_per_stage": [144, 288, 576, 1152],
                "num_attention_heads_per_stage": [2, 4, 8, 16],
                "window_size_per_stage": [8, 4, 16, 8],
                "global_attention_blocks": [23, 33, 43],
            },
            "model_type": "sam2_vision_model",
            "backbone_channel_list": [1152, 576, 288, 144],
        },
    },
}

__all__ = ["GLUSConfig"]
