"""Training arguments of GLEE, with the values of its paper."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import TrainingArguments

from ..errors import UserError
from .base_arguments import accumulation_steps, default


@dataclass
class GLEETrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the paper's values: AdamW at 1e-4, weight decay 0.05, a constant rate (the
    paper divides it by ten after four fifths of the steps: `lr_drop_steps`), backbone and text tower at a tenth of it;
    and a clip of gradients at 0.01, which is the released code's.

    Raises:
        UserError: a rate or a factor below 0, a decay of layers that is not above 0 and up to 1, a step below 1, or a
            `total_train_batch_size` that no number of accumulation steps gives; one line.

    Example:

        >>> arguments = GLEETrainingArguments("out", max_steps=10)
        >>> arguments.learning_rate * arguments.backbone_rate
        1e-05
    """

    learning_rate: float = default(1e-4, "Peak learning rate.")
    weight_decay: float = default(0.05, "Weight decay of AdamW; none for norms, biases and embeddings.")
    lr_scheduler_type: str = default("constant", "Decay.")
    max_grad_norm: float = default(0.01, "Gradients are clipped to this norm.")
    remove_unused_columns: bool = default(False, "The collator needs all columns.")
    ddp_find_unused_parameters: bool | None = default(True, "The confidence head gets no gradient without prompts.")

    # what is added
    total_train_batch_size: int | None = default(None, "Images per optimizer step over all devices.")
    lr_drop_steps: list[int] = default([], "Steps after which the rate falls, instead of lr_scheduler_type.")
    lr_drop_factor: float = default(0.1, "What the rate is multiplied by then.")
    backbone_rate: float = default(0.1, "Rate of the backbone, times the learning rate; 0 freezes it.")
    text_rate: float = default(0.1, "Rate of the text tower, times the learning rate; 0 freezes it.")
    layer_decay: float = default(1.0, "Rate of a layer of the backbone, times that of the layer behind it.")

    def __post_init__(self):
        self._check_numbers()
        if self.total_train_batch_size is not None:
            self.gradient_accumulation_steps = accumulation_steps(self, "images")
        if not torch.cuda.is_available():  # PyTorch would warn that it pins nothing
            self.dataloader_pin_memory = False
        super().__post_init__()

    def _check_numbers(self) -> None:
        for name in ("learning_rate", "backbone_rate", "text_rate", "lr_drop_factor", "max_grad_norm"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"layer_decay must be more than 0 and at most 1, got {self.layer_decay}")
        if not all(type(step) is int and step >= 1 for step in self.lr_drop_steps):
            raise UserError(f"lr_drop_steps must be whole numbers from 1 up, got {self.lr_drop_steps}")


__all__ = ["GLEETrainingArguments"]
