"""GLEE: objects by names or by an expression, in images and videos, without a language model.

Three steps: the backbone reads an image (`encode_images`), the text tower reads names or expressions (`encode_text`),
and the two decoders put them together (`decode`). The first two do not know of each other, so their results can be
shared.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.models.deformable_detr.modeling_deformable_detr import DeformableDetrMultiscaleDeformableAttention
from transformers.utils import ModelOutput

from ...errors import UserError
from ..checkpoint_loading import CheckpointMixin
from .association_glee import TOP_K, GLEEInstanceSession, GLEEInstancesOutput, track_instances
from .backbone_glee import build_backbone
from .configuration_glee import GLEEConfig
from .decoder_glee import DecoderOutput, GLEEDecoder
from .denoising_glee import DenoisingQueries, make_denoising_queries
from .draws_glee import GLEEDraws
from .eva02_glee import GLEEEva02Backbone
from .fusion_glee import GLEEFusion
from .heads_glee import GLEEHeads, GLEEPredictions
from .inference_glee import GLEEInferenceSession, GLEEVideoSegmentationOutput, propagate_in_video
from .loss_glee import glee_losses, total_loss
from .pixel_decoder_glee import FUSION_SCALE, GLEEPixelDecoder, PixelMaps
from .text_encoder_glee import GLEEText, GLEETextEncoder
from .visual_prompter_glee import KINDS, GLEEVisualPrompter, VisualPrompt


@dataclass
class GLEESegmentationOutput(ModelOutput):
    """Output of [`GLEEForVideoSegmentation`] for a batch of images.

    Args:
        loss (`FloatTensor`, *optional*): weighted sum of `losses`, when labels are given.
        logits (`FloatTensor [images, queries, names]`): one per name, or one for the expression.
        pred_boxes (`FloatTensor [images, queries, 4]`): centre x, centre y, width, height as parts of the padded
            image.
        pred_masks (`FloatTensor [images, queries, height / 4, width / 4]`): logits.
        confidence_logits (`FloatTensor [images, queries, 1]`): how sure the model is, whatever was asked.
        query_embeddings (`FloatTensor [images, queries, dim]`): what temporal similarity compares.
        location_scores (`FloatTensor [images, locations]`): logits of all locations, from which the queries were
            selected; strides 64, 32, 16, 8.
        query_indices (`LongTensor [images, queries]`): the selected locations.
        mask_features (`FloatTensor [images, dim, height / 4, width / 4]`): times queries, they give masks.
        losses (`dict[str, FloatTensor]`, *optional*): unweighted, see `loss_glee.glee_losses`.
        matches (`dict[str, list]`, *optional*): by stage and image, matched queries and their targets.
        auxiliary (`list[GLEEPredictions]`, *optional*): of the selected queries, then of all layers but the last.
        encoder_predictions ([`GLEEPredictions`], *optional*): of the selected locations, by the encoder alone.
        references (`list[FloatTensor]`): boxes before each layer and after the last.
        denoising ([`DenoisingQueries`], *optional*): in training.
        padded_size (`tuple[int, int]`, *optional*): height and width of the padded images; those of masks of stride 4
            by default.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    pred_boxes: torch.FloatTensor | None = None
    pred_masks: torch.FloatTensor | None = None
    confidence_logits: torch.FloatTensor | None = None
    query_embeddings: torch.FloatTensor | None = None
    location_scores: torch.FloatTensor | None = None
    query_indices: torch.LongTensor | None = None
    mask_features: torch.FloatTensor | None = None
    losses: dict | None = None
    matches: dict | None = None
    auxiliary: list | None = None
    encoder_predictions: GLEEPredictions | None = None
    references: list | None = None
    denoising: DenoisingQueries | None = None
    padded_size: tuple[int, int] | None = None


