"""The trainer of the GLUS recipe: `transformers.Trainer` with four losses, an adapter and evaluation on videos."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from torch import Tensor
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainerCallback, set_seed
from transformers.utils import logging

from ..errors import NonFiniteLossError, UserError
from ..models.adapters import BASE_CONFIG
from ..models.llama_prompts import IGNORE_INDEX
from .arguments import GLUSTrainingArguments
from .base_trainer import StepTrainer, check_size
from .checkpoints import check_new_folder, loading
from .export import export_adapter, export_whole
from .losses import ObjectContrastiveLoss, token_ids
from .non_finite import stop_at_samples
from .samples.collators import GLUSCollator
from .trainable_parameters import describe_trainable, prepare_model
from .validation import sums_to_means, video_sums


logger = logging.get_logger(__name__)

TERMS = ("ce_loss", "mask_bce_loss", "mask_dice_loss", "contrastive_loss")
BANK_FILE = "contrastive_bank_{rank}.safetensors"
NOT_OF_THE_MODEL = ("mask_labels", "samples")


class GLUSTrainer(StepTrainer):
    """Train GLUS, or the GLUS recipe on a vision-language model.

    The loss is `CE + 2 BCE + 0.5 Dice + 0.1 contrastive` (weights: see [`GLUSTrainingArguments`]). Cross entropy is a
    mean over supervised tokens and the mask terms are means over masks, *of the whole optimizer step*: of all
    accumulation steps and all processes. So accumulating gradients, or using several processes, gives what one large
    batch gives, also when videos differ in their number of expressions. Only the contrastive term depends on how the
    videos are split, since its bank fills up one batch after the other: each batch's mean over anchors counts by the
    batch's share of masks. Every term is logged, unweighted.

    Args:
        model: is changed: what does not train is frozen and, unless all of it trains, an adapter is put on it (see
            [`prepare_model`]). A `PeftModel` is taken as it is.
        args: [`GLUSTrainingArguments`].
        train_dataset, eval_dataset: [`ReferringVideoDataset`], [`MixtureDataset`] or anything that gives such samples.
        processing_class: the [`GLUSProcessor`] or [`GLUSVLMProcessor`]; saved with every checkpoint.
        data_collator: by default a [`GLUSCollator`] of the processor.
        video_evaluator: called by every process at every evaluation with the model in eval mode and the processor;
            returns, in the main process, numbers by name ("J&F" for early stopping), logged as `eval_<name>`. See
            [`VideoValidation`].
        kwargs: as for `transformers.Trainer`.

    Raises:
        ValueError: no processor, no trainable parameter, fewer samples than an optimizer step takes; one line.
        NonFiniteLossError: from `train()`; the samples are listed in `non_finite_samples.json` of the output folder
            (of several processes in `rank_N_non_finite_samples.json`).

    Example:

        >>> trainer = GLUSTrainer(model, GLUSTrainingArguments("runs/mine"), train_dataset=videos,
        ...                       processing_class=processor)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
        >>> trainer.export("my-glus")  # doctest: +SKIP
    """

    TERMS = TERMS

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        args: GLUSTrainingArguments | None = None,
        train_dataset=None,
        eval_dataset=None,
        processing_class=None,
        data_collator: Callable | None = None,
        video_evaluator: Callable[[PreTrainedModel, object], Mapping[str, float] | None] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **kwargs,
    ):
        args = GLUSTrainingArguments() if args is None else args
        if processing_class is None:
            raise UserError("GLUSTrainer needs processing_class, the GLUSProcessor of the model")
        check_size(train_dataset, args)
        if not isinstance(model, PeftModel):
            set_seed(args.seed)  # of the LoRA matrices
            model = prepare_model(model, **_parameter_options(args, processing_class))
        _pack_expressions(model, args.pack_expressions)
        logger.info(f"what trains:\n{describe_trainable(model)}")
        if data_collator is None:
            data_collator = GLUSCollator(processing_class, labels=args.supervised_text)
        callbacks = [*(callbacks or []), _BankSaver(self)]
        if args.early_stopping_patience is not None:
            callbacks.append(_EarlyStopping(args.early_stopping_patience))
        super().__init__(
            model,
            args,
            data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_metrics=self._validation_metrics,
            callbacks=callbacks,
            **kwargs,
        )
        if video_evaluator is not None and self.is_fsdp_enabled:
            raise UserError(
                "evaluation on videos is not possible under FSDP; set validation.max_videos: 0 (no video_evaluator), "
                "and evaluate checkpoints afterwards"
            )
        self.video_evaluator = video_evaluator
        self.contrastive_loss = self._make_contrastive_loss() if args.contrastive_loss_weight else None

    def _make_contrastive_loss(self) -> ObjectContrastiveLoss:
        args = self.args
        return ObjectContrastiveLoss(
            args.contrastive_bank_size,
            args.contrastive_temperature,
            args.contrastive_num_negatives,
            args.contrastive_negatives,
            gather=args.contrastive_gather,
            seed=args.seed + (0 if args.contrastive_gather else args.process_index),
        )

    # ---- loss

    @staticmethod
    def _counts(batch: Mapping) -> Tensor:
        """Supervised tokens and masks of a batch."""
        tokens = (batch["labels"][:, 1:] != IGNORE_INDEX).sum().cpu()
        masks = sum(labels.shape[0] * labels.shape[1] for labels in batch["mask_labels"])
        return torch.tensor([float(tokens), float(masks)])

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch: Tensor | None = None):
        """Share of one batch in the loss of the step; `num_items_in_batch`: tokens and masks of the whole step."""
        counts = self._counts(inputs).to(self.args.device)
        totals = counts if num_items_in_batch is None else num_items_in_batch
        share_of_tokens, share_of_masks = (counts / totals.clamp(min=1)).unbind()
        output = model(**{name: value for name, value in inputs.items() if name != "samples"})
        terms = {
            "ce_loss": output.ce_loss * share_of_tokens,
            "mask_bce_loss": output.mask_bce_loss * share_of_masks,
            "mask_dice_loss": output.mask_dice_loss * share_of_masks,
        }
        if self.contrastive_loss is not None:
            terms["contrastive_loss"] = self._contrastive_term(output, inputs["samples"], counts, totals)
        processes = 1 if num_items_in_batch is None else self.accelerator.num_processes  # gradients are averaged
        loss = sum(getattr(self.args, f"{name}_weight") * term for name, term in terms.items()) * processes
        if not torch.isfinite(loss):
            values = {name: float(term.detach()) for name, term in terms.items()}
            stop_at_samples("loss", self, inputs["samples"], values)
        for name, term in terms.items():
            self._sums[name] += term.detach() * processes
        return (loss, output) if return_outputs else loss

    def _contrastive_term(self, output, samples: list[dict], counts: Tensor, totals: Tensor) -> Tensor:
        embeddings, queries = output.seg_embeddings, output.seg_embeddings.shape[1]
        ids = [token_ids(sample, queries, self.args.contrastive_datasets).flatten(0, 1) for sample in samples]
        masks = self.accelerator.reduce(counts, "sum")[1] if self.contrastive_loss.gather else counts[1]
        return self.contrastive_loss(embeddings.flatten(0, 1), torch.cat(ids)).loss * masks / totals[1]

    def _logged_terms(self) -> list[str]:
        return [name for name in TERMS if getattr(self.args, f"{name}_weight") or name != "contrastive_loss"]

    # ---- evaluation

    def evaluation_loop(self, *args, metric_key_prefix: str = "eval", **kwargs):
        """Losses of the validation samples, then what `video_evaluator` says."""
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        if self.video_evaluator is not None:
            found = self._evaluate_videos()
            output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in found.items()})
        return output

    def _evaluate_videos(self) -> dict[str, float]:
        """What `video_evaluator` says in the main process, in all processes."""
        model = self.accelerator.unwrap_model(self.model)
        model = model.get_base_model() if isinstance(model, PeftModel) else model
        with self.accelerator.autocast():
            found = [self.video_evaluator(model.eval(), self.processing_class)]
        broadcast_object_list(found)
        return dict(found[0])

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Sums per video, of one size, so that they can be gathered."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            output = model(**{name: value for name, value in inputs.items() if name not in NOT_OF_THE_MODEL})
        tokens = (inputs["labels"][:, 1:] != IGNORE_INDEX).sum(1).split(inputs["expressions_per_video"].tolist())
        sums = video_sums(output, inputs["mask_labels"], tokens)
        return None, sums, sums[:, :1]

    def _validation_metrics(self, prediction) -> dict[str, float]:
        means = sums_to_means(prediction.predictions.sum(0))
        loss = sum(getattr(self.args, f"{name}_weight") * means[name] for name in TERMS if name in means)
        return {"loss": loss, **means}

    # ---- saving

    def _resume(self, checkpoint: Path) -> None:
        super()._resume(checkpoint)
        if self.contrastive_loss is not None:
            self._load_bank(checkpoint)

    def _load_bank(self, checkpoint: Path) -> None:
        rank = 0 if self.contrastive_loss.gather else self.args.process_index
        file = checkpoint / BANK_FILE.format(rank=rank)
        if file.is_file():
            with loading(checkpoint):
                self.contrastive_loss.load(file)
        else:
            logger.warning(f"{file}: not there; the contrastive bank starts empty")

    def save_bank(self, checkpoint: str | os.PathLike) -> None:
        """Write the contrastive bank of this process into the folder of a checkpoint."""
        rank = self.args.process_index
        if self.contrastive_loss is not None and not (self.contrastive_loss.gather and rank):
            self.contrastive_loss.save(Path(checkpoint) / BANK_FILE.format(rank=rank))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save and isinstance(self.model, PeftModel):
            folder = Path(output_dir or self.args.output_dir)
            self.model.get_base_model().config.to_json_file(folder / BASE_CONFIG)

    def export(self, folder: str | os.PathLike, dtype: str | torch.dtype | None = None) -> Path:
        """Write the trained model as one that `from_pretrained` loads: adapter merged, processor beside it.

        The adapter is merged into a fresh copy of the base, so training can go on, and the base may be loaded in 4 bit
        here. A model all of which trains is written to the output folder for a while. To be called by all processes.

        Args:
            folder: new or empty.
            dtype: of the weights written; by default that of the base's files. bfloat16 rounds what was trained.

        Raises:
            CheckpointError: the folder is in use, or the base has no name (it was made in memory); one line.
        """
        folder = Path(folder)
        check_new_folder(folder)
        self.accelerator.wait_for_everyone()  # nobody writes before all have looked
        model, output = self.accelerator.unwrap_model(self.model), Path(self.args.output_dir)
        trained = output / ("adapter" if isinstance(model, PeftModel) else "whole")
        self.save_model(str(trained), _internal_call=True)
        if self.args.should_save and isinstance(model, PeftModel):
            export_adapter(trained, folder, dtype=dtype)
        elif self.args.should_save:
            export_whole(trained, folder, model.name_or_path, dtype)
            shutil.rmtree(trained)
        self.accelerator.wait_for_everyone()
        return folder


class _EarlyStopping(EarlyStoppingCallback):
    """Goes on counting after a resume, with the patience of now; a run that had stopped takes no further step."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        self.early_stopping_patience = args.early_stopping_patience
        control.should_training_stop |= self.early_stopping_patience_counter >= self.early_stopping_patience


class _BankSaver(TrainerCallback):
    def __init__(self, trainer: GLUSTrainer):
        self.trainer = trainer

    def on_save(self, args, state, control, **kwargs):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if folder.is_dir() and not args.save_only_model:
            self.trainer.save_bank(folder)


def _pack_expressions(model: PreTrainedModel | PeftModel, pack: bool) -> None:
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if hasattr(base, "pack_expressions"):
        base.pack_expressions(pack)


def _parameter_options(args: GLUSTrainingArguments, processor) -> dict:
    return {
        "language_model": args.language_model_training,
        "embeddings": args.embedding_training,
        "mask_branch": args.mask_branch_training,
        "projections": args.train_projections,
        "vision_tower": args.train_vision_tower,
        "memory_gradient": args.memory_gradient,
        "lora_rank": args.lora_rank,
        "lora_alpha": args.lora_alpha,
        "lora_dropout": args.lora_dropout,
        "lora_targets": tuple(args.lora_targets),
        "new_token_ids": tuple(processor.tokenizer.convert_tokens_to_ids(list(processor.added_tokens))),
    }


__all__ = ["GLUSTrainer", "NonFiniteLossError"]
