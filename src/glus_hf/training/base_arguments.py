"""Training arguments that GLUS and its key-frame selector share, with the values that their recipes share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

import torch
from transformers import TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from ..errors import UserError


MAX_WORKERS = 256  # processes that load data


def default(value, text: str):
    """A field of arguments with its default and its help; lists are copied."""
    if isinstance(value, list):
        return field(default_factory=lambda: list(value), metadata={"help": text})
    return field(default=value, metadata={"help": text})


@dataclass
class RecipeArguments(TrainingArguments):
    """`transformers.TrainingArguments` with what the recipes of the paper have in common: AdamW (betas .9 and .95, no
    weight decay), learning rate 3e-4, 100 steps of warm-up (in a short run a tenth of the steps) and linear decay,
    gradients clipped at 1, LoRA of rank 8.

    Raises:
        ValueError: a value that is not among the `CHOICES` of its field, or too small, or a `total_train_batch_size`
            that no number of accumulation steps gives; one line.
    """

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    AT_LEAST_ONE: ClassVar[tuple[str, ...]] = (
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
        "lora_rank",
    )
    MORE_THAN_ZERO: ClassVar[tuple[str, ...]] = ("save_steps", "eval_steps")

    # what transformers has, with other defaults
    per_device_eval_batch_size: int = default(1, "Videos per device in evaluation.")
    gradient_accumulation_steps: int = default(10, "Batches per optimizer step; see total_train_batch_size.")
    learning_rate: float = default(3e-4, "Peak learning rate.")
    lr_scheduler_type: str = default("linear", "Decay after the warm-up.")
    warmup_steps: float | None = default(
        None, "Steps over which the learning rate rises: 100, or a tenth of max_steps if that is less."
    )
    adam_beta1: float = default(0.9, "Beta 1 of AdamW.")
    adam_beta2: float = default(0.95, "Beta 2 of AdamW.")
    weight_decay: float = default(0.0, "Weight decay of AdamW.")
    max_grad_norm: float = default(1.0, "Gradients are clipped to this norm.")
    logging_steps: float = default(10, "Steps between two lines of the log.")
    save_steps: float = default(500, "Steps between two checkpoints.")
    remove_unused_columns: bool = default(False, "The collator needs all columns.")
    ddp_find_unused_parameters: bool | None = default(False, "Everything trainable gets a gradient.")

    # what is added
    total_train_batch_size: int | None = default(None, "Videos per optimizer step over all devices.")
    ce_loss_weight: float = default(1.0, "Weight of the cross entropy of the text.")
    language_model_training: str = default("lora", "lora, full or frozen.")
    lora_rank: int = default(8, "Rank of LoRA.")
    lora_alpha: int = default(16, "Alpha of LoRA.")
    lora_dropout: float = default(0.05, "Dropout of LoRA.")
    lora_targets: list[str] = default(["q_proj", "v_proj"], "Linear layers of the attention that get LoRA.")

    def __post_init__(self):
        for name, allowed in self.CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        self._check_numbers()
        if self.max_steps < 1 and self.max_steps != -1:
            raise UserError(f"max_steps must be 1 or more, or -1 for num_train_epochs epochs, got {self.max_steps}")
        if self.max_steps == -1 and not self.num_train_epochs > 0:
            raise UserError(f"num_train_epochs must be more than 0, got {self.num_train_epochs}")
        if self.total_train_batch_size is not None:  # before the configuration of DeepSpeed copies the number
            self.gradient_accumulation_steps = accumulation_steps(self, "videos")
        if self.warmup_steps is None:  # a fraction where the number of steps is not known yet
            self.warmup_steps = min(100, self.max_steps // 10) if self.max_steps > 0 else 0.1
        if not torch.cuda.is_available():  # PyTorch would warn that it pins nothing
            self.dataloader_pin_memory = False
        super().__post_init__()
        try:
            get_reporting_integration_callbacks(self.report_to)
        except ValueError as error:
            raise UserError(f"report_to: {error} Choose among these") from None

    def _check_numbers(self) -> None:
        weights = [entry.name for entry in fields(self) if entry.name.endswith("_loss_weight")]
        for names, bound, is_good in (
            (self.AT_LEAST_ONE, "1 or more", lambda value: value >= 1),
            (self.MORE_THAN_ZERO, "more than 0", lambda value: value > 0),
            ((*weights, "max_grad_norm", "learning_rate"), "0 or more", lambda value: value >= 0),
            (("seed", "data_seed"), "from 0 to 4294967295", lambda value: 0 <= value < 1 << 32),
            (("dataloader_num_workers",), f"from 0 to {MAX_WORKERS}", lambda value: 0 <= value <= MAX_WORKERS),
        ):
            for name in names:
                value, is_unused = getattr(self, name), name == "lora_rank" and self.language_model_training != "lora"
                if not (value is None or is_unused or is_good(value)):
                    raise UserError(f"{name} must be {bound}, got {value}")


def accumulation_steps(args: TrainingArguments, samples: str) -> int:
    """Batches per optimizer step that give `args.total_train_batch_size`.

    Raises:
        UserError: no number of them does; one line that calls a sample what `samples` says.
    """
    num_devices = int(os.environ.get("WORLD_SIZE", 1))  # of torchrun and accelerate
    steps, rest = divmod(args.total_train_batch_size, args.per_device_train_batch_size * num_devices)
    if rest or steps < 1:
        raise UserError(
            f"total_train_batch_size {args.total_train_batch_size} is no multiple of "
            f"{args.per_device_train_batch_size} {samples} on {num_devices} devices; "
            "change per_device_train_batch_size"
        )
    return steps


__all__ = ["RecipeArguments", "accumulation_steps", "default"]
