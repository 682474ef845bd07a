"""Chat-UniVi: CLIP's patch tokens, merged without parameters, projected linearly, read by a Llama.

Source: PKU-YuanGroup/Chat-UniVi (Apache-2.0), written anew from a description of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionModel, GenerationMixin, LlamaModel, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..checkpoint_loading import CheckpointMixin
from ..clip_features import clip_hidden_state
from ..prefix_cache import CACHE
from ..sessions import sides
from .configuration_chat_univi import LONGEST_RUN_OF_IMAGES, ChatUniViConfig
from .token_merger_glus_selector import DensityNoise, merge_image, merge_video


CLIP_BATCH = 32


@dataclass
class ChatUniViOutput(CausalLMOutputWithPast):
    """Output of [`ChatUniViForConditionalGeneration`].

    Args:
        loss (`torch.FloatTensor`, *optional*): cross entropy over the supervised positions of `labels`.
        logits (`torch.FloatTensor [batch, length, vocabulary]`): of the last `logits_to_keep` positions.
        past_key_values (`Cache`, *optional*): with `use_cache`; transformers 5.24 and later call it `cache`.
        hidden_states (`torch.FloatTensor [batch, length, hidden]`): last states, after the final norm.
        attentions: not computed.
    """


class ChatUniViPreTrainedModel(CheckpointMixin, PreTrainedModel):
    config_class = ChatUniViConfig
    config: ChatUniViConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("image", "video", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["LlamaDecoderLayer", "CLIPEncoderLayer"]
    _skip_keys_device_placement = [CACHE]


class ChatUniViModel(ChatUniViPreTrainedModel):
    """Tower, merger, projector and language model, without a head. It keeps no state between calls."""

    _keys_to_ignore_on_load_unexpected = [r"^lm_head\.", r"^score_head\."]  # of the models around it

    def __init__(self, config: ChatUniViConfig):
        super().__init__(config)
        self.vision_tower = CLIPVisionModel._from_config(config.vision_config)
        self.mm_projector = nn.Linear(config.vision_config.hidden_size, config.text_config.hidden_size)
        self.language_model = LlamaModel._from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.language_model.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        frames_per_group: Tensor | Sequence[int] | None = None,
        density_noise: DensityNoise = None,
        **kwargs,
    ):
        """Last states of a batch of prompts; see [`ChatUniViForConditionalGeneration.forward`]. `kwargs` go to the
        language model (`cache`, before transformers 5.24 `past_key_values`; `use_cache`, `position_ids`)."""
        tokens = None
        if pixel_values is not None:
            tokens = torch.cat(self.encode_groups(pixel_values, frames_per_group, density_noise))
        embeddings = self.embed_prompt(input_ids, tokens)
        return self.language_model(inputs_embeds=embeddings, attention_mask=attention_mask, **kwargs)

    @torch.no_grad()
    def try_shapes(self) -> Tensor:
        """Run a model without data (on the device "meta") on an image, to see that the sizes of its configuration go
        together; returns the last state `[1, hidden]`."""
        sizes = sides(self.config.vision_config.image_size)
        patches = self.patch_features(torch.zeros(1, 3, *sizes, device="meta"))
        if patches.shape[1] != self.config.num_patches:
            raise ValueError(f"an image gives {patches.shape[1]} patches, not {self.config.num_patches}")
        mask = torch.zeros(1, 1, *[patches.shape[1]] * 2, device="meta")
        outputs = self.language_model(inputs_embeds=self._project(patches), attention_mask=mask, use_cache=False)
        return outputs.last_hidden_state[:, -1]

    # images -> tokens of the language model ---------------------------------------------------------------------

    def encode_groups(
        self,
        pixel_values: Tensor,
        frames_per_group: Tensor | Sequence[int] | None = None,
        density_noise: DensityNoise = None,
    ) -> list[Tensor]:
        """Images and videos: `[n, 3, h, w]` -> per group, its tokens `[length, hidden]`.

        Args:
            pixel_values: all images, one group after the other.
            frames_per_group: images of each group; by default every image is one. A group of one or two is merged
                image by image, a larger one as a video.
            density_noise: of the merger; see token_merger_glus_selector.py.
        """
        counts = [1] * len(pixel_values) if frames_per_group is None else [int(count) for count in frames_per_group]
        if sum(counts) != len(pixel_values) or min(counts, default=1) < 1:
            raise ValueError(f"frames_per_group {counts} does not fit {len(pixel_values)} images.")
        if density_noise is None and all(count <= LONGEST_RUN_OF_IMAGES for count in counts):
            return [tokens.flatten(0, 1) for tokens in self.encode_images(pixel_values).split(counts)]
        groups = self.patch_features(pixel_values).split(counts)
        return [self._project(self._merge_group(patches, density_noise)).flatten(0, -2) for patches in groups]

    def encode_images(self, pixel_values: Tensor, density_noise: DensityNoise = None) -> Tensor:
        """Single images: `[n, 3, h, w]` -> `[n, num_image_tokens, hidden]`, one sample of noise per image."""
        patches = self.patch_features(pixel_values)
        if density_noise is not None:  # the original code merges image by image
            return torch.cat([self._project(self._merge_group(image[None], density_noise)) for image in patches])
        return self._project(self._merge_images(patches, None))

    def encode_video(self, pixel_values: Tensor, density_noise: DensityNoise = None) -> Tensor:
        """A video of any length: `[frames, 3, h, w]` -> `[num_video_tokens(frames), hidden]`."""
        return self._project(self._merge_video(self.patch_features(pixel_values), density_noise))

    def patch_features(self, pixel_values: Tensor) -> Tensor:
        """The tower's patch tokens without CLS: `[n, 3, h, w]` -> `[n, patches, dim]`."""
        pixel_values = pixel_values.to(self.dtype)
        if self.vision_tower.device.type != "meta":  # offloaded weights: accelerate's hook moves the input
            pixel_values = pixel_values.to(self.vision_tower.device)
        features = []
        for part in pixel_values.split(CLIP_BATCH):  # a long video is a large batch
            features.append(clip_hidden_state(self.vision_tower, part, self.config.vision_feature_layer)[:, 1:])
        return torch.cat(features)

    def _merge_group(self, patches: Tensor, density_noise: DensityNoise) -> Tensor:
        merge = self._merge_images if len(patches) <= LONGEST_RUN_OF_IMAGES else self._merge_video
        return merge(patches, density_noise)

    def _merge_images(self, patches: Tensor, density_noise: DensityNoise) -> Tensor:
        config = self.config
        if not config.use_cluster:
            return patches
        return merge_image(
            self._for_merging(patches), config.spatial_clusters, config.spatial_neighbours, density_noise
        )

    def _merge_video(self, patches: Tensor, density_noise: DensityNoise) -> Tensor:
        config = self.config
        if not config.use_cluster:
            return torch.cat([patches.mean(0), patches.mean(1)])
        return merge_video(
            self._for_merging(patches),
            config.spatial_clusters,
            config.spatial_neighbours,
            config.temporal_cluster_rate,
            config.temporal_neighbours,
            density_noise,
        )

    def _for_merging(self, patches: Tensor) -> Tensor:
        return patches.float() if self.config.merge_dtype == "float32" else patches

    def _project(self, tokens: Tensor) -> Tensor:
        return self.mm_projector(tokens.to(self.dtype))

    # tokens -> states -------------------------------------------------------------------------------------------

    def embed_prompt(self, input_ids: Tensor, image_tokens: Tensor | None) -> Tensor:
        """Token embeddings `[n, length, hidden]`; image positions take `image_tokens` `[positions, hidden]` in order.

        Raises:
            `ValueError`: more or fewer image positions than image tokens.
        """
        is_image = input_ids == self.config.image_token_id
        found, given = int(is_image.sum()), 0 if image_tokens is None else len(image_tokens)
        if found != given:
            raise ValueError(
                f"The prompts have {found} image positions but the images give {given} tokens; expand each image to "
                f"{self.config.num_image_tokens}."
            )
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
        if image_tokens is None:
            return embeddings
        return embeddings.masked_scatter(is_image[..., None], image_tokens.to(embeddings))


