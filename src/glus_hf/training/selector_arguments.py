"""Arguments of the selector's training; the defaults are the recipe of the paper (its Table B)."""

from __future__ import annotations

from dataclasses import dataclass

from .base_arguments import RecipeArguments, default
from .trainable_parameters import LANGUAGE_MODEL


EMBEDDINGS = ("full", "frozen")


@dataclass
class GLUSSelectorTrainingArguments(RecipeArguments):
    """`transformers.TrainingArguments` with the recipe of the paper's Table B as defaults.

    AdamW (betas .9 and .95, no weight decay), learning rate 3e-4, 100 steps of warm-up and linear decay, gradients
    clipped at 1, 2000 steps of 80 videos.

    Args:
        warmup_steps: over which the learning rate rises; by default 100, or a tenth of `max_steps` if that is less.
        total_train_batch_size: videos per optimizer step, over all devices. If given, `gradient_accumulation_steps`
            follows from it.
        ce_loss_weight, score_loss_weight: 1 and 1.
        language_model_training: "lora", "full" (its layers and norm; no adapter is made) or "frozen".
        embedding_training: input embeddings and head of the language model: "full", as the original code, or
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

    CHOICES = {"language_model_training": LANGUAGE_MODEL, "embedding_training": EMBEDDINGS}

    # what transformers has, with other defaults
    per_device_train_batch_size: int = default(1, "Videos per device and accumulation step.")
    max_steps: int = default(2000, "Optimizer steps.")

    # what the selector adds
    score_loss_weight: float = default(1.0, "Weight of the distance of the scores.")
    embedding_training: str = default("full", "Embeddings and head of the language model: full or frozen.")
    max_expressions: int = default(3, "Most expressions of a sample.")


__all__ = ["GLUSSelectorTrainingArguments"]
