"""Where a phrase is: the best box of a detector over some frames of a video."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Detection:
    """The best box for one expression.

    Args:
        frame_idx (`int`): the frame it is on.
        score (`float`): 0..1.
        box (`FloatTensor [4]`): x0, y0, x1, y1 as parts of the frame's width and height.
    """

    frame_idx: int
    score: float
    box: Tensor


class KnownFeatures(nn.Module):
    """Stands for the backbone of a detector whose feature maps are known: they do not depend on the phrase."""

    def __init__(self, backbone: nn.Module, pixel_values: Tensor, pixel_mask: Tensor):
        super().__init__()
        self.position_embedding = backbone.position_embedding
        self.maps, self.positions = backbone(pixel_values, pixel_mask)

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor):
        return list(self.maps), list(self.positions)  # the detector appends to them


def with_known_features(detector: nn.Module, pixel_values: Tensor, pixel_mask: Tensor) -> nn.Module:
    """A view of a Grounding DINO that knows the image features of a batch; it shares all weights, and the detector
    itself stays as it is."""
    known = KnownFeatures(detector.model.backbone, pixel_values, pixel_mask)
    return _with_part(detector, "model", _with_part(detector.model, "backbone", known))


def _with_part(module: nn.Module, name: str, part: nn.Module) -> nn.Module:
    view = copy.copy(module)
    view._modules = {**module._modules, name: part}
    return view


@torch.no_grad()
def detect(model, session, frames: Sequence[Sequence[int]], batch_size: int) -> list[Detection]:
    """The best box of every expression over its own frames; of several equally good ones the first.

    Args:
        model ([`GroundedForVideoSegmentation`]): its detector is used.
        session ([`GroundedInferenceSession`]): video and expressions.
        frames: per expression, the frames to look at.
        batch_size: frames that are looked at together.
    """
    found: list[list[Detection]] = [[] for _ in frames]
    needed = sorted({frame_idx for own in frames for frame_idx in own})
    for begin in range(0, len(needed), batch_size):
        part = needed[begin : begin + batch_size]
        pixels = session.image_processor([session.frames[frame_idx] for frame_idx in part], return_tensors="pt")
        images = pixels["pixel_values"].to(model.device, model.dtype), pixels["pixel_mask"].to(model.device)
        detector = with_known_features(model.detector, *images)
        for text, own in enumerate(frames):
            if not set(own).isdisjoint(part):
                answers = _best_per_image(detector, *images, session.text_inputs[text])
                found[text] += [
                    Detection(index, *each) for index, each in zip(part, answers, strict=True) if index in own
                ]
    return [max(own, key=lambda each: each.score) for own in found]


def _best_per_image(detector: nn.Module, pixel_values: Tensor, pixel_mask: Tensor, text: dict) -> list:
    rows = len(pixel_values)
    repeated = {name: values.expand(rows, -1).to(pixel_values.device) for name, values in text.items()}
    outputs = detector(pixel_values=pixel_values, pixel_mask=pixel_mask, **repeated)
    scores, queries = outputs.logits.float().sigmoid().amax(-1).max(1)
    boxes = outputs.pred_boxes.float()[torch.arange(rows, device=queries.device), queries]
    return list(zip(scores.tolist(), corners(boxes).cpu(), strict=True))


def corners(boxes: Tensor) -> Tensor:
    """Boxes of centre, width and height `[..., 4]` as x0, y0, x1, y1 inside the frame.

    Example:

        >>> corners(torch.tensor([0.5, 0.5, 0.5, 2.0])).tolist()
        [0.25, 0.0, 0.75, 1.0]
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1).clamp(0, 1)


def frames_to_search(num_frames: int, count: int) -> list[int]:
    """The middles of `count` equal segments of a video, each once.

    Example:

        >>> frames_to_search(8, 4), frames_to_search(2, 4)
        ([1, 3, 5, 7], [0, 1])
    """
    return sorted({int((part + 0.5) * num_frames / count) for part in range(count)})


__all__ = ["Detection", "corners", "detect", "frames_to_search", "with_known_features"]