class GLEEPreTrainedModel(CheckpointMixin, PreTrainedModel):
    config_class = GLEEConfig
    config: GLEEConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ["GLEEPixelDecoder", "GLEEDecoder", "GLEEEva02Block", "CLIPEncoderLayer"]
    _keep_in_fp32_modules_strict = ["pixel_decoder", "decoder", "prompter"]

    def _initialize_weights(self, module, *args):
        # of code that is not its own, transformers takes a module without direct weights for initialised
        super()._initialize_weights(module)

    @torch.no_grad()
    def _init_weights(self, module):
        """Normal with a deviation of one by the root of the inputs; uniform 0..1, as in the released code, does not
        train."""
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            is_transposed = isinstance(module, nn.ConvTranspose2d)  # each result has one place of each input
            inputs = module.in_channels if is_transposed else module.weight[0].numel()
            init.normal_(module.weight, std=inputs**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, GLEEEva02Backbone):
            init.normal_(module.position_embedding, std=POSITION_STD)
        elif isinstance(module, GLEEFusion):
            init.constant_(module.vision_param, FUSION_SCALE)
            init.constant_(module.text_param, FUSION_SCALE)
        elif isinstance(module, GLEEPixelDecoder):
            init.normal_(module.level_embedding)
        elif isinstance(module, GLEEHeads):
            init.zeros_(module.box.layers[-1].weight)
        elif isinstance(module, DeformableDetrMultiscaleDeformableAttention):
            _init_deformable_attention(module)


def _init_deformable_attention(module: DeformableDetrMultiscaleDeformableAttention) -> None:
    """Heads look into different directions, points of a head at growing distances, all with the same weight."""
    angles = torch.arange(module.n_heads) * (2 * math.pi / module.n_heads)
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    directions = directions / directions.abs().amax(-1, keepdim=True)
    distances = torch.arange(1, module.n_points + 1)[:, None]
    offsets = directions[:, None, None] * distances  # heads, levels, points, 2
    init.zeros_(module.sampling_offsets.weight)
    init.copy_(module.sampling_offsets.bias, offsets.expand(-1, module.n_levels, -1, -1).reshape(-1))
    init.zeros_(module.attention_weights.weight)
    init.zeros_(module.attention_weights.bias)


class GLEEModel(GLEEPreTrainedModel):
    """Backbone, text tower, pixel decoder and decoder.

    Example:

        >>> from glus_hf import GLEEConfig, GLEEModel
        >>> model = GLEEModel(GLEEConfig.tiny()).eval()
        >>> text = model.encode_text(torch.tensor([[1, 5, 2]]), torch.ones(1, 3, dtype=torch.long), is_referring=True)
        >>> output = model.decode(model.encode_images(torch.zeros(1, 3, 64, 64)), text)
        >>> tuple(output.final.pred_masks.shape)
        (1, 12, 16, 16)
    """

    def __init__(self, config: GLEEConfig):
        super().__init__(config)
        self.backbone = build_backbone(config)
        self.text_encoder = GLEETextEncoder(config)
        self.pixel_decoder = GLEEPixelDecoder(config, self.backbone.channels)
        self.decoder = GLEEDecoder(config)
        has_prompter = config.visual_prompter is not None
        self.prompter = GLEEVisualPrompter(config, self.backbone.channels) if has_prompter else None
        self.post_init()

    def get_input_embeddings(self):
        return self.text_encoder.student.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.text_encoder.student.set_input_embeddings(value)

    def encode_images(self, pixel_values: Tensor) -> list[Tensor]:
        """`[images, 3, height, width]` -> maps of strides 4, 8, 16 and 32, or 8, 16, 32 and 64 of an EVA-02."""
        return list(self.backbone(pixel_values.to(self.device, self.backbone.dtype)).feature_maps)

    def prepare_images(self, pixel_values: Tensor) -> PixelMaps:
        """All that does not depend on a text, of images `[images, 3, height, width]`; see `decode`."""
        return self.pixel_decoder(self.encode_images(pixel_values))

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor, is_referring: bool) -> GLEEText:
        """Names for all images, or one expression per image: ids and mask `[texts, length]`."""
        input_ids, attention_mask = input_ids.to(self.device), attention_mask.to(self.device)
        states = self.text_encoder.read(input_ids, attention_mask)
        return self.text_encoder.project(states, attention_mask, is_referring)

    def read_crops(self, pixel_values: Tensor, masks: Tensor, kinds: Sequence[str]) -> Tensor | None:
        """Crop tokens of visual prompts `[images, n, dim]`; None where the model has none.

        Args:
            pixel_values: `[images, 3, height, width]`.
            masks: of the prompts, `[images, height, width]` of bool.
            kinds: "mask", "box", "point" or "scribble" per image.
        """
        if self.config.visual_prompter != "full":
            return None
        with torch.no_grad():  # as in the release, the backbone does not learn from crops
            maps = self.encode_images(self.prompter.cut(pixel_values.to(self.device), masks, kinds))
        return self.prompter.join_maps(maps)

    def read_prompt(
        self,
        pixel_values: Tensor,
        features: list[Tensor] | PixelMaps,
        text: GLEEText,
        masks: Tensor,
        kinds: Sequence[str],
        draws: GLEEDraws | None = None,
    ) -> VisualPrompt:
        """Visual prompts of images whose maps are known; `decode` takes them, for these images or for others.

        Args:
            pixel_values, masks, kinds: as for `read_crops`.
            features: `encode_images` or `prepare_images` of the same images.
            text: names.
            draws: for the choice of points; see [`GLEEVisualPrompter.choose_points`].
        """
        crop = self.read_crops(pixel_values, masks, kinds)
        encoded, mask_features = self.pixel_decoder(features, text, crop)
        return self._prompt_of(crop, encoded, mask_features, masks, draws)

    def decode(
        self,
        features: list[Tensor] | PixelMaps,
        text: GLEEText,
        prompt: VisualPrompt | None = None,
        all_masks: bool = True,
    ) -> DecoderOutput:
        """Predictions of images whose maps are known, for names or for one expression per image, and for one visual
        prompt per image; see [`GLEEDecoder`]."""
        pixels = self.pixel_decoder(features, text, None if prompt is None else prompt.crop)
        return self.decoder(*pixels, text, visual=prompt, all_masks=all_masks)

    def _prompt_of(
        self, crop: Tensor | None, encoded: list[Tensor], mask_features: Tensor, masks: Tensor, draws: GLEEDraws | None
    ) -> VisualPrompt:
        points, padding = self.prompter.choose_points(masks, draws)
        return VisualPrompt(crop, self.prompter.sample(encoded, mask_features, points), padding)


