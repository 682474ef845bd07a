"""GLUS: a language model that reads context and query frames, and a SAM-2 mask branch prompted by its [SEG] states.

Three stages, each a plain function of tensors: *encode* (`encode_frames`, `encode_mask_frames`), *read*
(`read_windows`, or one teacher-forced pass in training) and *decode* (`decode_frame`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel, LlamaModel, PreTrainedModel, Sam2VideoModel

from ...errors import UserError
from ..checkpoint_loading import CheckpointMixin
from ..clip_features import clip_hidden_state
from ..conversation_batch import counts_per_video
from ..host_copies import to_device
from ..mask_branch import SamMaskBranch
from ..memory_bank import MemoryBank
from ..packed_conversations import PACKED, plan_packing, read_packed, reads_apart
from ..prefix_cache import CACHE, PromptCache, pad_prompts, read_at, read_beginning
from ..propagation import GLUSVideoSegmentationOutput, propagate_in_video
from ..recipe_losses import GLUSSegmentationOutput, add_losses, read_positions, select_seg_states
from ..sessions import sides
from ..trainable_parts import LLAMA_LORA, TrainableParts
from ..window_reader import shared_lead
from ..window_schedule import make_schedule
from .configuration_glus import GLUSConfig
from .inference_glus import GLUSInferenceSession, check_fit
from .live_glus import GLUSLiveSession, push_frame, push_frames
from .presets_glus import apply_compat


class GLUSPreTrainedModel(CheckpointMixin, PreTrainedModel):
    config_class = GLUSConfig
    config: GLUSConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("video", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["LlamaDecoderLayer", "CLIPEncoderLayer", "Sam2VideoModel"]
    _skip_keys_device_placement = [CACHE]

    @classmethod
    def _loading_options(cls, kwargs: dict) -> dict:
        """`compat="released"`, `"evaluation-script"` or `"paper"` sets the options in which these differ
        (`presets_glus.COMPAT`); single options, as `fuser_scale="identity"`, go before it."""
        if isinstance(kwargs.get("config"), GLUSConfig) and kwargs.get("compat") is not None:
            kwargs["config"] = apply_compat(copy.deepcopy(kwargs["config"]), kwargs.pop("compat"))
        return kwargs

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, GLUSFramePositionEmbedding):
            nn.init.normal_(module.token_position, std=self.config.initializer_range)


class GLUSSegProjection(nn.Sequential):
    """[SEG] state -> mask prompt: linear, ReLU, linear."""

    def __init__(self, config: GLUSConfig):
        hidden_size = config.text_config.hidden_size
        super().__init__(
            nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, config.seg_embedding_size)
        )


class GLUSFramePositionEmbedding(nn.Module):
    """Learned position of each token in its frame, and of the frame in the video (time in [0, 1])."""

    num_frequencies = 8

    def __init__(self, config: GLUSConfig):
        super().__init__()
        hidden_size = config.text_config.hidden_size
        self.token_position = nn.Parameter(torch.zeros(config.num_image_tokens, hidden_size))
        self.time_projection = nn.Linear(2 * self.num_frequencies, hidden_size)

    def forward(self, frame_times: Tensor) -> Tensor:
        """`[..., frames]` times -> `[..., frames, num_image_tokens, hidden]`."""
        frequencies = torch.pi * torch.arange(1, self.num_frequencies + 1, device=frame_times.device) / 2
        phases = frame_times.float()[..., None] * frequencies
        waves = torch.cat([phases.sin(), phases.cos()], dim=-1).to(self.token_position.dtype)
        return self.time_projection(waves)[..., None, :] + self.token_position


class GLUSModel(SamMaskBranch, GLUSPreTrainedModel):
    """The three parts of GLUS without the language-model head: vision tower, language model, mask branch."""

    _keys_to_ignore_on_load_unexpected = [r"^lm_head\."]  # the head of GLUSForVideoSegmentation

    def __init__(self, config: GLUSConfig):
        super().__init__(config)
        self.vision_tower = CLIPVisionModel._from_config(config.vision_config)
        self.language_model = LlamaModel._from_config(config.text_config)
        self.mask_model = Sam2VideoModel._from_config(config.mask_config)
        self.mask_model.mask_decoder.dynamic_multimask_via_stability = config.multimask_fallback
        self.token_pooling = nn.AvgPool1d(config.image_token_pooling, config.image_token_pooling)
        self.mm_projector = nn.Linear(config.vision_config.hidden_size, config.text_config.hidden_size)
        self.seg_projection = GLUSSegProjection(config)
        self.frame_position = GLUSFramePositionEmbedding(config) if config.frame_position_embedding else None
        self.post_init()

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.language_model.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        mask_pixel_values: Tensor | None = None,
        expressions_per_video: Tensor | list[int] | None = None,
        frame_times: Tensor | None = None,
        return_dict: bool = True,
        labels: Tensor | None = None,
    ) -> GLUSSegmentationOutput | tuple:
        """States, [SEG] embeddings and masks of a batch of conversations; see [`GLUSForVideoSegmentation.forward`].

        `labels` say which last states are read; without them all are made.
        """
        counts = counts_per_video(expressions_per_video, len(pixel_values), len(input_ids))
        owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(input_ids.device)
        times = None if frame_times is None else frame_times.flatten(0, 1)
        image_tokens = self.encode_frames(pixel_values.flatten(0, 1), times).unflatten(0, pixel_values.shape[:2])
        inputs_embeds = self.embed_prompt(input_ids, image_tokens[owner.to(image_tokens.device)])
        last, seg_states = self._read_conversations(input_ids, inputs_embeds, attention_mask, counts, labels)
        seg_embeddings = self.seg_projection(select_seg_states(input_ids, seg_states, self.config.seg_token_id))
        output = GLUSSegmentationOutput(seg_embeddings=seg_embeddings, hidden_states=last)
        if mask_pixel_values is not None:
            output.mask_logits = self.decode_clips(mask_pixel_values, seg_embeddings, counts)
        return output if return_dict else output.to_tuple()

    # encode -----------------------------------------------------------------------------------------------------

    def encode_frames(self, pixel_values: Tensor, frame_times: Tensor | None = None) -> Tensor:
        """Frames for the language model: `[n, 3, h, w]` -> `[n, num_image_tokens, hidden]`.

        Patch tokens without CLS are averaged over runs of `image_token_pooling` along the raster, then projected.
        `frame_times [n]` in [0, 1] are needed only with `frame_position_embedding`.
        """
        pixel_values = pixel_values.to(self.dtype)
        if self.vision_tower.device.type != "meta":  # offloaded weights: accelerate's hook moves the input
            pixel_values = pixel_values.to(self.vision_tower.device)
        pixels = self.any_size(self.several(pixel_values), 0)
        tokens = self.own_stage("_image_tokens")(pixels)[: len(pixel_values)]
        if self.frame_position is None:
            return tokens
        if frame_times is None:
            raise ValueError("This model embeds frame times: pass frame_times in [0, 1].")
        return tokens + self.frame_position(to_device(frame_times, tokens.device))

    def _image_tokens(self, pixel_values: Tensor) -> Tensor:
        patches = clip_hidden_state(self.vision_tower, pixel_values, self.config.vision_feature_layer)[:, 1:]
        return self.mm_projector(self.token_pooling(patches.transpose(1, 2)).transpose(1, 2))

    @torch.no_grad()
    def try_shapes(self) -> Tensor:
        """Run a model without data (on the device "meta") on two frames, to see that the sizes of its configuration go
        together; returns the [SEG] state `[1, hidden]`."""
        views = [self.config.vision_config.image_size, self.config.mask_config.image_size]
        pixels, mask_pixels = (torch.zeros(1, 3, *sides(size), device="meta") for size in views)
        tokens = self.encode_frames(pixels, torch.zeros(1, device="meta"))
        if tokens.shape[1] != self.config.num_image_tokens:
            raise ValueError(f"a frame gives {tokens.shape[1]} tokens, not {self.config.num_image_tokens}")
        mask = torch.zeros(1, 1, *[tokens.shape[1]] * 2, device="meta")
        state = self.read_states(tokens, mask, use_cache=False)[1][:, -1]
        features, bank = self._mask_features(mask_pixels), MemoryBank(self.config.num_maskmem, 1)
        for frame in range(2):
            self.decode_frame(features, self.seg_projection(state), bank, frame, [True])
        return state

    # read -------------------------------------------------------------------------------------------------------

    def embed_prompt(self, input_ids: Tensor, image_tokens: Tensor) -> Tensor:
        """Token embeddings with image positions filled in order: `[n, length]`, `[n, frames, tokens, hidden]`.

        Prompts with different numbers of frames take theirs one after the other: `[all frames, tokens, hidden]`.
        Ids may be on the host, where they are checked without a wait.
        """
        is_image = input_ids == self.config.image_token_id
        in_rows = image_tokens.ndim == 4  # then a surplus in one row must not be made up for by another
        found = is_image.sum(1) if in_rows else is_image.sum()
        expected = image_tokens.shape[-3:-1].numel()
        if (found != expected).any():
            raise ValueError(
                f"The prompt has {found.tolist()} image positions but the frames give {expected}; expand each image "
                f"to {image_tokens.shape[-2]}."
            )
        input_ids, is_image = (to_device(each, image_tokens.device) for each in (input_ids, is_image))
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
        return embeddings.masked_scatter(is_image[..., None], image_tokens.to(embeddings))

    def read_states(self, inputs_embeds: Tensor, attention_mask: Tensor | None, **kwargs) -> tuple[Tensor, Tensor]:
        """Run the language model; returns its last states and the states that carry [SEG] (see `seg_hidden_state`)."""
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            output_hidden_states=self.reads_penultimate,
            **kwargs,
        )
        last = outputs.last_hidden_state
        return last, outputs.hidden_states[-2] if self.reads_penultimate else last

    def _read_conversations(
        self,
        input_ids: Tensor,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None,
        counts: list[int],
        labels: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """`read_states` of a training batch, those of a video packed into one row if the model does that."""
        if not self.packs_expressions or max(counts) == 1:
            return self.read_states(inputs_embeds, attention_mask, use_cache=False)
        packing = plan_packing(input_ids, attention_mask, counts)
        if labels is not None and reads_apart(self.language_model):
            read = read_positions(input_ids, labels, self.config.seg_token_id)
            last, before = read_packed(self.language_model, packing.pack(inputs_embeds), packing, read)
            return last, before if self.reads_penultimate else last
        options = {"position_ids": packing.position_ids, "packing": packing, "use_cache": False}
        states = self.read_states(packing.pack(inputs_embeds), packing.mask(), **options)
        return tuple(packing.unpack(part) for part in states)

    @property
    def packs_expressions(self) -> bool:
        """Whether a training batch reads the expressions of a video behind one copy of what they begin with."""
        return self.language_model.config._attn_implementation == PACKED

    @property
    def reads_penultimate(self) -> bool:
        """Whether [SEG] is the state before the last layer."""
        return self.config.seg_hidden_state == "penultimate"


def refuse_generation(*_, **__):
    """What stands for generating text."""
    raise UserError("GLUS answers with masks, not with text: call propagate_in_video_iterator, or the pipeline")


class GLUSForVideoSegmentation(GLUSPreTrainedModel):
    """GLUS with its language-model head: losses on a training batch, masks of a video at inference.

    Example:

        >>> from glus_hf import GLUSForVideoSegmentation, GLUSProcessor
        >>> model = GLUSForVideoSegmentation.from_pretrained("glus-tiny")
        >>> processor = GLUSProcessor.from_pretrained("glus-tiny")
        >>> session = processor.init_video_session(frames, "the red circle moving left")  # doctest: +SKIP
        >>> for output in model.propagate_in_video_iterator(session):  # doctest: +SKIP
        ...     masks = processor.post_process_masks(output.mask_logits)
    """

    def __init__(self, config: GLUSConfig):
        super().__init__(config)
        self.model = GLUSModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        # peft asks for it with task_type="CAUSAL_LM"; in the class it would mean to transformers that we generate text
        self.prepare_inputs_for_generation = refuse_generation
        self.post_init()

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.lm_head

    @property
    def trainable_parts(self) -> TrainableParts:
        """Names of the parts that training chooses from."""
        position = ("model.frame_position",) if self.model.frame_position is not None else ()
        return TrainableParts(
            language_model="model.language_model",
            embeddings="model.language_model.embed_tokens",
            head="lm_head",
            projections=("model.mm_projector", "model.seg_projection", *position),
            mask_model="model.mask_model",
            vision=("model.vision_tower",),
            lora=LLAMA_LORA,
        )

    def pack_expressions(self, pack: bool = True) -> bool:
        """Let training batches read the expressions of a video behind one copy of what they begin with, or not.

        Only with the attention "sdpa"; inference is the same with and without.

        Returns:
            Whether they do now.
        """
        language_model = self.model.language_model
        if language_model.config._attn_implementation in ("sdpa", PACKED):
            language_model.set_attn_implementation(PACKED if pack else "sdpa")
        return self.model.packs_expressions

    def unused_in_training(self) -> list[nn.Module]:
        """Of CLIP, the layers behind the hidden state that is read, and the norm after them: they get no gradient."""
        tower, layer = self.model.vision_tower, self.config.vision_feature_layer
        unused = (
            tower.encoder.layers[layer + 1 :] if layer < -1 else tower.encoder.layers[layer:] if layer >= 0 else []
        )
        return [*unused, tower.post_layernorm]

    def set_output_embeddings(self, value):
        self.lm_head = value

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        mask_pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        mask_labels: list[Tensor] | None = None,
        expressions_per_video: Tensor | list[int] | None = None,
        frame_times: Tensor | None = None,
        return_dict: bool | None = True,
        inputs_embeds: None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> GLUSSegmentationOutput | tuple:
        """One teacher-forced pass over a training batch.

        Args:
            input_ids: `[conversations, length]`, images expanded to `image_token_id`, right padded.
            pixel_values: `[videos, num_context + num_query, 3, h, w]`, context frames first.
            attention_mask: `[conversations, length]`.
            mask_pixel_values: `[videos, num_query, 3, S, S]`; without it no masks are decoded.
            labels: `[conversations, length]`, -100 where unsupervised.
            mask_labels: per video `[expressions, num_query, H, W]` in [0, 1], or counts of objects (`overlap="sum"`).
            expressions_per_video: conversations of each video, in order; one each by default.
            frame_times: `[videos, frames]` in [0, 1], for models with `frame_position_embedding`.
            return_dict: False gives a tuple.
            inputs_embeds, output_attentions, output_hidden_states: peft passes them as None; nothing else is taken.

        Returns:
            [`GLUSSegmentationOutput`]
        """
        if inputs_embeds is not None or output_attentions or output_hidden_states:
            raise UserError("GLUS takes no inputs_embeds, output_attentions and output_hidden_states: leave them out")
        if mask_labels is not None and mask_pixel_values is None:
            raise ValueError("mask_labels needs mask_pixel_values: without the query frames no masks are decoded.")
        output = self.model(
            input_ids,
            pixel_values,
            attention_mask,
            mask_pixel_values,
            expressions_per_video,
            frame_times,
            labels=labels,
        )
        add_losses(output, self.config, self.lm_head, labels, mask_labels)
        return output.to_tuple() if return_dict is False else output

    # inference --------------------------------------------------------------------------------------------------

    def compile_stages(self, *args, **kwargs) -> None:
        """Let the stages of inference be compiled; see [`CompiledStages.compile_stages`]."""
        self.model.compile_stages(*args, **kwargs)

    def propagate_in_video_iterator(
        self,
        session: GLUSInferenceSession,
        key_frame: int | Sequence[int] | None = None,
        batch_size: int | None = None,
        window: str = "sliding",
        frame_stride: int = 1,
    ) -> Iterator[GLUSVideoSegmentationOutput]:
        """Segment a video, frame by frame.

        Args:
            session: from [`GLUSProcessor.init_video_session`]; or from `init_live_session` with a `video`, whose
                frames are segmented as they come. A live session takes no `key_frame` and no whole windows.
            key_frame: frame to start from, 0 by default; or one per expression (list, array or tensor). Frames
                `key_frame..T-1` come first, then `key_frame-1..0`; every frame comes exactly once for every
                expression. Expressions that start from different frames share what is computed per frame: each frame
                is encoded at most twice.
            batch_size: windows read by the language model at once; by default 8 on a CPU and 16 on an accelerator.
            window: "sliding", as GLUS: every frame is the last of its own window. "whole" is faster and not the same:
                the [SEG]s of a window's frames are all read from one pass, as in training.
            frame_stride: read every so many frames only, counted from the key frame; the frames between have the
                [SEG] of the last one read, and the memories. 1 is GLUS.

        Raises:
            UserError: no such window, a stride below 1, or a stride with whole windows.

        Yields:
            [`GLUSVideoSegmentationOutput`] per frame, with the expressions that reach it then; those that start later
            get it on the way back. Where an expression gets no [SEG], its mask is empty and
            its score 0; `session.missing_seg_frames` lists the frames.
        """
        if isinstance(session, GLUSLiveSession):
            if key_frame is not None or window != "sliding":
                raise UserError("a live session starts at its first frame and never looks ahead: no key_frame, window")
            yield from push_frames(self, session, batch_size, frame_stride)
            return
        schedule = make_schedule(window, frame_stride, self.config, session.num_frames)
        check_fit(self, session, batch_size)
        session.use_device(self.device)
        yield from propagate_in_video(self, session, key_frame, batch_size, schedule)

    def push_frame(
        self, session: GLUSLiveSession, frame, batch_size: int | None = None, frame_stride: int = 1
    ) -> GLUSVideoSegmentationOutput:
        """The masks of the next frame of a stream, before the one after it is there.

        Args:
            session: from [`GLUSProcessor.init_live_session`]; holds the state, which does not grow.
            frame: PIL image, or array or tensor `[height, width, 3]`; uint8, or floating point in 0 to 1.
            batch_size: expressions read by the language model at once; by default 8 on a CPU, 16 on an accelerator.
            frame_stride: read every so many frames only, as in `propagate_in_video_iterator`.

        Raises:
            UserError: it is no image, or of another size than the first frame; the session stays as it was.

        Example:

            >>> session = processor.init_live_session("the red circle")  # doctest: +SKIP
            >>> for frame in camera:  # doctest: +SKIP
            ...     masks = processor.post_process_masks(model.push_frame(session, frame).mask_logits)
        """
        return push_frame(self, session, frame, batch_size, frame_stride)

    @property
    def frame_reader(self) -> GLUSForVideoSegmentation:
        """The [`FrameReader`]: this model itself."""
        return self

    @property
    def mask_branch(self) -> GLUSModel:
        """The [`MaskBranch`]."""
        return self.model

    def read_frames(self, session: GLUSInferenceSession, frames: Sequence[int]) -> Tensor:
        """Image tokens of some frames of a session, `[n, num_image_tokens, hidden]`."""
        times = torch.tensor([session.frame_time(frame_idx) for frame_idx in frames])
        return self.model.encode_frames(session.reader_view(frames), times)

    def shared_lead(self, session: GLUSInferenceSession) -> int:
        """How many ids all windows of a session begin with; see [`FrameReader`]."""
        return shared_lead(session, self.config.image_token_id, self.config.num_image_tokens)

    @torch.no_grad()
    def read_prefix(self, input_ids: list[int], image_tokens: Tensor | list[Tensor]) -> PromptCache:
        """Read the part that all windows of a video share; its keys and values are reused by `read_windows`."""
        image_tokens = self._stack_tokens(image_tokens)
        ids = torch.tensor([input_ids])
        return read_beginning(self.model.language_model, self.model.embed_prompt(ids, image_tokens[None]))

    @torch.no_grad()
    def read_leads(
        self, prefix: PromptCache, input_ids: list[int], image_tokens: Tensor | list[Tensor]
    ) -> PromptCache:
        """Read behind the prefix what the windows of all expressions begin with, for several first frames.

        Args:
            prefix: from `read_prefix`.
            input_ids: up to the first id in which expressions differ, with one image.
            image_tokens: of n first frames `[n, num_image_tokens, hidden]`.

        Returns:
            n beginnings; `select` one for each window.
        """
        image_tokens = self._stack_tokens(image_tokens)
        ids = torch.tensor([input_ids] * len(image_tokens))
        embeddings = self.model.any_size(self.model.several(self.model.embed_prompt(ids, image_tokens[:, None])), 0, 1)
        leads = self.model.stage(read_beginning)(self.model.language_model, embeddings, prefix)
        for states in (*leads.keys, *leads.values):
            self.model.any_size(states, 0, 1)
        return leads

    @torch.no_grad()
    def read_windows(
        self,
        prefix: PromptCache,
        input_ids: list[list[int]],
        image_tokens: list[Tensor | list[Tensor]],
        places: list[list[int]] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read windows as one right-padded batch behind what is cached.

        Args:
            prefix: from `read_prefix`, or per window a selection of `read_leads`; not changed.
            input_ids: per window, its ids behind the prefix.
            image_tokens: per window `[frames, num_image_tokens, hidden]`.
            places: per window, k places among its ids at which [SEG] is predicted; by default the last one alone.

        Returns:
            `seg_embeddings [n, dim]`, `seg_probabilities [n]`, `emits_seg [n]` (the arg-max is [SEG]); with `places`
            `[n, k, ...]` each.
        """
        tokens = torch.cat([self._stack_tokens(frames) for frames in image_tokens])
        ids, ends = pad_prompts(input_ids, "cpu")
        embeddings = self.model.embed_prompt(ids, tokens)
        at = to_device(ends[:, None] if places is None else torch.tensor(places), tokens.device)
        last, penultimate = self._read_at(embeddings, at, prefix)
        probabilities = self.lm_head(last).float().softmax(-1)
        seg_id = self.config.seg_token_id
        seg_embeddings = self.model.seg_projection(penultimate if self.model.reads_penultimate else last)
        found = seg_embeddings, probabilities[..., seg_id], probabilities.argmax(-1) == seg_id
        return tuple(part[:, 0] for part in found) if places is None else found

    def _read_at(self, embeddings: Tensor, places: Tensor, prefix: PromptCache) -> tuple[Tensor, Tensor]:
        """`read_at`, compiled or not. A single window is a case of its own where there is one expression."""
        count, model = len(embeddings), self.model
        if prefix.rows is not None:
            embeddings, places, rows = (model.several(each) for each in (embeddings, places, prefix.rows))
            prefix = replace(prefix, rows=model.any_size(rows, 0))
        embeddings, places = model.any_size(embeddings, 0, 1), model.any_size(places, 0)
        states = model.stage(read_at)(model.language_model, embeddings, places, prefix)
        return tuple(each[:count] for each in states)

    def _stack_tokens(self, frames: Tensor | list[Tensor]) -> Tensor:
        """`[frames, num_image_tokens, hidden]`."""
        if isinstance(frames, Tensor):
            return frames
        if frames:
            return torch.stack(frames)
        return torch.empty(
            0, self.config.num_image_tokens, self.config.text_config.hidden_size, device=self.device, dtype=self.dtype
        )


__all__ = ["GLUSForVideoSegmentation", "GLUSModel", "GLUSPreTrainedModel", "GLUSSegmentationOutput"]
