"""GLUSTrainer on a small random model: losses, early stopping, what is saved, bad input."""

import pytest
import torch
from peft import PeftModel

from glus_hf.errors import NothingToTrainError
from glus_hf.models.glus.modeling_glus import GLUSForVideoSegmentation
from glus_hf.models.glus.presets_glus import COMPAT, MODEL_OPTIONS, select_options
from glus_hf.training.arguments import GLUSTrainingArguments
from glus_hf.training.trainer import TERMS, GLUSTrainer
from glus_hf.training.validation import VideoValidation
from tests.models.glus.small_glus import small_processor
from tests.training.small_training import (
    Listed,
    fresh_model,
    history,
    quick_trainer,
    rows,
    saved_model,
    trained,
    uneven_samples,
    videos,
)


# ---- loss


def test_every_term_is_logged_and_they_add_up(tmp_path):
    trainer = quick_trainer(tmp_path, max_steps=3, gradient_accumulation_steps=2, logging_steps=1)
    trainer.train()
    for entry in trainer.state.log_history[:3]:
        total = sum(getattr(trainer.args, f"{name}_weight") * entry[name] for name in TERMS)
        assert entry["loss"] == pytest.approx(total, rel=1e-5)
    assert max(history(trainer, "contrastive_loss")) > 0


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


def test_packed_expressions_train_alike(tmp_path):
    runs = [quick_trainer(tmp_path, pack_expressions=pack, optim="sgd", learning_rate=0.1) for pack in (True, False)]
    packs = [trainer.model.get_base_model().model.packs_expressions for trainer in runs]
    for trainer in runs:
        trainer.train()
    assert packs == [True, False]
    packed, single = runs
    assert history(packed) == pytest.approx(history(single), rel=1e-6)
    torch.testing.assert_close(trained(packed.model), trained(single.model), rtol=1e-5, atol=1e-6)


def test_gradient_through_memory(tmp_path):
    """The option changes gradients, not the first loss."""
    runs = [quick_trainer(tmp_path, max_steps=1, memory_gradient=flag) for flag in (False, True)]
    for trainer in runs:
        trainer.train()
    (detached,), (attached,) = (history(trainer, "grad_norm") for trainer in runs)
    assert history(runs[0]) == pytest.approx(history(runs[1]), rel=1e-6)
    assert abs(attached / detached - 1) > 1e-5


@pytest.mark.parametrize("preset", COMPAT)
def test_options_of_the_model_stand(tmp_path, preset):
    """Training changes no option of the config that its arguments do not name."""
    start = saved_model(tmp_path / "start", **select_options(preset, MODEL_OPTIONS))
    model = GLUSForVideoSegmentation.from_pretrained(start)
    before = model.config.to_dict()
    trainer = quick_trainer(tmp_path / "run", model=model, max_steps=1)
    trainer.train()
    after = trainer.model.get_base_model().config.to_dict()
    of_transformers = {"use_cache", "pad_token_id", "text_config"}  # its trainer aligns them
    assert {name for name in after if after[name] != before.get(name)} <= of_transformers
    exported = GLUSForVideoSegmentation.from_pretrained(trainer.export(tmp_path / "exported")).config
    assert {name: getattr(exported, name) for name in MODEL_OPTIONS} == select_options(preset, MODEL_OPTIONS)


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


def test_a_checkpoint_holds_the_adapter_only(tmp_path):
    trainer = quick_trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    folder = tmp_path / "checkpoint-1"
    assert not list(folder.glob("model*.safetensors"))
    size = (folder / "adapter_model.safetensors").stat().st_size
    assert size < 1.3 * 4 * sum(value.numel() for value in trained(trainer.model).values())
    assert (folder / "processor_config.json").is_file()


# ---- evaluation


def test_videos_under_fsdp_are_refused_before_training(tmp_path, monkeypatch):
    create = GLUSTrainer.create_accelerator_and_postprocess

    def create_with_fsdp(self):
        create(self)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(GLUSTrainer, "create_accelerator_and_postprocess", create_with_fsdp)
    quick_trainer(tmp_path)
    with pytest.raises(ValueError, match="^evaluation on videos is not possible under FSDP; set validation.max_vid"):
        quick_trainer(tmp_path, eval_dataset=videos(1), video_evaluator=lambda *_: {})


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


def test_no_processor(tmp_path):
    with pytest.raises(ValueError, match="processing_class"):
        GLUSTrainer(fresh_model(), GLUSTrainingArguments(str(tmp_path), use_cpu=True))


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
    assert trainer.evaluate()["eval_J_given_text"] < 30
    trainer.train()
    assert trainer.evaluate()["eval_J_given_text"] > 95  # percent, as J, F and J&F