class ChatUniViForConditionalGeneration(ChatUniViPreTrainedModel, GenerationMixin):
    """Chat-UniVi with its language-model head: what the key-frame selector is trained from.

    Example:

        >>> model = ChatUniViForConditionalGeneration.from_pretrained("chat-univi-7b")  # doctest: +SKIP
        >>> processor = ChatUniViProcessor.from_pretrained("chat-univi-7b")  # doctest: +SKIP
        >>> inputs = processor("USER: <image>\\nWhat is this? ASSISTANT:", [image])  # doctest: +SKIP
        >>> ids = model.generate(**inputs, max_new_tokens=20, do_sample=False)  # doctest: +SKIP
    """

    def __init__(self, config: ChatUniViConfig):
        super().__init__(config)
        self.model = ChatUniViModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        frames_per_group: Tensor | Sequence[int] | None = None,
        density_noise: DensityNoise = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool = True,
        **kwargs,
    ) -> ChatUniViOutput | tuple:
        """Logits of a batch of prompts.

        Args:
            input_ids: `[batch, length]`, images expanded to `image_token_id`.
            pixel_values: `[n, 3, h, w]`, the images of all prompts in their order.
            attention_mask: `[batch, length]`.
            labels: `[batch, length]`, -100 where unsupervised; not shifted.
            frames_per_group: images of each run of adjacent images that counts as one; more than two are a video, of
                `num_video_tokens` positions. By default every image stands alone.
            density_noise: of the merger; `None` is deterministic.
            logits_to_keep: last positions to compute logits of; 0 is all.

        Returns:
            [`ChatUniViOutput`]
        """
        kwargs = {
            name: value for name, value in kwargs.items() if name not in ("output_hidden_states", "output_attentions")
        }
        outputs = self.model(input_ids, pixel_values, attention_mask, frames_per_group, density_noise, **kwargs)
        states = outputs.last_hidden_state
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        read = {CACHE: getattr(outputs, CACHE)}
        output = ChatUniViOutput(logits=self.lm_head(states[:, kept]), hidden_states=states, **read)
        if labels is not None:
            output.loss = answer_loss(self.lm_head, states, labels)
        return output if return_dict else output.to_tuple()


def answer_loss(lm_head: nn.Module, states: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy over the supervised positions, each predicted by the state before it; 0 without any.

    Args:
        states: `[n, length, hidden]`.
        labels: `[n, length]`, -100 where unsupervised.
    """
    targets = labels[:, 1:].to(states.device)
    supervised = targets != -100
    logits = lm_head(states[:, :-1][supervised]).float()
    return F.cross_entropy(logits, targets[supervised], reduction="sum") / supervised.sum().clamp(min=1)


__all__ = ["ChatUniViForConditionalGeneration", "ChatUniViModel", "ChatUniViOutput", "ChatUniViPreTrainedModel"]
