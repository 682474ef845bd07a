"""The trainer of the key-frame selector: cross entropy of the answers and the distance of the scores."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import set_seed
from transformers.utils import logging

from ..atomic_write import new_folder
from ..errors import UserError
from ..metrics.rank_correlation import spearman
from ..models.glus_selector.modeling_glus_selector import GLUSSelector
from ..models.trainable_parts import LLAMA_LORA
from .base_trainer import StepTrainer, check_size
from .checkpoints import check_new_folder, read_adapter_config
from .non_finite import stop_at_samples
from .samples.selector_samples import SelectorCollator
from .selector_arguments import GLUSSelectorTrainingArguments
from .trainable_parameters import in_float32, name_base, portable_name


logger = logging.get_logger(__name__)

TERMS = ("ce_loss", "score_loss")
IGNORE_INDEX = -100


def prepare_selector(
    model: GLUSSelector,
    language_model: str = "lora",
    embeddings: str = "full",
    lora_rank: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.05,
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj"),
) -> PeftModel | GLUSSelector:
    """Freeze what does not train and put an adapter on the rest: LoRA, the score head, and the embeddings if asked.

    The tower and the projector never train. What trains is kept in float32.

    Returns:
        A `PeftModel`, or with `language_model="full"` the model itself.
    """
    model.requires_grad_(False)
    whole = ["score_head"] + (["embed_tokens", "lm_head"] if embeddings == "full" else [])
    if language_model == "full":
        parts = [model.score_head, model.model.language_model.layers, model.model.language_model.norm]
        parts += [model.get_input_embeddings(), model.lm_head] if embeddings == "full" else []
        for part in parts:
            part.requires_grad_(True)
        return in_float32(model)
    is_lora = language_model == "lora" and lora_rank > 0
    names = "|".join(lora_targets) if is_lora else "q_proj"
    config = LoraConfig(
        r=lora_rank if is_lora else 1,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        bias="none",
        target_modules=LLAMA_LORA.format(names=names),
        modules_to_save=whole,
    )
    adapted = get_peft_model(model, config)
    name_base(adapted, portable_name(model.name_or_path))
    if not is_lora:
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.requires_grad_(False)
    return in_float32(adapted)


class GLUSSelectorTrainer(StepTrainer):
    """Train the key-frame selector.

    The loss is `CE + L1` (weights: see [`GLUSSelectorTrainingArguments`]). Cross entropy is a mean over supervised
    tokens, the distance a mean over videos of the mean over their expressions, *of the whole optimizer step*: of all
    accumulation steps and all processes. So accumulating gradients, or using several processes, gives what one large
    batch gives. (The original code takes the mean of each small batch.) Both terms are logged, unweighted.

    Args:
        model: is changed: what does not train is frozen and an adapter is put on it (see [`prepare_selector`]). A
            `PeftModel` is taken as it is.
        args: [`GLUSSelectorTrainingArguments`].
        train_dataset, eval_dataset: [`SelectorDataset`], a mixture of them or anything that gives such samples.
        processing_class: the [`GLUSSelectorProcessor`]; saved with every checkpoint.
        data_collator: by default a [`SelectorCollator`] of the processor.
        kwargs: as for `transformers.Trainer`.

    Evaluation gives `eval_loss`, both terms, and `eval_spearman` of scores and labels over all samples.

    Raises:
        ValueError: no processor, or fewer samples than an optimizer step takes; one line.
        NonFiniteLossError: from `train()`; the samples are listed in `non_finite_samples.json` of the output folder.

    Example:

        >>> trainer = GLUSSelectorTrainer(selector, GLUSSelectorTrainingArguments("runs/selector"),
        ...                               train_dataset=videos, processing_class=processor)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
        >>> trainer.export("my-selector")  # doctest: +SKIP
    """

    TERMS = TERMS

    def __init__(
        self,
        model: GLUSSelector | PeftModel,
        args: GLUSSelectorTrainingArguments | None = None,
        train_dataset=None,
        eval_dataset=None,
        processing_class=None,
        data_collator: Callable | None = None,
        **kwargs,
    ):
        args = GLUSSelectorTrainingArguments() if args is None else args
        if processing_class is None:
            raise UserError("GLUSSelectorTrainer needs processing_class, the GLUSSelectorProcessor of the model")
        check_size(train_dataset, args)
        if not isinstance(model, PeftModel):
            set_seed(args.seed)  # of the LoRA matrices
            model = prepare_selector(
                model,
                args.language_model_training,
                args.embedding_training,
                args.lora_rank,
                args.lora_alpha,
                args.lora_dropout,
                tuple(args.lora_targets),
            )
        count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        logger.info(f"{count:,} parameters train")
        super().__init__(
            model,
            args,
            data_collator or SelectorCollator(processing_class),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_metrics=self._validation_metrics,
            **kwargs,
        )

    # ---- loss

    @staticmethod
    def _counts(batch: Mapping) -> Tensor:
        """Supervised tokens and videos of a batch."""
        tokens = (batch["labels"][:, 1:] != IGNORE_INDEX).sum()
        return torch.tensor([float(tokens), float(len(batch["expressions_per_video"]))])

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch: Tensor | None = None):
        """Share of one batch in the loss of the step; `num_items_in_batch`: tokens and videos of the whole step."""
        counts = self._counts(inputs).to(self.args.device)
        totals = counts if num_items_in_batch is None else num_items_in_batch
        share_of_tokens, share_of_videos = (counts / totals.clamp(min=1)).unbind()
        output = model(**_of_the_model(inputs))
        terms = {"ce_loss": output.ce_loss * share_of_tokens, "score_loss": output.score_loss * share_of_videos}
        processes = 1 if num_items_in_batch is None else self.accelerator.num_processes  # gradients are averaged
        loss = sum(getattr(self.args, f"{name}_weight") * term for name, term in terms.items()) * processes
        if not torch.isfinite(loss):
            values = {name: float(term.detach()) for name, term in terms.items()}
            stop_at_samples("loss", self, inputs["samples"], values)
        for name, term in terms.items():
            self._sums[name] += term.detach() * processes
        return (loss, output) if return_outputs else loss

    # ---- evaluation

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Per video, in one size: cross entropy summed over its tokens, their number, its scores and their labels."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            output = model(**_of_the_model(inputs))
        tokens, videos = self._counts(inputs).tolist()
        counts = [int(count) for count in inputs["expressions_per_video"]]
        found = torch.full((int(videos), 2 + 2 * max(self.args.max_expressions, *counts)), torch.nan)
        found[:, 0] = output.ce_loss * tokens / videos
        found[:, 1] = tokens / videos
        pairs = torch.stack([output.scores.float(), inputs["score_labels"].float()], dim=1).cpu().split(counts)
        for row, pair in zip(found, pairs, strict=True):
            row[2 : 2 + 2 * len(pair)] = pair.flatten()
        found = found.to(self.args.device)
        return None, found, found[:, :1]

    def _validation_metrics(self, prediction) -> dict[str, float]:
        found = np.asarray(prediction.predictions)
        pairs = found[:, 2:].reshape(len(found), -1, 2)
        distances = np.abs(pairs[..., 0] - pairs[..., 1])
        terms = {"ce_loss": found[:, 0].sum() / found[:, 1].sum(), "score_loss": np.nanmean(distances, axis=1).mean()}
        known = pairs[~np.isnan(pairs[..., 0])]
        loss = sum(getattr(self.args, f"{name}_weight") * value for name, value in terms.items())
        correlation = spearman(known[:, 0], known[:, 1])
        metrics = {"loss": loss, **terms} | ({} if correlation is None else {"spearman": correlation})
        return {name: float(value) for name, value in metrics.items()}

    # ---- saving

    def export(self, folder: str | os.PathLike) -> Path:
        """Write the trained selector as one that `from_pretrained` loads: adapter merged, processor beside it.

        The adapter is merged into a fresh copy of the base in float32, so training can go on. To be called by all
        processes.

        Raises:
            CheckpointError: the folder is neither new nor empty; one line.
        """
        folder, model = Path(folder), self.accelerator.unwrap_model(self.model)
        check_new_folder(folder)
        self.accelerator.wait_for_everyone()  # nobody writes before all have looked
        adapter = Path(self.args.output_dir) / "adapter"
        if isinstance(model, PeftModel):
            self.save_model(str(adapter), _internal_call=True)
        if self.args.should_save:
            merged = _merged(model, adapter) if isinstance(model, PeftModel) else model
            with new_folder(folder) as partial:
                merged.save_pretrained(partial)
                self.processing_class.save_pretrained(partial)
        self.accelerator.wait_for_everyone()
        return folder


def _of_the_model(batch: Mapping) -> dict:
    return {name: value for name, value in batch.items() if name != "samples"}


def _merged(model: PeftModel, adapter: Path) -> GLUSSelector:
    base = read_adapter_config(adapter).base_model_name_or_path
    if not base:  # made in memory
        return copy.deepcopy(model).merge_and_unload()
    fresh = GLUSSelector.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(fresh, str(adapter)).merge_and_unload()


__all__ = ["GLUSSelectorTrainer", "GLUSSelectorTrainingArguments", "prepare_selector"]
