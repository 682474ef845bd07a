"""Arguments of GLUS training: the recipe of the paper, and what cannot be chosen."""

import pytest

from glus_hf.training.arguments import GLUSTrainingArguments
from glus_hf.training.trainer import TERMS
from tests.training.small_training import quick_trainer


def test_recipe_of_the_paper():
    args = GLUSTrainingArguments("out", use_cpu=True)
    assert (args.adam_beta1, args.adam_beta2, args.weight_decay, args.learning_rate) == (0.9, 0.95, 0.0, 3e-4)
    assert (args.warmup_steps, args.max_steps, args.max_grad_norm) == (100, 3000, 1.0)
    assert args.lr_scheduler_type == "linear" and "adamw" in args.optim
    assert args.per_device_train_batch_size * args.gradient_accumulation_steps * 4 == 80
    weights = [getattr(args, f"{name}_weight") for name in TERMS]
    assert weights == [1.0, 2.0, 0.5, 0.1]
    assert (args.lora_rank, args.lora_alpha, args.lora_dropout) == (8, 16, 0.05)
    assert (args.contrastive_bank_size, args.contrastive_num_negatives) == (512, 128)
    assert args.contrastive_temperature == 0.07


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"embedding_training": "some"}, "full, new_tokens, frozen"),
        ({"contrastive_negatives": "all"}, "other_objects, upstream"),
        ({"total_train_batch_size": 81}, "81 is no multiple of 2 videos on 1 devices"),
        ({"per_device_train_batch_size": 0}, "^per_device_train_batch_size must be 1 or more, got 0$"),
        ({"contrastive_bank_size": 0}, "^contrastive_bank_size must be 1 or more, got 0$"),
        ({"lora_rank": 0}, "^lora_rank must be 1 or more, got 0$"),
        ({"early_stopping_patience": -3, "eval_strategy": "steps"}, "^early_stopping_patience must be 1 or more, got"),
        ({"early_stopping_patience": 1}, "^early_stopping_patience needs evaluations; set eval_strategy [^\n]*$"),
        ({"contrastive_temperature": 0}, "^contrastive_temperature must be more than 0, got 0$"),
        ({"save_steps": 0}, "^save_steps must be more than 0, got 0$"),
        ({"eval_steps": -1}, "^eval_steps must be more than 0, got -1$"),
        ({"max_grad_norm": -1.0}, "^max_grad_norm must be 0 or more, got -1.0$"),
        ({"mask_dice_loss_weight": -1.0}, "^mask_dice_loss_weight must be 0 or more, got -1.0$"),
        ({"ce_loss_weight": float("nan")}, "^ce_loss_weight must be 0 or more, got nan$"),
        ({"max_steps": -5}, "^max_steps must be 1 or more, or -1 for num_train_epochs epochs, got -5$"),
        ({"max_steps": -1, "num_train_epochs": 0}, "^num_train_epochs must be more than 0, got 0$"),
        ({"mask_branch_training": "full"}, "language_model_training: full"),
        ({"embedding_training": "new_tokens", "language_model_training": "full"}, "needs an adapter"),
    ],
)
def test_impossible_choices(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        quick_trainer(tmp_path, **option)
