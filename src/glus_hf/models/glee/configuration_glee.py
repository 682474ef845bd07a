"""Configuration of GLEE."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, CLIPTextConfig, PreTrainedConfig

from ...checkpoint_files.config_bounds import check_names, check_numbers
from ...errors import CheckpointError
from ..checkpoint_loading import CheckpointMixin
from .configuration_eva02_glee import GLEEEva02Config


@strict
class GLEEConfig(CheckpointMixin, PreTrainedConfig):
    r"""
    Configuration of [`GLEEForVideoSegmentation`]. The defaults are the sizes of GLEE-Lite; options in which the paper
    and the released code differ follow the paper, `docs/glee.md` lists both.

    Args:
        backbone_config: a ResNet or Swin that gives four feature maps at strides 4, 8, 16 and 32; or a
            [`GLEEEva02Config`], GLEE-Pro's, with strides 8, 16, 32 and 64.
        bottleneck_sizes (`list[int]`, *optional*): of a ResNet, the inner channels of each stage; a quarter of its
            outer ones by default.
        text_config (`CLIPTextConfig`): the text tower.
        d_model (`int`, defaults to 256): channels of queries, feature maps and projected words.
        num_feature_levels (`int`, defaults to 4): levels of deformable attention: strides 8, 16, 32, and 64 and more
            by convolutions. An EVA-02 has four.
        encoder_layers, decoder_layers (`int`): 6 and 9.
        encoder_ffn_dim, decoder_ffn_dim (`int`): 2048.
        encoder_attention_heads, decoder_attention_heads (`int`): 8.
        encoder_n_points, decoder_n_points (`int`): 4.
        num_queries (`int`, defaults to 300): locations that become queries.
        fusion_dim, fusion_heads (`int`): width and heads of the early fusion of words and image, 2048 and 8.
        fusion_dropout (`float`, defaults to 0.1): dropout of the early fusion.
        fusion_text_mask (`bool`, defaults to `True`): the image does not attend to padding words. The mask of the
            released code has no effect, so its checkpoints need `False`.
        group_norm_groups (`int`, defaults to 32): groups of the group norms.
        query_sine_features (`int`, defaults to 128): sine features of each coordinate of a query's box.
        visual_prompter (`"full"`, `"fine"` or `None`): whether the model takes masks, boxes and points, and of which
            tokens: with "fine" the decoder alone reads prompts, as in the released models of the first stage.
        prompt_features (`"encoder"` or `"pixel"`): where the decoder's tokens come from: the encoder's levels, as in
            the released code, or the mask features, as in the paper.
        prompt_crop_size (`int`, defaults to 256): side of the square that is cut out around a prompt.
        prompt_crop_factor (`float`, defaults to 2.0): side of what is cut out, by the root of the area of the box.
        prompt_num_points (`int`, defaults to 512): most tokens of a prompt for the decoder.
        label_tables (`dict[str, int]`): learned label embeddings for denoising, by dataset: name and number of labels.
        text_teacher (`bool`, defaults to `False`): hold a frozen copy of the text tower for distillation.
        distill_loss (`"l1"` or `"mse"`): "l1" as in the paper; the released code uses "mse".
        num_denoising (`int`, defaults to 100): denoising queries of an image; 0 for none.
        denoising_noise_scale (`float`, defaults to 0.4): a box moves by up to this part of half its size and changes
            its size by up to this part; half of this is the probability of a wrong label.
        train_num_points (`int`, defaults to 12544): points at which masks are compared.
        oversample_ratio, importance_sample_ratio (`float`): 3.0 and 0.75, of uncertain points.
        class_loss_weight, mask_loss_weight, dice_loss_weight, box_loss_weight, giou_loss_weight, distill_loss_weight:
            4, 5, 5, 5, 2, 4. The first five are the costs of matching, too.
        confidence_loss_weight, track_loss_weight: 4 and 2; of batches with visual prompts, and of clips.
        track_num_negatives (`int`, defaults to 20): queries that no object has, of a frame of a clip.
        temporal_similarity (`"cosine"`, `"dot"` or `None`): how the query of a frame is compared with that of the
            frame before; `None` chooses in every frame alone.
        temporal_similarity_weight (`float`, defaults to 1.0): factor of that comparison.
        multi_object_threshold (`float`, *optional*): join all queries whose score is above it. Not in the paper, which
            answers one object.
        no_target_threshold (`float`, *optional*): an empty mask where the best score is below it. Not in the paper.

    Example:

        >>> from glus_hf import GLEEConfig
        >>> GLEEConfig().backbone_config.hidden_sizes
        [256, 512, 1024, 2048]
        >>> GLEEConfig.tiny().d_model
        32
    """

    model_type = "glee"
    sub_configs = {"backbone_config": AutoConfig, "text_config": CLIPTextConfig}
    attribute_map = {"hidden_size": "d_model", "num_attention_heads": "encoder_attention_heads"}

    backbone_config: PreTrainedConfig | dict | None = None
    text_config: PreTrainedConfig | dict | None = None
    bottleneck_sizes: list[int] | None = None
    d_model: int = 256
    num_feature_levels: int = 4
    encoder_layers: int = 6
    decoder_layers: int = 9
    encoder_ffn_dim: int = 2048
    decoder_ffn_dim: int = 2048
    encoder_attention_heads: int = 8
    decoder_attention_heads: int = 8
    encoder_n_points: int = 4
    decoder_n_points: int = 4
    num_queries: int = 300
    fusion_dim: int = 2048
    fusion_heads: int = 8
    fusion_dropout: float = 0.1
    fusion_text_mask: bool = True
    group_norm_groups: int = 32
    query_sine_features: int = 128
    visual_prompter: str | None = "full"
    prompt_features: str = "encoder"
    prompt_crop_size: int = 256
    prompt_crop_factor: float = 2.0
    prompt_num_points: int = 512
    label_tables: dict[str, int] | None = None
    text_teacher: bool = False
    distill_loss: str = "l1"
    num_denoising: int = 100
    denoising_noise_scale: float = 0.4
    train_num_points: int = 12544
    oversample_ratio: float = 3.0
    importance_sample_ratio: float = 0.75
    class_loss_weight: float = 4.0
    mask_loss_weight: float = 5.0
    dice_loss_weight: float = 5.0
    box_loss_weight: float = 5.0
    giou_loss_weight: float = 2.0
    distill_loss_weight: float = 4.0
    confidence_loss_weight: float = 4.0
    track_loss_weight: float = 2.0
    track_num_negatives: int = 20
    temporal_similarity: str | None = "cosine"
    temporal_similarity_weight: float = 1.0
    multi_object_threshold: float | None = None
    no_target_threshold: float | None = None
    # what the layers of Deformable DETR read besides
    activation_function: str = "relu"
    dropout: float = 0.0
    activation_dropout: float = 0.0
    attention_dropout: float = 0.0
    disable_custom_kernels: bool = True
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        check_numbers({**vars(self), **kwargs}, type(self).__name__)
        backbone = self.backbone_config
        if backbone is None or isinstance(backbone, dict):
            values = dict(backbone or RESNET_50)
            kind = values.pop("model_type", None)
            if kind not in BACKBONES:
                raise CheckpointError(
                    f"GLEEConfig.backbone_config.model_type must be one of {BACKBONES}, got {kind!r}"
                )
            is_eva = kind == GLEEEva02Config.model_type  # transformers does not know it
            self.backbone_config = GLEEEva02Config(**values) if is_eva else AutoConfig.for_model(kind, **values)
        if self.text_config is None or isinstance(self.text_config, dict):
            values = {key: value for key, value in (self.text_config or {}).items() if key != "model_type"}
            check_names(CLIPTextConfig, values, "GLEEConfig.text_config")
            self.text_config = CLIPTextConfig(**values)
        if self.label_tables is None:
            self.label_tables = dict(RELEASED_LABEL_TABLES)
        self._check_options()
        super().__post_init__(**kwargs)

    def _check_tables(self):
        if len(self.label_tables) > MAX_TABLES:
            raise CheckpointError(f"GLEEConfig.label_tables has {len(self.label_tables)}; use at most {MAX_TABLES}")
        for name, count in self.label_tables.items():
            if not str(name).isidentifier() or isinstance(count, bool) or not 1 <= count <= MAX_LABELS:
                shown = f"{str(name)[:40]!r}: {str(count)[:40]}"
                raise CheckpointError(
                    f"GLEEConfig.label_tables has {shown}; it must be a name and a number up to {MAX_LABELS}"
                )

    def _check_options(self):
        self._check_tables()
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"GLEEConfig.{name} must be one of {choices}, got {getattr(self, name)!r}.")
        check_numbers(vars(self), type(self).__name__)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = getattr(self.text_config, name, None)
            if value is not None and not isinstance(value, int):
                raise CheckpointError(f"GLEEConfig.text_config.{name} is {value!r:.40}; it must be one number")
        if self.num_feature_levels < LEAST_LEVELS:
            raise CheckpointError(f"GLEEConfig.num_feature_levels is {self.num_feature_levels}; it must be 3 or more")
        if self.has_pyramid:
            self._check_pyramid()
        for name in ("encoder_attention_heads", "decoder_attention_heads", "group_norm_groups"):
            if self.d_model % getattr(self, name):
                raise ValueError(
                    f"GLEEConfig.d_model is {self.d_model}, which {name}={getattr(self, name)} do not divide."
                )

    def _check_pyramid(self):
        """Its maps are read as they are."""
        channels = self.backbone_config.pyramid_channels
        if channels != self.d_model or self.num_feature_levels != PYRAMID_LEVELS:
            raise CheckpointError(
                f"GLEEConfig.backbone_config gives {PYRAMID_LEVELS} maps of {channels} channels, but there are "
                f"num_feature_levels={self.num_feature_levels} of d_model={self.d_model}; make them equal"
            )

    @property
    def has_pyramid(self) -> bool:
        """Whether the backbone's maps are the levels of deformable attention already, as GLEE-Pro's are."""
        return self.backbone_config.model_type == GLEEEva02Config.model_type

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """A config from a dict; `kwargs` go before its values. Fields in the place of methods are refused.

        Example:

            >>> GLEEConfig.from_dict({"d_model": 64}, temporal_similarity=None).temporal_similarity is None
            True
        """
        check_names(cls, config_dict)
        result = super().from_dict(config_dict, **kwargs)
        (result[0] if isinstance(result, tuple) else result)._check_options()
        return result

    @classmethod
    def tiny(cls, **overrides) -> GLEEConfig:
        """Sizes that run in milliseconds: about 0.2 million parameters with random weights.

        Args:
            overrides: fields that differ.

        Example:

            >>> GLEEConfig.tiny(num_queries=5).num_queries
            5
        """
        return cls(**{**TINY, **overrides})


CHOICES = {
    "distill_loss": ("l1", "mse"),
    "temporal_similarity": ("cosine", "dot", None),
    "visual_prompter": ("full", "fine", None),
    "prompt_features": ("encoder", "pixel"),
}

MAX_TABLES, MAX_LABELS = 64, 10**6
LEAST_LEVELS = 3  # strides 8, 16 and 32
PYRAMID_LEVELS = 4  # strides 8, 16, 32 and 64
BACKBONES = ("resnet", "swin", GLEEEva02Config.model_type)

RESNET_50 = {"model_type": "resnet", "out_features": ["stage1", "stage2", "stage3", "stage4"]}

RELEASED_LABEL_TABLES = {
    "coco": 80,
    "obj365": 100,
    "vg": 200,
    "grounding": 1,
    "ytvis19": 40,
    "ytvis21": 40,
    "ovis": 25,
    "uvo": 81,
    "bdd_det": 10,
    "bdd_inst": 8,
}

TINY = {
    "backbone_config": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
    "text_config": {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
        "projection_dim": 32,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    },
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 12,
    "fusion_dim": 64,
    "fusion_heads": 4,
    "group_norm_groups": 8,
    "query_sine_features": 16,
    "prompt_crop_size": 64,
    "prompt_num_points": 16,
    "label_tables": {},
    "num_denoising": 10,
    "train_num_points": 256,
}

__all__ = ["GLEEConfig"]
