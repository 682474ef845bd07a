"""Configuration of Chat-UniVi, the language model under the key-frame selector."""

import math

from huggingface_hub.dataclasses import strict
from transformers import CLIPVisionConfig, LlamaConfig, PreTrainedConfig

from ...checkpoint_files.config_bounds import check_names, check_numbers, check_token_ids
from ..checkpoint_loading import CheckpointMixin


LONGEST_RUN_OF_IMAGES = 2  # adjacent images; the original code takes more for a video


@strict
class ChatUniViConfig(CheckpointMixin, PreTrainedConfig):
    r"""
    Configuration of [`ChatUniViForConditionalGeneration`]: a CLIP tower, a token merger without parameters, a linear
    projector and a Llama. The defaults are the sizes of the released 7B model.

    Args:
        vision_config (`CLIPVisionConfig`): the tower; it is never trained.
        text_config (`LlamaConfig`): the language model.
        vision_feature_layer (`int`, defaults to -2): hidden state of the tower that is read, without post norm.
        use_cluster (`bool`, defaults to `True`): merge tokens. Without, an image keeps all its patches, and a video
            has their means over the frames followed by the mean of each frame.
        spatial_clusters (`list[int]`, defaults to `[64, 32, 16]`): tokens that each stage leaves of an image.
        spatial_neighbours (`list[int]`, defaults to `[5, 3, 3]`): neighbours for the density, per stage.
        temporal_cluster_rate (`float`, defaults to 1/16): events per frame of a video, rounded up.
        temporal_neighbours (`int`, defaults to 5): neighbours for the density of frames.
        merge_dtype (`"float32"` or `"model"`): precision of the merger. The original code uses the model's,
            which in bfloat16 rounds sums too; float32 gives the same result for every batch size and on every run.
        image_token_id (`int`, defaults to -200): stands for an image position in `input_ids`; not in the vocabulary.

    Raises:
        `ValueError`: an unknown `merge_dtype`, clusters that do not become fewer, or more than the tower has patches.

    Example:

        >>> from glus_hf.models.glus_selector.configuration_chat_univi import ChatUniViConfig
        >>> config = ChatUniViConfig()
        >>> config.num_image_tokens, config.num_video_tokens(20)
        (112, 224)
    """

    model_type = "chat_univi"
    sub_configs = {"vision_config": CLIPVisionConfig, "text_config": LlamaConfig}

    vision_config: PreTrainedConfig | dict | None = None
    text_config: PreTrainedConfig | dict | None = None
    vision_feature_layer: int = -2
    use_cluster: bool = True
    spatial_clusters: list[int] | tuple[int, ...] = (64, 32, 16)
    spatial_neighbours: list[int] | tuple[int, ...] = (5, 3, 3)
    temporal_cluster_rate: float = 1 / 16
    temporal_neighbours: int = 5
    merge_dtype: str = "float32"
    image_token_id: int = -200
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As in transformers; fields that would take the place of methods, and tokens without a row, are refused."""
        check_names(cls, config_dict)
        result = super().from_dict(config_dict, **kwargs)
        check_token_ids(result[0] if isinstance(result, tuple) else result, "score_token_id")
        return result

    def __post_init__(self, **kwargs):
        check_numbers({**vars(self), **kwargs}, type(self).__name__)
        for name, config_class in self.sub_configs.items():
            value = getattr(self, name)
            if value is None or isinstance(value, dict):
                values = {key: field for key, field in (value or RELEASED_SIZES[name]).items() if key != "model_type"}
                check_names(config_class, values, f"{type(self).__name__}.{name}")
                setattr(self, name, config_class(**values))
        self.spatial_clusters, self.spatial_neighbours = list(self.spatial_clusters), list(self.spatial_neighbours)
        self._check_merger()
        super().__post_init__(**kwargs)

    def _check_merger(self):
        if self.merge_dtype not in MERGE_DTYPES:
            raise ValueError(f"merge_dtype must be one of {MERGE_DTYPES}, got {self.merge_dtype!r}.")
        clusters, neighbours = self.spatial_clusters, self.spatial_neighbours
        chain = [self.num_patches, *clusters]
        if len(clusters) != len(neighbours) or not clusters or min(clusters) < 2 or min(neighbours) < 1:
            raise ValueError(
                f"spatial_clusters {clusters} (at least 2) and spatial_neighbours {neighbours} (at least 1) must be "
                "equally many."
            )
        if self.use_cluster and chain != sorted(chain, reverse=True):
            raise ValueError(
                f"{self.num_patches} patches cannot be merged into {clusters} tokens; each stage needs at least as "
                "many tokens as it gives, so use larger images, smaller patches or fewer clusters."
            )

    @property
    def num_patches(self) -> int:
        """Patch tokens that the tower gives for an image (256)."""
        return (self.vision_config.image_size // self.vision_config.patch_size) ** 2

    @property
    def num_image_tokens(self) -> int:
        """Positions that an image takes in the language model (112)."""
        return sum(self.spatial_clusters) if self.use_cluster else self.num_patches

    def num_video_tokens(self, num_frames: int) -> int:
        """Positions that a video of `num_frames` takes: those of an image for each of its events."""
        if not self.use_cluster:
            return self.num_patches + num_frames
        return self.num_image_tokens * num_clusters(self.temporal_cluster_rate, num_frames)


def num_clusters(rate: float, num_tokens: int) -> int:
    """Clusters of `num_tokens` tokens: `rate` itself if it is above 1, else that part of them, at least one.

    Example:

        >>> num_clusters(64, 256), num_clusters(1 / 16, 20)
        (64, 2)
    """
    return math.ceil(rate) if rate > 1 else max(math.ceil(num_tokens * rate), 1)


MERGE_DTYPES = ("float32", "model")

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
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "pad_token_id": 0,
    },
}

__all__ = ["ChatUniViConfig"]
