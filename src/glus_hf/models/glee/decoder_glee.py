"""The decoder of GLEE: locations become queries, which read the image and the expression, all in float32."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers.models.deformable_detr.modeling_deformable_detr import (
    DeformableDetrDecoderLayer,
    DeformableDetrMLPPredictionHead,
    inverse_sigmoid,
)

from .configuration_glee import GLEEConfig
from .deformable_sampling_glee import use_fast_sampling
from .denoising_glee import DenoisingQueries
from .float32_glee import Float32Module
from .heads_glee import GLEEHeads, GLEEPredictions
from .pixel_decoder_glee import Levels, flatten_levels
from .text_encoder_glee import GLEEText
from .visual_prompter_glee import VisualPrompt


ANCHOR_SIZE = 0.05  # of the image, on the coarsest level; twice as much on each finer one
MARGIN = 0.01  # anchors nearer to the border than this are no candidates
TEMPERATURE = 10000
NUM_COORDINATES = 4
PROMPT_LEVELS = 3  # whose tokens the layers see in turns: strides 8, 16 and 32


@dataclass
class SelectedQueries:
    """The best locations of an image, as queries.

    Args:
        scores (`FloatTensor [images, locations]`): of all locations, coarsest level first.
        indices (`LongTensor [images, n]`): the n best, best first.
        content (`FloatTensor [images, n, dim]`), box_logits (`FloatTensor [images, n, 4]`): of these.
    """

    scores: Tensor
    indices: Tensor
    content: Tensor
    box_logits: Tensor


@dataclass
class DecoderOutput:
    """Predictions by stage.

    Args:
        final: after the last layer.
        auxiliary: of the selected queries before the first layer, then after each layer but the last.
        encoder: of the selected locations as the encoder gave them, with gradients to it.
        denoising: of the denoising queries, in the order of `auxiliary`, the last layer's at the end.
        selected: see [`SelectedQueries`].
        embeddings (`FloatTensor [images, n, dim]`): the queries after the last layer and its norm.
        mask_features (`FloatTensor [images, dim, height, width]`): what masks are made of.
        references: boxes before each layer and after the last, 0..1.
    """

    final: GLEEPredictions
    selected: SelectedQueries
    embeddings: Tensor
    mask_features: Tensor
    auxiliary: list[GLEEPredictions] = field(default_factory=list)
    encoder: GLEEPredictions | None = None
    denoising: list[GLEEPredictions] = field(default_factory=list)
    references: list[Tensor] = field(default_factory=list)


class GLEEDecoderLayer(DeformableDetrDecoderLayer):
    """A decoder layer whose self-attention sees further tokens, which themselves stay as they are."""

    def forward(
        self,
        queries: Tensor,
        query_positions: Tensor,
        memory: Tensor,
        references: Tensor,
        levels: Levels,
        prompt: Prompt,
    ) -> Tensor:
        """Queries `[images, n, dim]` after self-attention, deformable attention to `memory` at `references`
        `[images, n, levels, 4]`, and the feed-forward layer."""
        attended = self._attend_to_each_other(queries, query_positions, prompt)
        queries = self.self_attn_layer_norm(queries + attended)
        read, _ = self.encoder_attn(
            hidden_states=queries,
            encoder_hidden_states=memory,
            position_embeddings=query_positions,
            reference_points=references,
            **levels.attention_arguments(),
        )
        queries = self.encoder_attn_layer_norm(queries + read)
        return self.final_layer_norm(queries + self.mlp(queries))

    def _attend_to_each_other(self, queries: Tensor, query_positions: Tensor, prompt: Prompt) -> Tensor:
        states = torch.cat([queries, prompt.tokens], 1)
        positions = torch.cat([query_positions, prompt.tokens.detach()], 1)
        mask = prompt.attention_mask
        attended, _ = self.self_attn(hidden_states=states, position_embeddings=positions, attention_mask=mask)
        return attended[:, : queries.shape[1]]


@dataclass
class Prompt:
    """Tokens that the queries of every layer see beside each other: `tokens [images, length, dim]`, and what is added
    to the logits of self-attention, `attention_mask [images, 1, n + length, n + length]`."""

    tokens: Tensor
    attention_mask: Tensor | None


class GLEEDecoder(Float32Module):
    """Encoded levels, mask features and text -> predictions of `num_queries` queries."""

    def __init__(self, config: GLEEConfig):
        super().__init__()
        dim = config.d_model
        self.num_queries, self.query_sine_features = config.num_queries, config.query_sine_features
        self.memory_projection, self.memory_norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        self.query_position = DeformableDetrMLPPredictionHead(
            NUM_COORDINATES * config.query_sine_features, dim, dim, 2
        )
        self.layers = nn.ModuleList(GLEEDecoderLayer(config) for _ in range(config.decoder_layers))
        self.heads = GLEEHeads(config)
        self.label_tables = nn.ModuleDict({name: nn.Embedding(n, dim) for name, n in config.label_tables.items()})
        use_fast_sampling(self)

    def forward(
        self,
        encoded: list[Tensor],
        mask_features: Tensor,
        text: GLEEText,
        denoising: DenoisingQueries | None = None,
        visual: VisualPrompt | None = None,
        all_stages: bool = False,
        all_masks: bool = True,
    ) -> DecoderOutput:
        """Decode.

        Args:
            encoded: levels `[images, dim, height, width]`, finest first.
            mask_features: `[images, dim, height, width]`.
            text: names, or one expression per image.
            denoising: queries made of targets, for training.
            visual: a visual prompt per image, with fine tokens.
            all_stages: predict after every stage, not after the last layer alone.
            all_masks: predict masks; without them, `masks_of` gives those of some queries.
        """
        memory, levels = flatten_levels(encoded[::-1])
        selected = self.select(memory, levels, text, visual)
        queries, boxes = selected.content.detach(), selected.box_logits.detach()
        if denoising is not None:
            queries, boxes = torch.cat([denoising.content, queries], 1), torch.cat([denoising.box_logits, boxes], 1)
        prompts = self._make_prompts(text, visual, queries, denoising)
        states, references = self.run_layers(queries, boxes.sigmoid(), memory, levels, prompts)
        count = 0 if denoising is None else denoising.content.shape[1]
        seen = mask_features if all_masks else None
        predict = lambda *pair: self.heads(*pair, seen, text, count)
        layer_boxes = self._boxes(states, references)
        stages = [predict(states[-1], layer_boxes[-1])]
        if all_stages:
            earlier = zip(states[:-1], layer_boxes[:-1], strict=True)
            stages = [predict(queries, references[0]), *(predict(*pair) for pair in earlier), *stages]
        pairs = [stage.split(count) for stage in stages]
        own = selected.content, selected.box_logits.sigmoid(), seen, text
        return DecoderOutput(
            final=pairs[-1][1],
            auxiliary=[rest for _, rest in pairs[:-1]],
            encoder=self.heads(*own) if all_stages else None,
            denoising=[first for first, _ in pairs] if count else [],
            selected=selected,
            embeddings=states[-1][:, count:],
            mask_features=mask_features,
            references=[reference[:, count:] for reference in references],
        )

    def masks_of(self, output: DecoderOutput, image: int, queries: list[int]) -> Tensor:
        """Mask logits `[n, height, width]` of some queries of an image."""
        one = slice(image, image + 1)
        return self.heads.make_masks(output.embeddings[one, queries], output.mask_features[one])[0]

    def select(
        self, memory: Tensor, levels: Levels, text: GLEEText, visual: VisualPrompt | None = None
    ) -> SelectedQueries:
        """The locations with the best scores, of names or of the expression; or of confidence, with a visual prompt
        and no expression. Their order is that of their scores."""
        anchors, is_candidate = make_anchors(levels)
        states = self.memory_norm(self.memory_projection(memory * is_candidate[:, None]))
        if visual is not None and not text.is_referring:
            scores = self.heads.confidence(states)[..., 0]
        else:
            scores = text.classify(self.heads.category(states)).amax(-1)
        indices = scores.topk(min(self.num_queries, scores.shape[1]), dim=1).indices
        content = states.gather(1, indices[..., None].expand(-1, -1, states.shape[-1]))
        return SelectedQueries(scores, indices, content, self.heads.box(content) + anchors[indices])

    def run_layers(
        self, queries: Tensor, boxes: Tensor, memory: Tensor, levels: Levels, prompts: list[Prompt]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Normed queries after each layer, and the boxes before each layer and after the last."""
        states, references = [], [boxes]
        for index, layer in enumerate(self.layers):
            positions = self.query_position(sine_of_boxes(boxes, self.query_sine_features))
            at = boxes[:, :, None].expand(-1, -1, len(levels.sizes), -1)
            queries = layer(queries, positions, memory, at, levels, prompts[index % len(prompts)])
            references.append((self.heads.box(queries) + inverse_sigmoid(boxes)).sigmoid())
            boxes = references[-1].detach()
            states.append(self.heads.norm(queries))
        return states, references

    def _boxes(self, states: list[Tensor], references: list[Tensor]) -> list[Tensor]:
        """Boxes of the normed queries, relative to the references before their layers."""
        pairs = zip(states, references, strict=False)
        return [(self.heads.box(normed) + inverse_sigmoid(reference)).sigmoid() for normed, reference in pairs]

    def _make_prompts(
        self, text: GLEEText, visual: VisualPrompt | None, queries: Tensor, denoising: DenoisingQueries | None
    ) -> list[Prompt]:
        """For the layers in turns: what the queries see beside each other, and who sees whom. Nobody sees padding,
        matched queries see no denoising ones.

        Tokens are the words of the expression; or those of a visual prompt, one level after the other.
        """
        padding = None
        if visual is not None:
            tokens, padding = visual.fine[:PROMPT_LEVELS], visual.padding
        elif text.is_referring:
            tokens, padding = [text.words.float()], text.padding
        else:
            tokens = [queries[:, :0]]
        mask = self._attention_mask(queries, padding, denoising)
        return [Prompt(each, mask) for each in tokens]

    def _attention_mask(
        self, queries: Tensor, padding: Tensor | None, denoising: DenoisingQueries | None
    ) -> Tensor | None:
        if padding is None and denoising is None:
            return None
        batch, count = queries.shape[:2]
        total = count + (0 if padding is None else padding.shape[1])
        is_hidden = torch.zeros(batch, total, total, dtype=torch.bool, device=queries.device)
        if denoising is not None:
            is_hidden[:, :count, :count] = denoising.hidden_from(count)
        if padding is not None:
            is_hidden[:, :, count:] = padding[:, None]
        lowest = torch.finfo(queries.dtype).min
        return torch.zeros_like(is_hidden, dtype=queries.dtype).masked_fill(is_hidden, lowest)[:, None]


