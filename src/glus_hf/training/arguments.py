"""Arguments of GLUS training; the defaults are the recipe of the paper (its Table A)."""

from __future__ import annotations

from dataclasses import dataclass

from transformers.utils import logging

from ..errors import UserError
from .base_arguments import RecipeArguments, default
from .losses import NEGATIVES
from .trainable_parameters import EMBEDDINGS, LANGUAGE_MODEL, MASK_BRANCH


logger = logging.get_logger(__name__)


@dataclass
class GLUSTrainingArguments(RecipeArguments):
    """`transformers.TrainingArguments` with the recipe of GLUS as defaults, and what else there is to choose.

    AdamW (betas .9 and .95, no weight decay), learning rate 3e-4, 100 steps of warm-up and linear decay, gradients
    clipped at 1, 3000 steps of 80 videos (2 videos per device, 10 accumulation steps, on 4 devices).

    Args:
        warmup_steps: over which the learning rate rises; by default 100, or a tenth of `max_steps` if that is less.
        total_train_batch_size: videos per optimizer step, over all devices; the last step of an epoch takes what is
            left. If given, `gradient_accumulation_steps` follows from it, so that a recipe means the same on any
            number of devices.
        ce_loss_weight, mask_bce_loss_weight, mask_dice_loss_weight, contrastive_loss_weight: 1, 2, 0.5, 0.1.
            A contrastive weight of 0 switches that loss off.
        contrastive_negatives: "other_objects", "upstream" (the original code) or "batch", see
            [`ObjectContrastiveLoss`].
        contrastive_bank_size, contrastive_num_negatives, contrastive_temperature: 512, 128, 0.07.
        contrastive_gather: one bank for all processes.
        contrastive_datasets: names of the datasets that take part (the original code: MeViS only); all by default.
        language_model_training, embedding_training, mask_branch_training, train_projections: see [`prepare_model`].
        train_vision_tower, memory_gradient: see [`prepare_model`].
        lora_rank, lora_alpha, lora_dropout, lora_targets: see [`prepare_model`].
        pack_expressions: read the expressions of a video behind one copy of the system prompt, the context frames and
            the first query frame (GLUS with the attention "sdpa" only; other models read them one by one). Losses and
            gradients are equal up to rounding; LoRA's dropout draws once for that copy, not once per expression.
        supervised_text: "seg" computes the cross entropy on [SEG] only, as GLUS; "answer" on whole answers.
        early_stopping_patience: stop when the validation J&F (or `metric_for_best_model`) did not improve for so many
            evaluations, and load the best checkpoint at the end.

    Raises:
        ValueError: an impossible choice; one line.

    Example:

        >>> args = GLUSTrainingArguments("runs/mine", total_train_batch_size=80, use_cpu=True)
        >>> args.learning_rate, args.per_device_train_batch_size, args.gradient_accumulation_steps
        (0.0003, 2, 40)
        >>> GLUSTrainingArguments("runs/mine", max_steps=50, use_cpu=True).warmup_steps
        5
    """

    CHOICES = {
        "contrastive_negatives": NEGATIVES,
        "language_model_training": LANGUAGE_MODEL,
        "embedding_training": EMBEDDINGS,
        "mask_branch_training": MASK_BRANCH,
        "supervised_text": ("seg", "answer"),
    }
    AT_LEAST_ONE = (
        *RecipeArguments.AT_LEAST_ONE,
        "contrastive_bank_size",
        "contrastive_num_negatives",
        "early_stopping_patience",
    )
    MORE_THAN_ZERO = (*RecipeArguments.MORE_THAN_ZERO, "contrastive_temperature")

    # what transformers has, with other defaults
    per_device_train_batch_size: int = default(2, "Videos per device and accumulation step.")
    max_steps: int = default(3000, "Optimizer steps.")
    ddp_timeout: int = default(7200, "Seconds; other processes wait while one evaluates videos.")
    restore_callback_states_from_checkpoint: bool = default(True, "A resumed run goes on counting for early stopping.")

    # what GLUS adds
    mask_bce_loss_weight: float = default(2.0, "Weight of the binary cross entropy of the masks.")
    mask_dice_loss_weight: float = default(0.5, "Weight of the Dice loss of the masks.")
    contrastive_loss_weight: float = default(0.1, "Weight of the object contrastive loss; 0 switches it off.")
    contrastive_negatives: str = default("other_objects", "other_objects, upstream (the original code) or batch.")
    contrastive_bank_size: int = default(512, "[SEG] embeddings in the bank.")
    contrastive_num_negatives: int = default(128, "Negatives per anchor.")
    contrastive_temperature: float = default(0.07, "Temperature of the contrastive loss.")
    contrastive_gather: bool = default(False, "One bank for all processes.")
    contrastive_datasets: list[str] | None = default(None, "Datasets that take part; all by default.")
    embedding_training: str = default("full", "Embeddings and head: full, new_tokens or frozen.")
    mask_branch_training: str = default("decoder", "decoder, full or frozen.")
    train_projections: bool = default(True, "Train the projections of images and of [SEG].")
    train_vision_tower: bool = default(False, "Train CLIP.")
    memory_gradient: bool | None = default(None, "Let gradients pass through the memory bank; as the model says.")
    pack_expressions: bool = default(True, "Read what the expressions of a video begin with once, where possible.")
    supervised_text: str = default("seg", "seg or answer.")
    early_stopping_patience: int | None = default(None, "Evaluations without improvement before training stops.")

    def __post_init__(self):
        self._move_checkpointing_option()
        if self.early_stopping_patience is not None:
            self._stop_early()
        super().__post_init__()
        if self._n_gpu > 1:
            logger.warning(f"{self._n_gpu} GPUs are visible, one is used; start with torchrun to use all")
            self._n_gpu = 1

    def _move_checkpointing_option(self) -> None:
        """`activation_checkpointing` is the new name of `gradient_checkpointing`; take both without a warning."""
        kwargs = {"use_reentrant": False}  # the reentrant kind loses gradients of frozen inputs
        if not hasattr(self, "activation_checkpointing"):
            if self.gradient_checkpointing and self.gradient_checkpointing_kwargs is None:
                self.gradient_checkpointing_kwargs = kwargs
            return
        if self.activation_checkpointing is None and self.gradient_checkpointing is not None:
            self.activation_checkpointing, self.gradient_checkpointing = self.gradient_checkpointing, None
        if self.gradient_checkpointing_kwargs and not self.activation_checkpointing_kwargs:
            self.activation_checkpointing_kwargs, self.gradient_checkpointing_kwargs = (
                self.gradient_checkpointing_kwargs,
                None,
            )
        if self.activation_checkpointing and self.activation_checkpointing_kwargs is None:
            self.activation_checkpointing_kwargs = kwargs

    def _stop_early(self) -> None:
        if self.eval_strategy == "no":
            raise UserError("early_stopping_patience needs evaluations; set eval_strategy to steps or epoch")
        self.load_best_model_at_end = True
        if self.metric_for_best_model is None:
            self.metric_for_best_model, self.greater_is_better = "J&F", True


__all__ = ["GLUSTrainingArguments"]
