"""What the arguments of both trainers share."""

from glus_hf.training.arguments import GLUSTrainingArguments


def test_total_batch_size():
    args = GLUSTrainingArguments("out", total_train_batch_size=80, per_device_train_batch_size=4, use_cpu=True)
    assert args.gradient_accumulation_steps == 20


def test_a_rank_that_is_not_used_is_not_looked_at():
    assert GLUSTrainingArguments("out", lora_rank=0, language_model_training="frozen", use_cpu=True).lora_rank == 0
