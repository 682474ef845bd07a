"""The GLUS recipe on any vision-language model of transformers: it reads frames, its [SEG] states prompt a mask model.

Which backbones these are, only the configuration says; `VisionLanguageReader` and `SamMaskBranch` drive them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForImageTextToText, PreTrainedModel

from ...errors import UserError
from ..checkpoint_loading import CheckpointMixin
from ..conversation_batch import counts_per_video, pad_conversations
from ..llama_prompts import IGNORE_INDEX
from ..mask_branch import SamMaskBranch
from ..prefix_cache import CACHE
from ..propagation import GLUSVideoSegmentationOutput, propagate_in_video
from ..recipe_losses import GLUSSegmentationOutput, add_losses, select_seg_states
from ..trainable_parts import TrainableParts
from ..vision_language_reader import CachedPrefix, FrameFeatures, VisionLanguageReader
from ..window_reader import shared_lead
from ..window_schedule import make_schedule
from .configuration_glus_vlm import GLUSVLMConfig
from .inference_glus_vlm import GLUSVLMInferenceSession, check_fit


VISION_PROJECTIONS = ("vlm.model.multi_modal_projector", "vlm.model.connector", "vlm.model.visual.merger")
"""From a tower to the language model, as the families name it."""


class GLUSVLMSegProjection(nn.Sequential):
    """[SEG] state -> mask prompt: linear, ReLU, linear."""

    def __init__(self, config: GLUSVLMConfig):
        hidden_size = config.get_text_config().hidden_size
        super().__init__(
            nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, config.seg_embedding_size)
        )


class GLUSVLMForVideoSegmentation(CheckpointMixin, SamMaskBranch, PreTrainedModel):
    """The GLUS recipe on a vision-language model: losses on a training batch, masks of a video at inference.

    Weights of its parts say nothing about [SEG]: it has to be trained. `glus-hf new-model` makes a checkpoint to start
    from.

    Args:
        config ([`GLUSVLMConfig`]): sizes and settings.
        vlm, mask_model (*optional*): parts that are loaded already, of `config.vlm_config` and `config.mask_config`;
            by default new ones.

    Example:

        >>> from glus_hf import GLUSVLMForVideoSegmentation, GLUSVLMProcessor
        >>> model = GLUSVLMForVideoSegmentation.from_pretrained("my-model")  # doctest: +SKIP
        >>> processor = GLUSVLMProcessor.from_pretrained("my-model")  # doctest: +SKIP
        >>> session = processor.init_video_session(frames, "the dog that turns left")  # doctest: +SKIP
        >>> for output in model.propagate_in_video_iterator(session):  # doctest: +SKIP
        ...     masks = processor.post_process_masks(output.mask_logits)
    """

    config_class = GLUSVLMConfig
    config: GLUSVLMConfig
    main_input_name = "input_ids"
    input_modalities = ("video", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = [CACHE]
    _tied_weights_keys = {}  # those of the vision-language model are its own

    def __init__(self, config: GLUSVLMConfig, vlm: nn.Module | None = None, mask_model: nn.Module | None = None):
        super().__init__(config)
        self.vlm = AutoModelForImageTextToText.from_config(config.vlm_config) if vlm is None else vlm
        self.mask_model = AutoModel.from_config(config.mask_config) if mask_model is None else mask_model
        self.mask_model.mask_decoder.dynamic_multimask_via_stability = config.multimask_fallback
        self.seg_projection = GLUSVLMSegProjection(config)
        self.post_init()

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As in transformers, under the names that the weights have here, not those of their parts' first releases."""
        return super().save_pretrained(save_directory, *args, **{"save_original_format": False, **kwargs})

    def get_input_embeddings(self):
        return self.vlm.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.vlm.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.vlm.get_output_embeddings()

    def set_output_embeddings(self, value):
        self.vlm.set_output_embeddings(value)

    @property
    def trainable_parts(self) -> TrainableParts:
        """Names of the parts that training chooses from."""
        names = {id(module): name for name, module in self.named_modules()}
        embeddings, head = self.get_input_embeddings(), self.get_output_embeddings()
        decoder = names[id(self.vlm.model.get_decoder())]
        projection = [name for name in VISION_PROJECTIONS if name in names.values()]
        vision = [f"vlm.model.{name}" for name, _ in self.vlm.model.named_children()]
        return TrainableParts(
            language_model=decoder,
            embeddings=names[id(embeddings)],
            head=names[id(head)],
            projections=(*projection, "seg_projection"),
            mask_model="mask_model",
            vision=tuple(name for name in vision if name not in (decoder, *projection)),
            lora=re.escape(decoder) + r"\.layers\.\d+\.\w+\.({names})",
            are_tied=self.config.tie_word_embeddings,
        )

    def unused_in_training(self) -> list[nn.Module]:
        """None that is known: which layers of a tower get no gradient, differs among the models."""
        return []

    @property
    def reader(self) -> VisionLanguageReader:
        """Drives the vision-language model."""
        return VisionLanguageReader(self.vlm)

    # training ---------------------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: Tensor,
        frame_pixels: Sequence[Mapping[str, Tensor]],
        attention_mask: Tensor,
        mask_pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        mask_labels: list[Tensor] | None = None,
        expressions_per_video: Tensor | list[int] | None = None,
        return_dict: bool | None = True,
        inputs_embeds: None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> GLUSSegmentationOutput | tuple:
        """One teacher-forced pass over a training batch, as [`GLUSVLMProcessor`] makes it.

        Args:
            input_ids: `[conversations, length]`, one image position per frame, right padded.
            frame_pixels: per video, its context and query frames as the vision-language model sees them.
            attention_mask: `[conversations, length]`.
            mask_pixel_values: `[videos, num_query, 3, S, S]`; without it no masks are decoded.
            labels: `[conversations, length]`, -100 where unsupervised.
            mask_labels: per video `[expressions, num_query, H, W]` in [0, 1], or counts of objects (`overlap="sum"`).
            expressions_per_video: conversations of each video, in order; one each by default.
            return_dict: False gives a tuple.
            inputs_embeds, output_attentions, output_hidden_states: peft passes them as None; nothing else is taken.

        Returns:
            [`GLUSSegmentationOutput`]; of its `hidden_states` those of the expanded prompts.
        """
        if inputs_embeds is not None or output_attentions or output_hidden_states:
            raise UserError(
                "a model of the GLUS recipe takes no inputs_embeds, output_attentions and output_hidden_states: leave "
                "them out"
            )
        if mask_labels is not None and mask_pixel_values is None:
            raise ValueError("mask_labels needs mask_pixel_values: without the query frames no masks are decoded.")
        counts = counts_per_video(expressions_per_video, len(frame_pixels), len(input_ids))
        videos = [self.reader.encode_frames(pixels) for pixels in frame_pixels]
        frames = [video for video, count in zip(videos, counts, strict=True) for _ in range(count)]
        batch = self._expand(input_ids, attention_mask, labels, frames)
        flat = [frame for conversation in frames for frame in conversation]
        states = self.reader.read_states(batch["input_ids"], batch["attention_mask"], flat)
        seg_states = select_seg_states(batch["input_ids"], states, self.config.seg_token_id)
        output = GLUSSegmentationOutput(seg_embeddings=self.seg_projection(seg_states), hidden_states=states)
        if mask_pixel_values is not None:
            output.mask_logits = self.decode_clips(mask_pixel_values, output.seg_embeddings, counts)
        labels = None if labels is None else batch["labels"]
        add_losses(output, self.config, self.get_output_embeddings(), labels, mask_labels)
        return output.to_tuple() if return_dict is False else output

    def _expand(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None, frames: list[list[FrameFeatures]]
    ) -> dict[str, Tensor]:
        """The batch with as many positions per image as its frame takes; images are never supervised."""
        rows, targets = [], []
        for index, own in enumerate(frames):
            is_kept = attention_mask[index].bool()
            ids = input_ids[index][is_kept]
            expanded = torch.tensor(self.reader.expand(ids.tolist(), own), device=ids.device)
            rows.append(expanded)
            target = torch.full_like(expanded, IGNORE_INDEX)
            if labels is not None:
                image = self.reader.image_token_id
                target[expanded != image] = labels[index][is_kept][ids != image]
            targets.append(target)
        return pad_conversations(rows, targets, pad_token_id=self.config.get_text_config().pad_token_id or 0)

    # inference --------------------------------------------------------------------------------------------------

    def propagate_in_video_iterator(
        self,
        session: GLUSVLMInferenceSession,
        key_frame: int | Sequence[int] | None = None,
        batch_size: int | None = None,
        window: str = "sliding",
        frame_stride: int = 1,
    ) -> Iterator[GLUSVideoSegmentationOutput]:
        """Segment a video, frame by frame; arguments and order of the frames as of
        [`GLUSForVideoSegmentation.propagate_in_video_iterator`].

        Raises:
            UserError: the session is of another model, or an argument cannot be; one line.

        Yields:
            [`GLUSVideoSegmentationOutput`] per frame, with the expressions that reach it then.
        """
        schedule = make_schedule(window, frame_stride, self.config, session.num_frames)
        check_fit(self, session, batch_size)
        yield from propagate_in_video(self, session, key_frame, batch_size, schedule)

    @property
    def frame_reader(self) -> GLUSVLMForVideoSegmentation:
        """The [`FrameReader`]: this model itself."""
        return self

    @property
    def mask_branch(self) -> GLUSVLMForVideoSegmentation:
        """The [`MaskBranch`]: this model itself."""
        return self

    @torch.no_grad()
    def read_frames(self, session: GLUSVLMInferenceSession, frames: Sequence[int]) -> list[FrameFeatures]:
        """Features of some frames of a session."""
        return self.reader.encode_frames(session.reader_view(frames))

    def shared_lead(self, session: GLUSVLMInferenceSession) -> int:
        """How many ids all windows of a session begin with; none with times of frames, which differ."""
        if any(session.time_input_ids):
            return 0
        return shared_lead(session, self.reader.image_token_id, 1)

    def read_prefix(self, input_ids: list[int], frames: Sequence[FrameFeatures]) -> CachedPrefix:
        """Read the part that all windows of a video share."""
        return self.reader.read_prefix(input_ids, frames)

    def read_leads(self, prefix: CachedPrefix, input_ids: list[int], frames: Sequence[FrameFeatures]) -> CachedPrefix:
        """Read behind the prefix what the windows of all expressions begin with, for several first frames."""
        return self.reader.read_leads(prefix, input_ids, frames)

    @torch.no_grad()
    def read_windows(
        self,
        prefix: CachedPrefix,
        input_ids: list[list[int]],
        frames: Sequence[Sequence[FrameFeatures]],
        places: list[list[int]],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read n windows behind the prefix; see [`FrameReader`]."""
        states = self.reader.read_windows(prefix, input_ids, frames, places)
        probabilities = self.get_output_embeddings()(states).float().softmax(-1)
        seg_id = self.config.seg_token_id
        return self.seg_projection(states), probabilities[..., seg_id], probabilities.argmax(-1) == seg_id


__all__ = ["GLUSVLMForVideoSegmentation"]
