"""The trainer of GLEE: its losses as means over whole optimizer steps, and slower rates for backbone and text
tower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from ..models.glee.modeling_glee import GLEEForVideoSegmentation
from .base_arguments import default
from .base_trainer import StepTrainer, check_size
from .non_finite import stop_at_samples
from .samples.ratio_mixture import RatioMixture


TERMS = ("loss_ce", "loss_mask", "loss_dice", "loss_bbox", "loss_giou", "dist_loss")
BACKBONE, TEXT = "model.backbone.", "model.text_encoder."


@dataclass
class GLEETrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the paper's values: AdamW at 1e-4, weight decay 0.05, a constant rate (the
    paper divides it by ten after four fifths of the steps), backbone and text tower at a tenth of it; and a clip of
    gradients at 0.01, which is the released code's.

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
    backbone_rate: float = default(0.1, "Rate of the backbone, times the learning rate; 0 freezes it.")
    text_rate: float = default(0.1, "Rate of the text tower, times the learning rate; 0 freezes it.")

    def __post_init__(self):
        if not torch.cuda.is_available():  # PyTorch would warn that it pins nothing
            self.dataloader_pin_memory = False
        super().__post_init__()


class GLEETrainer(StepTrainer):
    """Train GLEE on batches of [`GLEECollator`], or of your own with the arguments of the model.

    The logged terms are unweighted and those of the last decoder layer; the loss is that of all stages.

    Args:
        model, args, data_collator, kwargs: as for `transformers.Trainer`.
        train_dataset: samples that the collator takes; of a [`RatioMixture`] every batch is of one dataset and kind.

    Example:

        >>> trainer = GLEETrainer(model, args, GLEECollator(processor), train_dataset=data)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    TERMS = TERMS

    def __init__(
        self,
        model: GLEEForVideoSegmentation,
        args: GLEETrainingArguments,
        data_collator: Callable,
        train_dataset=None,
        **kwargs,
    ):
        check_size(train_dataset, args)
        for part, rate in ((BACKBONE, args.backbone_rate), (TEXT, args.text_rate)):
            if rate == 0:
                model.get_submodule(part.rstrip(".")).requires_grad_(False)
        super().__init__(model, args, data_collator, train_dataset=train_dataset, **kwargs)

    def get_train_dataloader(self) -> DataLoader:
        """As in transformers; of a [`RatioMixture`], in batches of one kind."""
        if not isinstance(self.train_dataset, RatioMixture):
            return super().get_train_dataloader()
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.train_dataset.batches(self.args.per_device_train_batch_size),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    @staticmethod
    def _counts(batch: Mapping) -> Tensor:
        """Targets and images: the losses of a batch are sums over its targets, divided by their number."""
        targets = sum(len(target["class_labels"]) for target in batch["labels"])
        return torch.tensor([float(max(targets, 1)), float(len(batch["labels"]))])

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch: Tensor | None = None):
        """Share of one batch in the loss of the step: that of its targets in those of the whole step."""
        counts = self._counts(inputs).to(self.args.device)
        totals = counts if num_items_in_batch is None else num_items_in_batch
        processes = 1 if num_items_in_batch is None else self.accelerator.num_processes  # gradients are averaged
        share = counts[0] / totals[0].clamp(min=1) * processes
        output = model(**{name: value for name, value in inputs.items() if name != "samples"})
        loss = output.loss * share
        if not torch.isfinite(loss):
            values = {name: float(output.losses[name].detach()) for name in TERMS if name in output.losses}
            stop_at_samples("loss", self, inputs["samples"], values)
        for name in TERMS:
            if name in output.losses:
                self._sums[name] += output.losses[name].detach() * share
        return (loss, output) if return_outputs else loss

    def _logged_terms(self) -> list[str]:
        has_teacher = self.accelerator.unwrap_model(self.model).config.text_teacher
        return [name for name in TERMS if has_teacher or name != "dist_loss"]

    def create_optimizer(self, *args):
        """AdamW with the rates and decays of [`parameter_groups`]."""
        if self.optimizer is None:
            groups = parameter_groups(self.accelerator.unwrap_model(self.model), self.args)
            kind, options = Trainer.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = kind(groups, **options)
        return self.optimizer


def parameter_groups(model: nn.Module, args: GLEETrainingArguments) -> list[dict]:
    """Trainable parameters by rate and decay: backbone and text tower slower, no decay of norms, biases and
    embeddings.

    Example:

        >>> from glus_hf import GLEEConfig
        >>> model = GLEEForVideoSegmentation(GLEEConfig.tiny())
        >>> groups = parameter_groups(model, GLEETrainingArguments("out"))
        >>> sorted({(round(group["lr"], 6), group["weight_decay"]) for group in groups})
        [(1e-05, 0.0), (1e-05, 0.05), (0.0001, 0.0), (0.0001, 0.05)]
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    undecayed = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.Embedding))
        for parameter in module.parameters()
    }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = args.backbone_rate if name.startswith(BACKBONE) else args.text_rate if name.startswith(TEXT) else 1.0
        decay = 0.0 if id(parameter) in undecayed or name.endswith("bias") else args.weight_decay
        groups.setdefault((rate * args.learning_rate, decay), []).append(parameter)
    return [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]


__all__ = ["GLEETrainer", "GLEETrainingArguments", "parameter_groups"]
