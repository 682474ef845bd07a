"""What the processors of the GLUS recipe share: context frames, masks from logits, targets of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from ..errors import UserError
from .expressions import sample_templates


SEG_TOKEN = "[SEG]"
CONTEXT_STRATEGIES = ("middle", "uniform", "random")
OVERLAPS = ("union", "sum")
FULL_WHITE = 255  # foreground of a mask read from an image file; no number of objects


class RecipeProcessor:
    """Stands before the `ProcessorMixin` of transformers.

    A processor has `num_context_frames` and `num_query_frames`, the default strategy `context_frames`, `overlap`, the
    templates `questions` and `answers`, `clean_expression(text)`, and `build_conversation(expression,
    num_query_frames, questions, answers)`, the last two as indices of templates.
    """

    num_context_frames: int
    num_query_frames: int
    context_frames: str
    overlap: str
    questions: Sequence[str]
    answers: Sequence[str]
    takes_corrections = True

    @property
    def seg_token_id(self) -> int:
        return self.tokenizer.convert_tokens_to_ids(SEG_TOKEN)

    @property
    def pad_token_id(self) -> int:
        return self.tokenizer.pad_token_id or 0

    def sample_context_frames(
        self,
        num_frames: int,
        num_context: int | None = None,
        strategy: str | None = None,
        generator: np.random.Generator | None = None,
    ) -> list[int]:
        """Indices of the context frames, nondecreasing, each in 0..num_frames-1.

        Args:
            num_frames (`int`): frames of the video, at least 1. With fewer than `num_context`, some repeat
                (the original code wraps round to the last frame there).
            num_context (`int`, *optional*): default `num_context_frames`.
            strategy (`str`, *optional*): default `context_frames`. "middle": the middle of equal segments, as the
                benchmarks use. "uniform": first to last frame, as the original code's demo. "random": one
                frame of each segment, as in training.
            generator (`np.random.Generator`, *optional*): for "random"; a fresh one without it. The global
                generators are never touched.

        Raises:
            `UserError`: no frames, no context, unknown strategy.

        Example:

            >>> processor.sample_context_frames(10)
            [1, 3, 6, 8]
        """
        count = self.num_context_frames if num_context is None else num_context
        strategy = strategy or self.context_frames
        if num_frames < 1 or count < 0:
            raise UserError(f"cannot sample {count} context frames from {num_frames} frames; use a longer video")
        if strategy not in CONTEXT_STRATEGIES:
            raise UserError(f"unknown context strategy {strategy!r}; use one of {', '.join(CONTEXT_STRATEGIES)}")
        if strategy == "uniform":
            return np.linspace(0, num_frames - 1, count, dtype=int).tolist()
        bounds = np.linspace(0, num_frames, count + 1, dtype=int)
        starts, last = bounds[:-1], np.maximum(bounds[1:] - 1, bounds[:-1])  # an empty segment gives its start
        if strategy == "middle":
            half = -(-num_frames // max(count, 1)) // 2
            indices = np.minimum(starts + half, bounds[1:] - 1)
        else:
            indices = (generator or np.random.default_rng()).integers(starts, last, endpoint=True)
        return np.clip(indices, 0, num_frames - 1).tolist()

    def _context_indices(self, num_frames: int, context_frames: str | Sequence[int] | None) -> list[int]:
        if context_frames is None or isinstance(context_frames, str):
            return self.sample_context_frames(num_frames, strategy=context_frames)
        indices = [int(index) for index in context_frames]
        if len(indices) != self.num_context_frames or any(not 0 <= index < num_frames for index in indices):
            raise UserError(
                f"context_frames must be {self.num_context_frames} indices in 0..{num_frames - 1}, got {indices}"
            )
        return indices

    def post_process_masks(
        self, mask_logits: torch.Tensor, threshold: float = 0.0, size: tuple[int, int] | None = None
    ) -> torch.Tensor:
        """Masks from logits.

        Args:
            mask_logits (`torch.FloatTensor [..., height, width]`): as the model gives them.
            threshold (`float`): logits above it are foreground; 0 is probability 0.5.
            size (`tuple[int, int]`, *optional*): height and width in pixels; others are resized first (bilinear).

        Returns:
            `torch.BoolTensor [..., height, width]`.
        """
        if size is not None and tuple(mask_logits.shape[-2:]) != tuple(size):
            flat = mask_logits.float().reshape(-1, 1, *mask_logits.shape[-2:])
            flat = F.interpolate(flat, tuple(size), mode="bilinear", align_corners=False)
            mask_logits = flat.reshape(*mask_logits.shape[:-2], *size)
        return mask_logits > threshold

    def sample_conversation(self, text: str, rng: np.random.Generator | None = None) -> str:
        """The whole conversation about an expression, with the questions and answers of inference, or ones sampled
        with `rng`, one per query frame.

        Raises:
            `UserError`: an expression that `clean_expression` refuses.
        """
        questions = answers = None
        if rng is not None:
            questions = sample_templates(rng, len(self.questions), self.num_query_frames)
            answers = sample_templates(rng, len(self.answers), self.num_query_frames)
        return self.build_conversation(self.clean_expression(text), self.num_query_frames, questions, answers)

    def _sample_prompts(self, sample: dict, rng: np.random.Generator | None) -> list[str]:
        if sample.get("conversations") is not None:
            prompts = list(sample["conversations"])
        else:
            prompts = [self.sample_conversation(expression, rng) for expression in sample["expressions"]]
        if not prompts:
            raise UserError("a sample needs at least one expression")
        return prompts

    def _mask_labels(self, masks, num_expressions: int) -> torch.Tensor:
        """Targets of E expressions from their masks, merged already or object by object."""
        masks = [_count_objects(np.asarray(expression)) for expression in masks]
        shapes = [array.shape for array in masks]
        of_one_size = len(set(shapes)) == 1 and len(shapes[0]) == 3
        if len(masks) != num_expressions or not of_one_size or shapes[0][0] != self.num_query_frames:
            expected = f"[{num_expressions}, {self.num_query_frames}, height, width]"
            raise UserError(f"masks must be {expected}, got {[list(shape) for shape in shapes]}")
        masks = torch.as_tensor(np.stack(masks))
        if self.overlap == "union":
            return (masks > 0).float()
        if masks.numel() > 0 and masks.max() == FULL_WHITE:
            raise UserError(f"with overlap='sum' masks are numbers of objects, got {FULL_WHITE}; use 0 and 1")
        return masks.float()


def _count_objects(masks: np.ndarray) -> np.ndarray:
    """`[objects, frames, height, width]` -> number of objects of each pixel; merged masks stay as they are."""
    return (masks > 0).sum(0) if masks.ndim == 4 else masks


def check_choice(name: str, value, choices: tuple[str, ...]):
    if value not in choices:
        raise UserError(f"unknown {name} {value!r}; use one of {', '.join(choices)}")


def all_have(samples: list[dict], key: str) -> bool:
    given = [sample.get(key) is not None for sample in samples]
    if any(given) != all(given):
        raise UserError(f"either all samples have {key} or none; pass them in two batches")
    return all(given)


__all__ = ["CONTEXT_STRATEGIES", "OVERLAPS", "SEG_TOKEN", "RecipeProcessor", "all_have", "check_choice"]
