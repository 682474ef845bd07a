"""A loss or gradient that is not finite names its samples and stops before the weights are ruined."""

import json

import pytest

from glus_hf.errors import NonFiniteLossError
from glus_hf.training.non_finite import GradientWatch
from tests.training.small_training import Listed, quick_trainer, trained, videos


def test_nan_loss_names_the_samples(tmp_path):
    """The second step meets a video whose masks are NaN."""
    samples = [videos()[index] for index in range(4)]
    samples[2] = {**samples[2], "masks": samples[2]["masks"].astype(float)}
    samples[2]["masks"][0, 0, 0, 0] = float("nan")
    trainer = quick_trainer(tmp_path, dataset=Listed(samples), per_device_train_batch_size=1, max_steps=4)
    trainer.processing_class.overlap = "sum"  # keeps numbers as they are
    trainer.data_collator.collator.processor.overlap = "sum"
    name = f"motion_shapes/{samples[2]['video_id']} expressions {','.join(samples[2]['expression_ids'])}"
    with pytest.raises(NonFiniteLossError, match=f"the loss is not finite at step .*{name}.*") as caught:
        trainer.train()
    assert "\n" not in str(caught.value)
    record = json.loads((tmp_path / "non_finite_samples.json").read_text())
    assert [sample["video_id"] for sample in record["samples"]] == [samples[2]["video_id"]]
    assert record["samples"][0]["expression_ids"] == samples[2]["expression_ids"]
    assert record["step"] == trainer.state.global_step


def test_non_finite_gradient_stops_before_the_weights_are_ruined(tmp_path):
    trainer = quick_trainer(tmp_path, max_steps=3)
    weight = next(parameter for parameter in trainer.model.parameters() if parameter.requires_grad)
    weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteLossError, match="the gradient is not finite at step 1"):
        trainer.train()
    assert all(value.isfinite().all() for value in trained(trainer.model).values())
    assert len(json.loads((tmp_path / "non_finite_samples.json").read_text())["samples"]) == 2


def test_where_gradients_cannot_be_watched_their_norm_is(tmp_path, monkeypatch):
    """As under DeepSpeed, which has freed the gradients."""
    monkeypatch.setattr(GradientWatch, "on_pre_optimizer_step", lambda *args, **kwargs: None)
    trainer = quick_trainer(tmp_path, max_steps=3)
    weight = next(parameter for parameter in trainer.model.parameters() if parameter.requires_grad)
    weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteLossError, match="the gradient is not finite at step 1;"):
        trainer.train()
    record = json.loads((tmp_path / "non_finite_samples.json").read_text())
    assert (record["step"], list(record["values"]), len(record["samples"])) == (0, ["norm"], 2)
