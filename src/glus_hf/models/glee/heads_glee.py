"""The heads of GLEE, shared by the selected queries and all decoder layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.models.deformable_detr.modeling_deformable_detr import DeformableDetrMLPPredictionHead
from transformers.utils import ModelOutput

from .configuration_glee import GLEEConfig
from .text_encoder_glee import GLEEText


@dataclass
class GLEEPredictions(ModelOutput):
    """What the heads say of n queries.

    Args:
        logits (`FloatTensor [images, n, names]`): one per name, or one for the expression.
        pred_boxes (`FloatTensor [images, n, 4]`): centre x, centre y, width, height as parts of the padded image.
        pred_masks (`FloatTensor [images, n, height / 4, width / 4]`): logits.
        confidence_logits (`FloatTensor [images, n, 1]`): how sure the model is, whatever was asked.
    """

    logits: torch.FloatTensor | None = None
    pred_boxes: torch.FloatTensor | None = None
    pred_masks: torch.FloatTensor | None = None
    confidence_logits: torch.FloatTensor | None = None

    def split(self, count: int) -> tuple[GLEEPredictions, GLEEPredictions]:
        """The first `count` queries, which have no masks, and the rest."""
        first = {name: value[:, :count] for name, value in self.items() if name != "pred_masks"}
        rest = {name: value if name == "pred_masks" else value[:, count:] for name, value in self.items()}
        return GLEEPredictions(**first), GLEEPredictions(**rest)


class GLEEHeads(nn.Module):
    """Class, box, mask and confidence of queries. `norm` is the last norm of the decoder, which is applied here once
    more."""

    def __init__(self, config: GLEEConfig):
        super().__init__()
        dim = config.d_model
        self.norm = nn.LayerNorm(dim)
        self.category = nn.Linear(dim, dim, bias=False)
        self.box = DeformableDetrMLPPredictionHead(dim, dim, 4, 3)
        self.mask = DeformableDetrMLPPredictionHead(dim, dim, dim, 3)
        self.confidence = DeformableDetrMLPPredictionHead(dim, dim, 1, 2)

    def forward(
        self, queries: Tensor, boxes: Tensor, mask_features: Tensor | None, text: GLEEText, num_unmasked: int = 0
    ) -> GLEEPredictions:
        """Predictions of queries `[images, n, dim]` whose boxes `[images, n, 4]` are known; no masks of the first
        `num_unmasked`, or of all without mask features."""
        normed = self.norm(queries)
        return GLEEPredictions(
            logits=text.classify(self.category(normed)),
            pred_boxes=boxes,
            pred_masks=None if mask_features is None else self.make_masks(queries[:, num_unmasked:], mask_features),
            confidence_logits=self.confidence(normed),
        )

    def make_masks(self, queries: Tensor, mask_features: Tensor) -> Tensor:
        """Mask logits `[images, n, height, width]` of queries `[images, n, dim]`."""
        return torch.einsum("bqc,bchw->bqhw", self.mask(self.norm(queries)), mask_features)


__all__ = ["GLEEHeads", "GLEEPredictions"]
