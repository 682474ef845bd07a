"""The trainer of the key-frame selector: cross entropy of the answers and the distance of the scores."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging

from ..data.resumable_sampler import EpochDataset, ResumableSampler
from ..evaluation.rank_correlation import spearman
from ..models.glus_selector.modeling_glus_selector import GLUSSelector
from .selector_data import SelectorCollator


logger = logging.get_logger(__name__)

TERMS = ("ce_loss", "score_loss")
EMBEDDINGS = ("full", "frozen")
LANGUAGE_MODEL = ("lora", "full", "frozen")
LORA_TARGET = r"model\.language_model\.layers\.\d+\.self_attn\.({names})"
IGNORE_INDEX = -100


def _default(value, text: str):
    if isinstance(value, list):
        return field(default_factory=lambda: list(value), metadata={"help": text})
    return field(default=value, metadata={"help": text})


@dataclass
class GLUSSelectorTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the recipe of the paper's Table B as defaults.

    AdamW (betas .9 and .95, no weight decay), learning rate 3e-4, 100 steps of warm-up and linear decay, gradients
    clipped at 1, 2000 steps of 80 videos.

    Args:
        total_train_batch_size: videos per optimizer step, over all devices. If given, `gradient_accumulation_steps`
            follows from it.
        ce_loss_weight, score_loss_weight: 1 and 1.
        language_model_training: "lora", "full" (its layers and norm; no adapter is made) or "frozen".
        embedding_training: input embeddings and head of the language model: "full", as upstream's program, or
            "frozen", as the paper lists.
        lora_rank, lora_alpha, lora_dropout, lora_targets: 8, 16, 0.05, q_proj and v_proj.
        max_expressions: of a sample; only for the size of what evaluation gathers.

    Raises:
        ValueError: an impossible choice; one line.

    Example:

        >>> args = GLUSSelectorTrainingArguments("runs/selector", total_train_batch_size=80, use_cpu=True)
        >>> args.learning_rate, args.per_device_train_batch_size, args.gradient_accumulation_steps
        (0.0003, 1, 80)
    """

    # what transformers has, with other defaults
    per_device_train_batch_size: int = _default(1, "Videos per device and accumulation step.")
    per_device_eval_batch_size: int = _default(1, "Videos per device in evaluation.")
    gradient_accumulation_steps: int = _default(10, "Batches per optimizer step; see total_train_batch_size.")
    max_steps: int = _default(2000, "Optimizer steps.")
    learning_rate: float = _default(3e-4, "Peak learning rate.")
    lr_scheduler_type: str = _default("linear", "Decay after the warm-up.")
    warmup_steps: float = _default(100, "Steps over which the learning rate rises.")
    adam_beta1: float = _default(0.9, "Beta 1 of AdamW.")
    adam_beta2: float = _default(0.95, "Beta 2 of AdamW.")
    weight_decay: float = _default(0.0, "Weight decay of AdamW.")
    max_grad_norm: float = _default(1.0, "Gradients are clipped to this norm.")
    logging_steps: float = _default(10, "Steps between two lines of the log.")
    save_steps: float = _default(500, "Steps between two checkpoints.")
    remove_unused_columns: bool = _default(False, "The collator needs all columns.")
    ddp_find_unused_parameters: bool | None = _default(False, "Everything trainable gets a gradient.")

    # what the selector adds
    total_train_batch_size: int | None = _default(None, "Videos per optimizer step over all devices.")
    ce_loss_weight: float = _default(1.0, "Weight of the cross entropy of the answers.")
    score_loss_weight: float = _default(1.0, "Weight of the distance of the scores.")
    language_model_training: str = _default("lora", "lora, full or frozen.")
    embedding_training: str = _default("full", "Embeddings and head of the language model: full or frozen.")
    lora_rank: int = _default(8, "Rank of LoRA.")
    lora_alpha: int = _default(16, "Alpha of LoRA.")
    lora_dropout: float = _default(0.05, "Dropout of LoRA.")
    lora_targets: list[str] = _default(["q_proj", "v_proj"], "Linear layers of the attention that get LoRA.")
    max_expressions: int = _default(3, "Most expressions of a sample.")

    def __post_init__(self):
        choices = {"language_model_training": LANGUAGE_MODEL, "embedding_training": EMBEDDINGS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.total_train_batch_size is not None:
            self.gradient_accumulation_steps = self._accumulation_steps()
        super().__post_init__()

    def _accumulation_steps(self) -> int:
        num_devices = int(os.environ.get("WORLD_SIZE", 1))  # of torchrun and accelerate
        steps, rest = divmod(self.total_train_batch_size, self.per_device_train_batch_size * num_devices)
        if rest or steps < 1:
            raise ValueError(
                f"total_train_batch_size {self.total_train_batch_size} is no multiple of "
                f"{self.per_device_train_batch_size} videos on {num_devices} devices; "
                "change per_device_train_batch_size"
            )
        return steps


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
        return _in_float32(model)
    is_lora = language_model == "lora" and lora_rank > 0
    names = "|".join(lora_targets) if is_lora else "q_proj"
    config = LoraConfig(
        r=lora_rank if is_lora else 1,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        bias="none",
        target_modules=LORA_TARGET.format(names=names),
        modules_to_save=whole,
    )
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = model.name_or_path
    if not is_lora:
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.requires_grad_(False)
    return _in_float32(adapted)


def _in_float32(model: nn.Module) -> nn.Module:
    """Optimizers need more digits than bfloat16 has."""
    low = {torch.bfloat16, torch.float16}
    dtype = next((one.dtype for one in model.parameters() if one.dtype in low and not one.requires_grad), None)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in low:
            parameter.data = parameter.data.float()
    if dtype is not None:  # else all states of the language model would be float32, twice as large
        model.get_input_embeddings().register_forward_hook(functools.partial(_cast_output, dtype))
    return model


def _cast_output(dtype: torch.dtype, module: nn.Module, inputs, output: Tensor) -> Tensor:
    return output.to(dtype)


class GLUSSelectorTrainer(Trainer):
    """Train the key-frame selector.

    The loss is `CE + L1` (weights: see [`GLUSSelectorTrainingArguments`]). Cross entropy is a mean over supervised
    tokens, the distance a mean over videos of the mean over their expressions, *of the whole optimizer step*: of all
    accumulation steps and all processes. So accumulating gradients, or using several processes, gives what one large
    batch gives. (Upstream takes the mean of each small batch.) Both terms are logged, unweighted.

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

    Example:

        >>> trainer = GLUSSelectorTrainer(selector, GLUSSelectorTrainingArguments("runs/selector"),
        ...                               train_dataset=videos, processing_class=processor)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
        >>> trainer.export("my-selector")  # doctest: +SKIP
    """

    loss_is_scaled_for_ga = True  # by the counts of the whole step

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
            raise ValueError("GLUSSelectorTrainer needs processing_class, the GLUSSelectorProcessor of the model")
        _check_size(train_dataset, args)
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
        self.model_accepts_loss_kwargs = True  # what older transformers have for loss_is_scaled_for_ga
        self._sums, self._summed_steps = dict.fromkeys(TERMS, 0.0), 0

    # ---- loss

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device) -> tuple[list, Tensor]:
        """The batches of one optimizer step, and how many supervised tokens and videos all processes have in them."""
        batches = []
        for _ in range(num_batches):
            try:
                batches.append(next(epoch_iterator))
            except StopIteration:
                break
        counts = torch.stack([_counts(batch) for batch in batches]).sum(0) if batches else torch.zeros(2)
        return batches, self.accelerator.reduce(counts.to(device), "sum")

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch: Tensor | None = None):
        """Share of one batch in the loss of the step; `num_items_in_batch`: tokens and videos of the whole step."""
        counts = _counts(inputs).to(self.args.device)
        totals = counts if num_items_in_batch is None else num_items_in_batch
        share_of_tokens, share_of_videos = (counts / totals.clamp(min=1)).unbind()
        output = model(**inputs)
        terms = {"ce_loss": output.ce_loss * share_of_tokens, "score_loss": output.score_loss * share_of_videos}
        processes = 1 if num_items_in_batch is None else self.accelerator.num_processes  # gradients are averaged
        loss = sum(getattr(self.args, f"{name}_weight") * term for name, term in terms.items()) * processes
        if not torch.isfinite(loss):
            values = ", ".join(f"{name} {float(term.detach()):g}" for name, term in terms.items())
            raise FloatingPointError(f"the loss is not finite at step {self.state.global_step + 1} ({values})")
        for name, term in terms.items():
            self._sums[name] += term.detach() * processes
        return (loss, output) if return_outputs else loss

    # ---- data, log

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if isinstance(dataset, EpochDataset):
            return ResumableSampler(dataset, self.args.seed if self.args.data_seed is None else self.args.data_seed)
        return super()._get_train_sampler(train_dataset)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            steps = max(self.state.global_step - self._summed_steps, 1)
            sums = torch.stack([torch.as_tensor(self._sums[name], device=self.args.device) for name in TERMS])
            means = self.accelerator.reduce(sums.float(), "mean") / steps
            logs = {**logs, **dict(zip(TERMS, means.tolist(), strict=True))}
            self._sums, self._summed_steps = dict.fromkeys(TERMS, 0.0), self.state.global_step
        super().log(logs, start_time)

    # ---- evaluation

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Per video, in one size: cross entropy summed over its tokens, their number, its scores and their labels."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            output = model(**inputs)
        tokens, videos = _counts(inputs).tolist()
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

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """As in transformers; with a checkpoint (or True: the last one) everything goes on as if never interrupted."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise ValueError(f"{self.args.output_dir}: has no checkpoint to resume from")
        step = int(str(resume_from_checkpoint).rpartition("-")[2]) if resume_from_checkpoint else 0
        self._sums, self._summed_steps = dict.fromkeys(TERMS, 0.0), step
        return super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)

    def export(self, folder: str | os.PathLike) -> Path:
        """Write the trained selector as one that `from_pretrained` loads: adapter merged, processor beside it.

        The adapter is merged into a fresh copy of the base in float32, so training can go on. To be called by all
        processes.
        """
        folder, model = Path(folder), self.accelerator.unwrap_model(self.model)
        adapter = Path(self.args.output_dir) / "adapter"
        if isinstance(model, PeftModel):
            self.save_model(str(adapter), _internal_call=True)
        if self.args.should_save:
            merged = _merged(model, adapter) if isinstance(model, PeftModel) else model
            merged.save_pretrained(folder)
            self.processing_class.save_pretrained(folder)
        self.accelerator.wait_for_everyone()
        return folder


def _merged(model: PeftModel, adapter: Path) -> GLUSSelector:
    base = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    if not base:  # made in memory
        return copy.deepcopy(model).merge_and_unload()
    fresh = GLUSSelector.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(fresh, str(adapter)).merge_and_unload()


def _counts(batch: Mapping) -> Tensor:
    """Supervised tokens and videos of a batch."""
    tokens = (batch["labels"][:, 1:] != IGNORE_INDEX).sum()
    return torch.tensor([float(tokens), float(len(batch["expressions_per_video"]))])


def _check_size(dataset, args: TrainingArguments) -> None:
    """Fewer samples than a step takes would silently make the steps smaller."""
    step = args.per_device_train_batch_size * args.gradient_accumulation_steps * max(args.world_size, 1)
    if dataset is not None and hasattr(dataset, "__len__") and len(dataset) < step:
        raise ValueError(
            f"the training set has {len(dataset)} videos, an optimizer step takes {step}; use more data, a smaller "
            "batch, or a mixture with more samples per epoch"
        )


__all__ = ["GLUSSelectorTrainer", "GLUSSelectorTrainingArguments", "prepare_selector"]
