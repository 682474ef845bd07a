"""Validation while training: losses of samples, and whole videos."""

import pytest
import torch

from glus_hf.training.validation import VideoValidation, first_videos
from tests.training.small_training import Listed, fresh_model, history, quick_trainer, rows, uneven_samples, videos


def test_validation_losses(tmp_path):
    """Means over all masks, whatever the size of the batches; three videos, so that the last batch is smaller."""
    results = []
    for batch_size in (1, 2, 3):
        chosen = Listed(uneven_samples()[:3])
        trainer = quick_trainer(tmp_path, eval_dataset=chosen, per_device_eval_batch_size=batch_size)
        results.append(trainer.evaluate())
    batch = trainer.data_collator(uneven_samples()[:3])
    batch.pop("samples")
    with torch.no_grad():
        output = fresh_model()(**batch)
    for result in results:
        for name in ("ce_loss", "mask_bce_loss", "mask_dice_loss"):
            assert result[f"eval_{name}"] == pytest.approx(getattr(output, name).item(), rel=1e-5)
        assert result["eval_loss"] == pytest.approx(output.loss.item(), rel=1e-5)
        assert 0 <= result["eval_J_given_text"] <= 100


def test_validation_by_the_evaluator(tmp_path):
    validation = VideoValidation(rows(2, "validation"), tmp_path / "validation", "validation", max_videos=1)
    trainer = quick_trainer(
        tmp_path,
        eval_dataset=videos(2),
        video_evaluator=validation,
        eval_strategy="steps",
        eval_steps=1,
        per_device_train_batch_size=1,
        max_steps=2,
    )
    trainer.train()
    scores = history(trainer, "eval_J&F")
    assert len(scores) == 2 and all(0 <= score <= 100 for score in scores)
    assert trainer.state.log_history[-2]["eval_J"] >= 0
    assert list((tmp_path / "validation").rglob("*.png"))
    # in between, training went on in training mode
    assert len(history(trainer)) == 2


def test_first_videos():
    assert len(set(first_videos(rows(8), 3)["video_id"])) == 3
    assert len(first_videos(rows(8), None)) == len(rows(8)) == len(first_videos(rows(8), 100))