class GLEEForVideoSegmentation(GLEEPreTrainedModel):
    """GLEE for images and videos: predictions and losses of a batch of images, masks of a video at inference.

    Example:

        >>> from glus_hf import GLEEConfig, GLEEForVideoSegmentation
        >>> model = GLEEForVideoSegmentation(GLEEConfig.tiny()).eval()
        >>> names = torch.tensor([[1, 5, 2], [1, 6, 2]])
        >>> output = model(torch.zeros(1, 3, 64, 96), names, task="category")
        >>> tuple(output.logits.shape), tuple(output.pred_boxes.shape)
        ((1, 12, 2), (1, 12, 4))
    """

    def __init__(self, config: GLEEConfig):
        super().__init__(config)
        self.model = GLEEModel(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.model.set_input_embeddings(value)

    def add_text_teacher(self) -> None:
        """Keep a frozen copy of the text tower as it is now, for distillation; one that is there already stays."""
        encoder = self.model.text_encoder
        if encoder.teacher is None:
            encoder.teacher = copy.deepcopy(encoder.student).requires_grad_(False)
        self.config.text_teacher = True

    def add_visual_prompter(self) -> None:
        """Take visual prompts from now on, by a prompter of new weights; one that is there already stays, and gets the
        crop tokens that it lacks."""
        if self.config.visual_prompter == "full":
            return
        self.config.visual_prompter = "full"
        model, parts = self.model, {} if self.model.prompter is None else self.model.prompter.state_dict()
        model.prompter = GLEEVisualPrompter(self.config, model.backbone.channels)
        model.prompter.apply(self._initialize_weights)
        model.prompter.load_state_dict(parts, strict=False)
        model.prompter.to(self.device)

    def forward(
        self,
        pixel_values: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task: str = "referring",
        labels: list[dict[str, Tensor]] | None = None,
        label_table: str | None = None,
        generator: torch.Generator | int | None = None,
        draws: Mapping[str, Tensor] | None = None,
        all_stages: bool = False,
        prompt_masks: Tensor | None = None,
        prompt_kinds: str | Sequence[str] = "mask",
        prompt_images: Tensor | None = None,
        clip_length: int | None = None,
        return_dict: bool = True,
    ) -> GLEESegmentationOutput | tuple:
        """One pass over a batch of images.

        Args:
            pixel_values: `[images, 3, height, width]`, normalised; all images padded to one size.
            input_ids: `[images, length]`, an expression each, or `[names, length]` for all images.
            attention_mask: 1 where there is a word; all by default.
            task: "referring" or "category".
            labels: per image `class_labels [n]` (0 in "referring"), `boxes [n, 4]` (centre x, centre y, width, height
                as parts of the padded image) and `masks [n, height, width]`; without masks only classes and boxes are
                compared.
            label_table: whose label embeddings the denoising queries are made of, one of `config.label_tables`; those
                of the texts themselves by default.
            generator: for denoising, matching and losses: a generator, or a seed. Without one PyTorch's own in
                training, and the seed 0 otherwise.
            draws: the random numbers themselves, see [`GLEEDraws`].
            all_stages: predictions of all stages also without labels.
            prompt_masks: a visual prompt per image, `[images, height, width]` of bool, of the padded images; with
                `clip_length` also one per clip, of its first frame, for all of its frames.
            prompt_kinds: "mask", "box", "point" or "scribble", for all images or per image.
            prompt_images: where there is not one prompt per image, the image of each `[prompts]`; the outputs are one
                per prompt, and the backbone reads an image once.
            clip_length: the images are clips of that many frames, one after the other; where labels have
                `instance_ids [n]`, adds the loss of following objects.

        Returns:
            [`GLEESegmentationOutput`]
        """
        if task not in TASKS:
            raise ValueError(f"task must be one of {TASKS}, got {task!r}.")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        is_referring = task == "referring"
        encoder = self.model.text_encoder
        states = encoder.read(input_ids, attention_mask)
        text = encoder.project(states, attention_mask, is_referring)
        draws = GLEEDraws(generator if generator is not None or self.training else 0, draws)
        denoising = self._make_denoising(labels, text, label_table, draws)
        features, crop, visual = self.model.encode_images(pixel_values), None, None
        if prompt_images is not None:
            prompt_images = prompt_images.to(self.device)
            pixel_values = pixel_values.to(self.device)[prompt_images]
            features = [maps[prompt_images] for maps in features]
        if prompt_masks is not None:
            step = _frames_of_a_prompt(len(pixel_values), len(prompt_masks), clip_length)
            prompted = pixel_values[::step]
            prompt_masks, prompt_kinds = self._check_prompts(prompt_masks, prompt_kinds, prompted)
            crop = self.model.read_crops(prompted, prompt_masks, prompt_kinds)
            crop = None if crop is None else crop.repeat_interleave(step, 0)
        encoded, mask_features = self.model.pixel_decoder(features, text, crop)
        if prompt_masks is not None:
            seen = [maps[::step] for maps in encoded], mask_features[::step]
            is_random = self.training or generator is not None
            visual = self.model._prompt_of(None, *seen, prompt_masks, draws if is_random else None)
            visual = visual.select(torch.arange(len(encoded[0]), device=self.device) // step)
        decoded = self.model.decoder(encoded, mask_features, text, denoising, visual, all_stages or labels is not None)
        output = GLEESegmentationOutput(
            **decoded.final,
            query_embeddings=decoded.embeddings,
            location_scores=decoded.selected.scores,
            query_indices=decoded.selected.indices,
            mask_features=mask_features,
            auxiliary=decoded.auxiliary,
            encoder_predictions=decoded.encoder,
            references=decoded.references,
            denoising=denoising,
            padded_size=tuple(pixel_values.shape[-2:]),
        )
        if labels is not None:
            output.losses, output.matches = glee_losses(
                decoded, labels, self.config, draws, denoising, has_prompts=visual is not None, clip_length=clip_length
            )
            if encoder.teacher is not None and not is_referring:
                output.losses["dist_loss"] = encoder.distill(states, input_ids, attention_mask)
            output.loss = total_loss(output.losses, self.config)
        return output if return_dict else output.to_tuple()

    def _check_prompts(self, masks: Tensor, kinds: str | Sequence[str], pixels: Tensor) -> tuple[Tensor, list[str]]:
        if self.model.prompter is None:
            raise UserError("this model takes no visual prompts; use one whose config has a visual_prompter")
        if masks.shape != (len(pixels), *pixels.shape[-2:]):
            raise ValueError(
                f"prompt_masks must have the shape {[len(pixels), *pixels.shape[-2:]]}, got {list(masks.shape)}."
            )
        kinds = [kinds] * len(masks) if isinstance(kinds, str) else list(kinds)
        unknown = set(kinds) - set(KINDS)
        if unknown or len(kinds) != len(masks):
            raise ValueError(f"prompt_kinds must be one of {KINDS} per image, got {kinds!r}.")
        return masks.to(self.device, torch.bool), kinds

    def _make_denoising(
        self, labels: list[dict[str, Tensor]] | None, text: GLEEText, label_table: str | None, draws: GLEEDraws
    ) -> DenoisingQueries | None:
        """Noisy targets for the decoder, in training only."""
        if labels is None or not self.training or self.config.num_denoising == 0:
            return None
        embeddings, num_labels = text.embeddings.float(), len(text.embeddings)
        if label_table is not None:
            embeddings = self._label_table(label_table)
            num_labels = min(1 if text.is_referring else num_labels, len(embeddings))
        elif text.is_referring:  # the label of an image is its own expression
            own = [torch.full_like(target["class_labels"], image) for image, target in enumerate(labels)]
            labels = [{**target, "class_labels": label} for target, label in zip(labels, own, strict=True)]
        number, noise = self.config.num_denoising, self.config.denoising_noise_scale
        return make_denoising_queries(labels, embeddings, num_labels, number, noise, draws)

    def _label_table(self, name: str) -> Tensor:
        tables = self.model.decoder.label_tables
        if name not in tables:
            raise ValueError(f"there is no label table {name!r}; use one of {', '.join(tables) or 'none'}.")
        return tables[name].weight

    # inference --------------------------------------------------------------------------------------------------

    def propagate_in_video_iterator(
        self,
        session: GLEEInferenceSession,
        key_frame: int | Sequence[int] | None = None,
        batch_size: int | None = None,
        reference: str = "first",
        backward: bool = True,
    ) -> Iterator[GLEEVideoSegmentationOutput]:
        """Segment a video, frame by frame.

        Args:
            session: from [`GLEEProcessor.init_video_session`].
            key_frame: frame to start from, 0 by default; or one per expression (list, array or tensor). Frames
                `key_frame..T-1` come first, then `key_frame-1..0`; every frame comes exactly once for every
                expression.
            batch_size: frames times expressions that are decoded at once; by default 10, on a CPU fewer
                where images are large, which is faster.
            reference: of a session with prompts: what an object is recognised by, its newest prompt ("first"), the
                frame before ("previous"), or both ("first+previous").
            backward: of a session with prompts: go back to the first frame, too.

        Yields:
            [`GLEEVideoSegmentationOutput`] per frame, with the expressions that reach it then; of a session with
            prompts, with the objects, by `object_ids`.
        """
        options = {"batch_size": batch_size, "reference": reference, "backward": backward}
        yield from propagate_in_video(self, session, key_frame=key_frame, **options)

    def track_instances(
        self,
        session: GLEEInstanceSession,
        top_k: int = TOP_K,
        threshold: float = 0.0,
        frame_threshold: float = 0.0,
        one_name_each: bool = False,
        batch_size: int | None = None,
    ) -> Iterator[GLEEInstancesOutput]:
        """Find and follow all objects with a name in a video. The video is read twice, a batch of frames at a time.

        Args:
            session: from [`GLEEProcessor.init_instance_session`].
            top_k: most objects: pairs of a track and a name, by the mean of the name's logits over all frames. The
                released code takes 30, and 50 for TAO.
            threshold: objects whose score is not above it are left out.
            frame_threshold: an object's mask is empty on frames where the score of its name is lower. Not in the
                paper, where every object has a mask on every frame.
            one_name_each: a track counts with its best name alone, as for TAO.
            batch_size: frames that are decoded at once; by default 10, on a CPU fewer where images are large.

        Yields:
            [`GLEEInstancesOutput`] per frame, in order.

        Example:

            >>> session = processor.init_instance_session("clip.mp4", ["dog", "cat"])  # doctest: +SKIP
            >>> for output in model.track_instances(session, threshold=0.3):  # doctest: +SKIP
            ...     print(output.frame_idx, output.object_ids, output.labels)
        """
        yield from track_instances(self, session, top_k, threshold, frame_threshold, one_name_each, batch_size)


def _frames_of_a_prompt(images: int, prompts: int, clip_length: int | None) -> int:
    """Images that share a prompt: those of a clip where there is a prompt per clip, otherwise one."""
    is_per_clip = clip_length is not None and prompts * clip_length == images
    return clip_length if is_per_clip else 1


TASKS = ("referring", "category")
POSITION_STD = 0.02

__all__ = ["GLEEForVideoSegmentation", "GLEEModel", "GLEEPreTrainedModel", "GLEESegmentationOutput"]
