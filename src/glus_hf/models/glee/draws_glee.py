"""The random numbers of a training step, from a generator or as tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class GLEEDraws:
    """Where the random numbers of denoising, matching and mask losses come from.

    Args:
        generator (`torch.Generator` or `int`, *optional*): a generator, or the seed of a new one; PyTorch's own by
            default.
        tensors (`Mapping[str, Tensor]`, *optional*): numbers that are taken as they are, by name:

            * "denoising_labels" `[targets * groups]` and "denoising_boxes" `[targets * groups, 4]`, uniform in 0..1;
            * "denoising_replacements": labels, one for every label that is replaced;
            * "matching.<stage>.<image>" `[1, points, 2]`: x and y of the points for matching, uniform in 0..1;
            * "mask_loss.<stage>" `[masks, points, 2]`: those for the mask losses, after the selection of uncertain
              ones;

            * "prompt_order.<image>", one number per pixel of a visual prompt; where there are more than fit, those
              with the least become tokens;
            * "track_negatives" `[images, number]`: queries of no object for the loss of clips;

            `stage` is "final", "selected_init", "layer0", "layer1" ..., "interm", or "track" for that loss.

    Example:

        >>> GLEEDraws(tensors={"mask_loss.final": torch.zeros(1, 2, 2)}).given("mask_loss.final").shape
        torch.Size([1, 2, 2])
        >>> GLEEDraws(3).uniform("x", (2,), "cpu").equal(GLEEDraws(3).uniform("x", (2,), "cpu"))
        True
    """

    def __init__(self, generator: torch.Generator | int | None = None, tensors: Mapping[str, Tensor] | None = None):
        self.seed = generator if isinstance(generator, int) else None
        self.generator = None if self.seed is not None else generator
        self.tensors = tensors or {}

    def given(self, name: str) -> Tensor | None:
        """A tensor that was passed in."""
        return self.tensors.get(name)

    def uniform(self, name: str, shape, device) -> Tensor:
        """Numbers in 0..1."""
        given = self._checked(name, shape, device)
        return torch.rand(shape, generator=self._of(device), device=device) if given is None else given

    def integers(self, name: str, high: int, shape, device) -> Tensor:
        """Whole numbers in 0..high - 1."""
        given = self._checked(name, shape, device)
        if given is not None:
            return given
        return torch.randint(high, tuple(shape), generator=self._of(device), device=device)

    def _of(self, device) -> torch.Generator | None:
        if self.generator is None and self.seed is not None:
            self.generator = torch.Generator(device).manual_seed(self.seed)
        return self.generator

    def _checked(self, name: str, shape, device) -> Tensor | None:
        given = self.given(name)
        if given is not None and tuple(given.shape) != tuple(shape):
            raise ValueError(f"{name} must have the shape {tuple(shape)}, got {tuple(given.shape)}.")
        return None if given is None else given.to(device)


__all__ = ["GLEEDraws"]
