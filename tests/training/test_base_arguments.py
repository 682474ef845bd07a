"""What the arguments of both trainers share."""

import pytest

from glus_hf.training.arguments import GLUSTrainingArguments
from glus_hf.training.selector_arguments import GLUSSelectorTrainingArguments


def test_total_batch_size():
    args = GLUSTrainingArguments("out", total_train_batch_size=80, per_device_train_batch_size=4, use_cpu=True)
    assert args.gradient_accumulation_steps == 20


def test_a_rank_that_is_not_used_is_not_looked_at():
    assert GLUSTrainingArguments("out", lora_rank=0, language_model_training="frozen", use_cpu=True).lora_rank == 0


@pytest.mark.parametrize("kind", [GLUSTrainingArguments, GLUSSelectorTrainingArguments])
def test_the_warm_up_is_at_most_a_tenth_of_the_steps(kind):
    steps = {max_steps: kind("out", max_steps=max_steps, use_cpu=True).warmup_steps for max_steps in (3000, 50, 5)}
    assert steps == {3000: 100, 50: 5, 5: 0}
    epochs = kind("out", max_steps=-1, num_train_epochs=2, use_cpu=True)
    assert epochs.get_warmup_steps(200) == 20
    assert kind("out", max_steps=50, warmup_steps=7, use_cpu=True).warmup_steps == 7


def test_a_learning_rate_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="^learning_rate must be 0 or more, got nan$"):
        GLUSTrainingArguments("out", learning_rate=float("nan"), use_cpu=True)
