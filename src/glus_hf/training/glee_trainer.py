"""The trainer of GLEE: its losses as means over whole optimizer steps, and slower rates for backbone and text
tower."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer

from ..atomic_write import new_folder
from ..models.glee.modeling_glee import GLEEForVideoSegmentation
from .base_trainer import StepTrainer, check_size
from .checkpoints import check_new_folder
from .glee_arguments import GLEETrainingArguments
from .glee_parameters import BACKBONE, TEXT, parameter_groups
from .non_finite import stop_at_samples
from .samples.ratio_mixture import RatioMixture


ALWAYS = ("loss_ce", "loss_mask", "loss_dice", "loss_bbox", "loss_giou")
TERMS = (*ALWAYS, "dist_loss", "loss_conf", "track_loss")


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
        if not isinstance(train_dataset, RatioMixture):  # which is drawn from, however small
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
        """Share of one batch in the loss of the step: that of its targets, and of those that the other processes have
        beside it, in those of the whole step. The model divides by their mean, and gradients are averaged."""
        counts = self._counts(inputs).to(self.args.device)
        if num_items_in_batch is None:
            totals = counts
        else:
            counts, totals = self.accelerator.reduce(counts, "sum"), num_items_in_batch
        share = counts[0] / totals[0].clamp(min=1)
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
        parts = getattr(self.train_dataset, "datasets", [self.train_dataset])
        extra = {term for part in parts for term in getattr(part, "extra_terms", ())}
        return [*ALWAYS, *(["dist_loss"] if has_teacher else []), *sorted(extra)]

    def create_optimizer(self, *args):
        """AdamW with the rates and decays of [`parameter_groups`]."""
        if self.optimizer is None:
            groups = parameter_groups(self.accelerator.unwrap_model(self.model), self.args)
            kind, options = Trainer.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = kind(groups, **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, *args, **kwargs):
        """As in transformers; with `lr_drop_steps`, a rate that falls after each of them."""
        if not self.args.lr_drop_steps or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, *args, **kwargs)
        self._warn_of_long_warmup(num_training_steps)
        warmup, drops = self.args.get_warmup_steps(num_training_steps), self.args.lr_drop_steps
        rate = partial(_stepped_rate, warmup=warmup, drops=drops, factor=self.args.lr_drop_factor)
        self.lr_scheduler = LambdaLR(self.optimizer, rate)
        return self.lr_scheduler

    def export(self, folder: str | os.PathLike) -> Path:
        """Write the trained model, and the processor beside it, as one that `from_pretrained` loads. To be called by
        all processes.

        Raises:
            CheckpointError: the folder is in use; one line.
        """
        folder = Path(folder)
        check_new_folder(folder)
        self.accelerator.wait_for_everyone()  # nobody writes before all have looked
        if self.args.should_save:
            with new_folder(folder) as partial_folder:
                self.accelerator.unwrap_model(self.model).save_pretrained(partial_folder)
                if self.processing_class is not None:
                    self.processing_class.save_pretrained(partial_folder)
        self.accelerator.wait_for_everyone()
        return folder


def _stepped_rate(step: int, warmup: int, drops: list[int], factor: float) -> float:
    return min((step + 1) / (warmup + 1), 1.0) * factor ** sum(step >= drop for drop in drops)


__all__ = ["GLEETrainer", "GLEETrainingArguments", "parameter_groups"]
