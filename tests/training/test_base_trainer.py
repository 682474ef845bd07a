"""What both trainers share: means over optimizer steps, going on after a checkpoint, and the size of a step."""

import pytest
import torch

from glus_hf.training.trainer import TERMS
from tests.training.small_training import (
    Listed,
    history,
    quick_trainer,
    trained,
    uneven_samples,
    videos,
)


def test_log_is_a_mean_over_steps(tmp_path):
    single, coarse = (
        quick_trainer(tmp_path, max_steps=4, logging_steps=steps, contrastive_loss_weight=0.0) for steps in (1, 4)
    )
    for trainer in (single, coarse):
        trainer.train()
    for name in ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss"):
        values = history(single, name)
        assert history(coarse, name) == [pytest.approx(sum(values) / 4, rel=1e-5)]
    assert "contrastive_loss" not in single.state.log_history[0]


@pytest.mark.parametrize("batch_size", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_accumulation_equals_the_large_batch(tmp_path, batch_size):
    """Masks count once each, although the batches have different numbers of them."""

    def run(batch_size):
        trainer = quick_trainer(
            tmp_path,
            dataset=Listed(uneven_samples()),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=4 // batch_size,
            contrastive_loss_weight=0.0,
            optim="sgd",
            learning_rate=0.1,
            max_steps=2,
        )
        trainer.train()
        return trainer

    large, small = run(4), run(batch_size)
    for name in ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss", "grad_norm"):
        assert history(small, name) == pytest.approx(history(large, name), rel=1e-5)
    start, expected = trained(quick_trainer(tmp_path).model), trained(large.model)
    moved = [name for name in expected if not torch.equal(expected[name], start[name])]
    assert len(moved) > 0.9 * len(expected)
    torch.testing.assert_close(trained(small.model), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("language_model", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_resumed_from_any_checkpoint_the_losses_are_the_same(tmp_path, language_model):
    """Eight videos, four per step: epochs of two steps; with dropout and the contrastive bank."""
    options = {
        "max_steps": 6,
        "gradient_accumulation_steps": 2,
        "save_strategy": "steps",
        "save_steps": 1,
        "lora_dropout": 0.1,
        "language_model_training": language_model,
        "warmup_steps": 2,
        "learning_rate": 1e-2,
    }
    whole = quick_trainer(tmp_path, **options)
    whole.train()
    assert len(set(history(whole))) == 6 and history(whole, "contrastive_loss")[-1] > 0
    for step in (1, 2, 5):
        resumed = quick_trainer(tmp_path, **{**options, "save_strategy": "no"})
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        for name in ("loss", "grad_norm", "learning_rate", *TERMS):
            assert history(resumed, name)[step:] == history(whole, name)[step:], (step, name)
        torch.testing.assert_close(trained(resumed.model), trained(whole.model), rtol=0, atol=0)


@pytest.mark.parametrize(
    "max_steps", [pytest.param(3, marks=pytest.mark.slow), 4, pytest.param(2, marks=pytest.mark.slow)]
)
def test_a_finished_run_trains_nothing(tmp_path, max_steps):
    """Four steps are an epoch."""
    trainer = quick_trainer(tmp_path, max_steps=max(max_steps, 3), save_strategy="steps", save_steps=1)
    trainer.train()
    again = quick_trainer(tmp_path, max_steps=max_steps, save_strategy="steps", save_steps=1)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == max(max_steps, 3) and history(again) == history(trainer)
    assert not (tmp_path / f"checkpoint-{max(max_steps, 3) + 1}").exists()
    torch.testing.assert_close(trained(again.model), trained(trainer.model), rtol=0, atol=0)


def test_every_evaluation_sees_the_same_frames(tmp_path):
    """Data loaders that are kept count their epochs."""
    options = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    trainer = quick_trainer(tmp_path, eval_dataset=videos(2), **options)
    first, second, plain = trainer.evaluate(), trainer.evaluate(), quick_trainer(tmp_path).evaluate(videos(2))
    assert first["eval_loss"] == second["eval_loss"] == pytest.approx(plain["eval_loss"], rel=1e-6)


def test_one_data_set_to_train_and_to_evaluate_on(tmp_path):
    dataset = videos()
    trainer = quick_trainer(tmp_path, dataset=dataset, eval_dataset={"all": dataset})
    dataset.set_epoch(3)
    assert trainer.evaluate()["eval_all_loss"] > 0 and dataset.epoch == 3
    assert trainer.evaluate(dataset)["eval_loss"] > 0 and dataset.epoch == 3


def test_a_smaller_last_step_is_warned_of(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("glus_hf.training.base_trainer.logger.warning", said.append)
    quick_trainer(tmp_path, gradient_accumulation_steps=2)
    assert not said
    quick_trainer(tmp_path, gradient_accumulation_steps=3)
    assert said == [
        "the training set has 8 videos, no multiple of the 6 of an optimizer step; the last step of every epoch takes "
        "fewer"
    ]


def test_fewer_videos_than_a_step_takes(tmp_path):
    with pytest.raises(ValueError, match="^the training set has 8 videos, an optimizer step takes 10; [^\n]*$"):
        quick_trainer(tmp_path, gradient_accumulation_steps=5)


def test_an_unknown_metric_and_options_of_another_schedule_are_one_line(tmp_path):
    trainer = quick_trainer(
        tmp_path,
        eval_dataset=videos(1),
        max_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        metric_for_best_model="foo",
    )
    with pytest.raises(ValueError, match="^metric_for_best_model is foo, but evaluation gives loss, ce_loss, [^\n]*$"):
        trainer.train()
    trainer = quick_trainer(tmp_path, lr_scheduler_kwargs={"a": 1})
    with pytest.raises(ValueError, match="^lr_scheduler_kwargs {'a': 1} do not fit lr_scheduler_type linear [^\n]*$"):
        trainer.train()


def test_a_warm_up_that_does_not_end_is_said_at_the_start(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("glus_hf.training.base_trainer.logger.warning", said.append)
    quick_trainer(tmp_path, warmup_steps=100).create_scheduler(
        50, torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    )
    assert said == [
        "the warm-up of 100 steps does not end in the 50 steps of this run, so the learning rate only rises; "
        "set warmup_steps to 5 or less, or max_steps to 1000 or more"
    ]
    quick_trainer(tmp_path, warmup_steps=5).create_scheduler(50, torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]))
    assert len(said) == 1
