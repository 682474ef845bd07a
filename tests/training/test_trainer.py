"""GLUSTrainer on a small random model: losses, accumulation, resuming, evaluation, bad input."""

import json

import pytest
import torch
from peft import PeftModel

from glus_hf.errors import CheckpointError, NonFiniteLossError, NothingToTrainError
from glus_hf.training.arguments import GLUSTrainingArguments
from glus_hf.training.non_finite import GradientWatch
from glus_hf.training.samples.referring_video_dataset import ReferringVideoDataset
from glus_hf.training.trainer import TERMS, GLUSTrainer
from glus_hf.training.validation import VideoValidation, first_videos
from tests.models.glus.small_glus import small_processor
from tests.training.small_training import fresh_model, history, quick_trainer, rows, videos


def trained(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


class Listed(torch.utils.data.Dataset):
    """Chosen samples, in order."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def uneven_samples():
    """Videos with 1, 3, 2 and 1 expressions: batches of two of them have 4 and 3, single ones 1 to 3."""
    samples = []
    for index, count in enumerate((1, 3, 2, 1)):
        sample = videos()[index]
        assert len(sample["expressions"]) == 3
        lists = ("expressions", "masks", "object_ids", "annotation_ids", "expression_ids")
        samples.append({**sample, **{name: sample[name][:count] for name in lists}})
    return samples


# ---- loss


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


def test_every_term_is_logged_and_they_add_up(tmp_path):
    trainer = quick_trainer(tmp_path, max_steps=3, gradient_accumulation_steps=2, logging_steps=1)
    trainer.train()
    for entry in trainer.state.log_history[:3]:
        total = sum(getattr(trainer.args, f"{name}_weight") * entry[name] for name in TERMS)
        assert entry["loss"] == pytest.approx(total, rel=1e-5)
    assert max(history(trainer, "contrastive_loss")) > 0


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


def test_loss_is_that_of_the_model(tmp_path):
    """Without accumulation and contrastive term the trainer's loss is the model's own."""
    trainer = quick_trainer(tmp_path, max_steps=1, contrastive_loss_weight=0.0, per_device_train_batch_size=4)
    trainer.train_dataset = Listed(uneven_samples())
    trainer.train()
    batch = trainer.data_collator(uneven_samples())
    batch.pop("samples")
    with torch.no_grad():
        expected = fresh_model().train()(**batch).loss.item()
    assert history(trainer) == [pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize("batch_size", [1, 2])
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


def test_the_loss_weights_are_the_arguments(tmp_path):
    trainer = quick_trainer(
        tmp_path,
        max_steps=1,
        ce_loss_weight=3.0,
        mask_bce_loss_weight=0.0,
        mask_dice_loss_weight=0.0,
        contrastive_loss_weight=0.0,
    )
    trainer.train()
    assert history(trainer) == [pytest.approx(3 * history(trainer, "ce_loss")[0], rel=1e-6)]


def test_gradient_checkpointing_changes_nothing(tmp_path):
    def run(gradient_checkpointing):
        trainer = quick_trainer(
            tmp_path, gradient_checkpointing=gradient_checkpointing, optim="sgd", learning_rate=0.1
        )
        calls = []
        layer = trainer.model.get_base_model().model.language_model.layers[0].self_attn
        layer.register_forward_hook(lambda *_: calls.append(1))
        trainer.train()
        return trainer, len(calls)

    (plain, once), (checkpointed, twice) = run(False), run(True)
    assert twice == 2 * once
    assert history(checkpointed) == pytest.approx(history(plain), rel=1e-5)
    torch.testing.assert_close(trained(checkpointed.model), trained(plain.model), rtol=1e-5, atol=1e-6)


def test_gradient_through_memory(tmp_path):
    """The option changes gradients, not the first loss."""
    runs = [quick_trainer(tmp_path, max_steps=1, memory_gradient=flag) for flag in (False, True)]
    for trainer in runs:
        trainer.train()
    (detached,), (attached,) = (history(trainer, "grad_norm") for trainer in runs)
    assert history(runs[0]) == pytest.approx(history(runs[1]), rel=1e-6)
    assert abs(attached / detached - 1) > 1e-5


def test_bfloat16(tmp_path):
    """A frozen bfloat16 base with trained parts in float32, under autocast; the loss is that of float32, roughly."""
    options = {"max_steps": 2, "contrastive_loss_weight": 0.0}
    exact = quick_trainer(tmp_path, **options)
    rough = quick_trainer(tmp_path, model=fresh_model().bfloat16(), bf16=True, **options)
    rough.eval_dataset = videos(2)
    rough.video_evaluator = VideoValidation(rows(2, "validation"), tmp_path / "videos", max_videos=1)
    dtypes = {parameter.requires_grad: parameter.dtype for parameter in rough.model.parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    for trainer in (exact, rough):
        trainer.train()
    assert history(rough) == pytest.approx(history(exact), rel=0.02)
    states = []
    layer = rough.model.get_base_model().model.language_model.layers[0]
    layer.register_forward_hook(lambda module, inputs, output: states.append(inputs[0].dtype))
    assert 0 <= rough.evaluate()["eval_J&F"] <= 100
    assert set(states) == {torch.bfloat16}


# ---- saving and going on


@pytest.mark.parametrize("language_model", ["lora", "full"])
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


def test_resume_true_takes_the_last_checkpoint(tmp_path):
    trainer = quick_trainer(tmp_path, max_steps=3, save_strategy="steps", save_steps=1)
    with pytest.raises(ValueError, match="no checkpoint"):
        trainer.train(resume_from_checkpoint=True)
    trainer.train()
    longer = quick_trainer(tmp_path, max_steps=4)
    longer.train(resume_from_checkpoint=True)
    assert longer.state.global_step == 4 and len(history(longer)) == 4


@pytest.mark.parametrize("name", ["trainer_state.json", "adapter_model.safetensors"])
def test_a_half_written_checkpoint_is_passed_over(tmp_path, name):
    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    whole = quick_trainer(tmp_path, **options)
    whole.train()
    file = tmp_path / "checkpoint-2" / name
    file.write_bytes(file.read_bytes()[:-20])  # as when killed
    with pytest.raises(CheckpointError, match="^[^\n]*checkpoint-2: is not complete [^\n]*; resume from another"):
        quick_trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    again = quick_trainer(tmp_path, **options)
    again.train(resume_from_checkpoint=True)
    assert history(again) == history(whole)  # step 2 was trained again
    (tmp_path / "checkpoint-1" / "trainer_state.json").unlink()
    (tmp_path / "checkpoint-2" / "trainer_state.json").unlink()
    with pytest.raises(CheckpointError, match="has no complete checkpoint to resume from"):
        again.train(resume_from_checkpoint=True)
    with pytest.raises(CheckpointError, match="checkpoint-1: has no trainer_state.json"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_a_checkpoint_of_other_options_is_refused(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    quick_trainer(tmp_path / "lora", **options).train()
    quick_trainer(tmp_path / "full", **options, language_model_training="full").train()
    for folder, other, named in [
        ("lora", {"lora_rank": 4}, "another lora_rank"),
        ("lora", {"lora_targets": ["q_proj"]}, "another lora_targets"),
        ("lora", {"embedding_training": "new_tokens"}, "and another embedding_training"),
        ("lora", {"mask_branch_training": "frozen"}, r"another choice of parts \(embedding_training, "),
        ("lora", {"language_model_training": "full"}, "another language_model_training"),
        ("full", {}, "another language_model_training"),
        (
            "full",
            {"language_model_training": "full", "embedding_training": "frozen"},
            "another optimizer or other parts",
        ),
    ]:
        message = f"^[^\n]*checkpoint-1: was trained with [^\n]*{named}[^\n]*; resume with the options it"
        with pytest.raises(CheckpointError, match=message):
            quick_trainer(tmp_path / folder, **other).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("max_steps", [3, 4, 2])
def test_a_finished_run_trains_nothing(tmp_path, max_steps):
    """Four steps are an epoch."""
    trainer = quick_trainer(tmp_path, max_steps=max(max_steps, 3), save_strategy="steps", save_steps=1)
    trainer.train()
    again = quick_trainer(tmp_path, max_steps=max_steps, save_strategy="steps", save_steps=1)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == max(max_steps, 3) and history(again) == history(trainer)
    assert not (tmp_path / f"checkpoint-{max(max_steps, 3) + 1}").exists()
    torch.testing.assert_close(trained(again.model), trained(trainer.model), rtol=0, atol=0)


def test_a_checkpoint_holds_the_adapter_only(tmp_path):
    trainer = quick_trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    folder = tmp_path / "checkpoint-1"
    assert not list(folder.glob("model*.safetensors"))
    size = (folder / "adapter_model.safetensors").stat().st_size
    assert size < 1.3 * 4 * sum(value.numel() for value in trained(trainer.model).values())
    assert (folder / "processor_config.json").is_file()


# ---- evaluation


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
        assert 0 <= result["eval_J_given_text"] <= 1


def test_videos_under_fsdp_are_refused_before_training(tmp_path, monkeypatch):
    create = GLUSTrainer.create_accelerator_and_postprocess

    def create_with_fsdp(self):
        create(self)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(GLUSTrainer, "create_accelerator_and_postprocess", create_with_fsdp)
    quick_trainer(tmp_path)
    with pytest.raises(ValueError, match="^evaluation on videos is not possible under FSDP; set validation.max_vid"):
        quick_trainer(tmp_path, eval_dataset=videos(1), video_evaluator=lambda *_: {})


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


def test_evaluation_does_not_disturb_training(tmp_path):
    options = {"max_steps": 3, "lora_dropout": 0.2, "eval_dataset": videos(2)}
    plain = quick_trainer(tmp_path, **options)
    evaluated = quick_trainer(tmp_path, **options, eval_strategy="steps", eval_steps=1, video_evaluator=lambda *_: {})
    for trainer in (plain, evaluated):
        trainer.train()
    assert history(evaluated)[0] == history(plain)[0]
    assert history(evaluated) == pytest.approx(history(plain), rel=1e-2)  # data loaders sample seeds: other dropout


def test_early_stopping_keeps_the_best(tmp_path):
    """J&F rises, then falls twice: training stops, and the weights are those of the second evaluation."""
    scores = iter([10.0, 30.0, 20.0, 25.0, 90.0])
    seen = []

    def evaluator(model, processor):
        seen.append(trained_head(model))
        return {"J&F": next(scores)}

    def trained_head(model):
        return model.lm_head.weight.detach().clone()

    trainer = quick_trainer(
        tmp_path,
        eval_dataset=videos(2),
        video_evaluator=evaluator,
        max_steps=20,
        learning_rate=1e-2,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        early_stopping_patience=2,
    )
    trainer.train()
    assert trainer.state.global_step == 4
    assert trainer.state.best_metric == 30.0 and trainer.state.best_global_step == 2
    now = trained_head(trainer.model.get_base_model())
    torch.testing.assert_close(now, seen[1], rtol=0, atol=0)
    assert not torch.equal(seen[1], seen[3])


def test_a_run_that_stopped_early_is_not_evaluated_again_at_the_end_of_an_epoch(tmp_path):
    options = {"eval_dataset": videos(2), "num_train_epochs": 6, "max_steps": -1, "early_stopping_patience": 1}
    options |= {"eval_strategy": "epoch", "save_strategy": "epoch"}
    scores = iter([30.0, 20.0])
    whole = quick_trainer(tmp_path, video_evaluator=lambda *_: {"J&F": next(scores)}, **options)
    whole.train()
    resumed = quick_trainer(tmp_path, video_evaluator=lambda *_: {"J&F": next(scores)}, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{whole.state.global_step}"))
    assert resumed.state.global_step == whole.state.global_step and resumed.state.best_metric == 30.0


@pytest.mark.parametrize(("resumed_at", "patience", "end"), [(3, 2, 4), (4, 2, 4), (4, 3, 5)])
def test_early_stopping_goes_on_counting_after_a_resume(tmp_path, resumed_at, patience, end):
    """Uninterrupted, it stops at step 4 with a patience of 2."""
    scores = [10.0, 30.0, 20.0, 25.0, 21.0, 22.0]

    def run(patience, scores):
        scores = iter(scores)
        return quick_trainer(
            tmp_path,
            eval_dataset=videos(2),
            video_evaluator=lambda *_: {"J&F": next(scores)},
            embedding_training="new_tokens",
            max_steps=6,
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=1,
            early_stopping_patience=patience,
        )

    whole = run(2, scores)
    whole.train()
    assert whole.state.global_step == 4
    stopped = {file: file.stat().st_mtime_ns for file in (tmp_path / "checkpoint-4").iterdir()}
    resumed = run(patience, [] if resumed_at == end else scores[resumed_at:])
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{resumed_at}"))
    assert (resumed.state.global_step, resumed.state.best_global_step) == (end, 2)
    if resumed_at == end:  # neither evaluated nor saved again
        assert stopped == {file: file.stat().st_mtime_ns for file in (tmp_path / "checkpoint-4").iterdir()}
    if end == 4:
        torch.testing.assert_close(trained(resumed.model), trained(whole.model), rtol=0, atol=0)


def test_first_videos():
    assert len(set(first_videos(rows(8), 3)["video_id"])) == 3
    assert len(first_videos(rows(8), None)) == len(rows(8)) == len(first_videos(rows(8), 100))


# ---- bad input


def test_nothing_to_train(tmp_path):
    frozen = {"mask_branch_training": "frozen", "embedding_training": "frozen", "train_projections": False}
    with pytest.raises(NothingToTrainError, match="^no parameter is trainable; set language_model_training.*[^\n]$"):
        quick_trainer(tmp_path, language_model_training="frozen", **frozen)
    peft_model = quick_trainer(tmp_path).model
    peft_model.requires_grad_(False)
    assert isinstance(peft_model, PeftModel)
    with pytest.raises(NothingToTrainError, match="no parameter is trainable"):
        quick_trainer(tmp_path, model=peft_model)


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


def test_fewer_frames_than_the_window():
    with pytest.raises(ValueError, match=r"8 frames, a sample needs 9; [^\n]*$"):
        ReferringVideoDataset(rows(8), num_query_frames=9)


def test_no_processor(tmp_path):
    with pytest.raises(ValueError, match="processing_class"):
        GLUSTrainer(fresh_model(), GLUSTrainingArguments(str(tmp_path), use_cpu=True))


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


def test_a_rank_that_is_not_used_is_not_looked_at():
    assert GLUSTrainingArguments("out", lora_rank=0, language_model_training="frozen", use_cpu=True).lora_rank == 0


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


def test_total_batch_size():
    args = GLUSTrainingArguments("out", total_train_batch_size=80, per_device_train_batch_size=4, use_cpu=True)
    assert args.gradient_accumulation_steps == 20


def test_processor_is_saved_as_it_was(tmp_path):
    trainer = quick_trainer(tmp_path)
    trainer.save_model(str(tmp_path / "adapter"))
    loaded = type(trainer.processing_class).from_pretrained(str(tmp_path / "adapter"))
    assert loaded.tokenize("USER: hello [SEG]") == small_processor().tokenize("USER: hello [SEG]")


# ---- learning


@pytest.mark.slow
def test_one_batch_is_learned_by_heart(tmp_path):
    """From random weights to J > 0.95 on two clips: every part of the chain lets the gradient through."""
    largest = []
    for index in range(24):
        sample = videos(24)[index]
        areas = sample["masks"].sum((-2, -1)).min(-1)
        lists = ("expressions", "masks", "object_ids", "annotation_ids", "expression_ids")
        chosen = int(areas.argmax())
        single = {**sample, **{name: sample[name][chosen : chosen + 1] for name in lists}}
        largest.append((int(areas.max()), index, single))
    batch = Listed([sample for *_, sample in sorted(largest, key=lambda entry: -entry[0])[:2]])
    trainer = quick_trainer(
        tmp_path,
        model=fresh_model(multimask_fallback=False),
        dataset=batch,
        eval_dataset=batch,
        language_model_training="full",
        mask_branch_training="full",
        memory_gradient=True,
        adam_beta2=0.99,
        learning_rate=8e-3,
        warmup_steps=10,
        max_steps=110,
        logging_steps=50,
    )
    assert trainer.evaluate()["eval_J_given_text"] < 0.3
    trainer.train()
    assert trainer.evaluate()["eval_J_given_text"] > 0.95