def make_anchors(levels: Levels) -> tuple[Tensor, Tensor]:
    """Logits of a box at every location, `[locations, 4]`, infinite where it is none, and where it is one
    `[locations]`.

    The levels come coarsest first, and the size doubles from each to the next, as the released weights were trained.
    """
    anchors = []
    for index, (height, width) in enumerate(levels.sizes):
        rows = (torch.arange(height, device=levels.device) + 0.5) / height
        columns = (torch.arange(width, device=levels.device) + 0.5) / width
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).flatten(0, 1)
        anchors.append(torch.cat([grid, torch.full_like(grid, ANCHOR_SIZE * 2**index)], -1))
    boxes = torch.cat(anchors)
    is_candidate = ((boxes > MARGIN) & (boxes < 1 - MARGIN)).all(-1)
    return boxes.logit().masked_fill(~is_candidate[:, None], float("inf")), is_candidate


def sine_of_boxes(boxes: Tensor, features: int) -> Tensor:
    """`[..., 4]` centre x, centre y, width, height -> `[..., 4 * features]` waves in the order y, x, width, height."""
    exponents = 2 * (torch.arange(features, device=boxes.device) // 2) / features
    phases = 2 * math.pi * boxes[..., [1, 0, 2, 3], None] / TEMPERATURE**exponents
    return torch.stack([phases[..., 0::2].sin(), phases[..., 1::2].cos()], -1).flatten(-3)


__all__ = ["DecoderOutput", "GLEEDecoder", "SelectedQueries"]
