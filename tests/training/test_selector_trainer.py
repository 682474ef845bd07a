"""The selector's trainer: its loss by hand, accumulation, resuming, what trains, and the configurations."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from glus_hf import GLUSSelector, GLUSSelectorProcessor
from glus_hf.errors import CheckpointError, ConfigError, NonFiniteLossError
from glus_hf.training.samples.selector_samples import SelectorDataset
from glus_hf.training.selector_run import build_selector_trainer, load_selector_config
from glus_hf.training.selector_trainer import GLUSSelectorTrainer, GLUSSelectorTrainingArguments, prepare_selector
from tests.evaluation.evaluation_data import shape_rows
from tests.models.glus_selector.small_selector import small_selector
from tests.paths import EXAMPLES
from tests.training.samples.label_folders import write_labels
from tests.warm_python import warm_python


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rows = shape_rows(tmp_path_factory.mktemp("cache"), num_videos=4, num_frames=6)
    labels = tmp_path_factory.mktemp("labels")
    write_labels(labels, rows, lambda row, frame: round(abs(np.sin(frame + 3 * int(row["expression_id"]))), 3))
    return rows, labels


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    model, processor = small_selector()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_trainer(data, output, model=None, **options):
    rows, labels = data
    selector, processor = small_selector()
    options = {"use_cpu": True, "max_steps": 2, "warmup_steps": 0, "logging_steps": 1, "save_strategy": "no"} | options
    args = GLUSSelectorTrainingArguments(str(output), **options)
    dataset = SelectorDataset(rows, labels, context_frames=(2, 3))
    return GLUSSelectorTrainer(model or selector, args, train_dataset=dataset, processing_class=processor)


def by_hand(model, batches):
    """Cross entropy over all answer tokens, and the mean over videos of the mean distance, of several batches."""
    ce, tokens, distances = 0.0, 0, []
    with torch.no_grad():
        for batch in batches:
            output = model(**{name: value for name, value in batch.items() if name != "samples"})
            logits = model.lm_head(output.hidden_states)[:, :-1]
            labels = batch["labels"][:, 1:]
            ce += F.cross_entropy(logits[labels != -100], labels[labels != -100], reduction="sum").item()
            tokens += int((labels != -100).sum())
            start = 0
            for count in batch["expressions_per_video"].tolist():
                found = output.scores[start : start + count] - batch["score_labels"][start : start + count]
                distances.append(found.abs().mean().item())
                start += count
    return ce / tokens, float(np.mean(distances))


def test_the_loss_is_what_it_says(data, tmp_path):
    trainer = make_trainer(
        data, tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=4, max_steps=1,
        learning_rate=0.0, lora_dropout=0.0, ce_loss_weight=0.5, score_loss_weight=3.0,
    )  # fmt: skip
    model = trainer.model.get_base_model()
    batches = [trainer.data_collator([trainer.train_dataset[index]]) for index in range(4)]
    assert len({int(batch["expressions_per_video"][0]) for batch in batches} | {0}) > 1
    ce, distance = by_hand(model, batches)
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["ce_loss"] == pytest.approx(ce, rel=1e-5)
    assert logged["score_loss"] == pytest.approx(distance, rel=1e-5)
    assert logged["loss"] == pytest.approx(0.5 * ce + 3 * distance, rel=1e-4)


@pytest.mark.parametrize("batch, steps", [(1, 4), (2, 2)])
def test_accumulation_equals_the_large_batch(data, tmp_path, batch, steps):
    def trained(batch, steps):
        options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": steps, "max_steps": 2}
        trainer = make_trainer(data, tmp_path, **options, lora_dropout=0.0, optim="sgd", learning_rate=0.5)
        trainer.train()
        return trainer

    large, small = trained(4, 1), trained(batch, steps)
    for (name, first), second in zip(large.model.named_parameters(), small.model.parameters(), strict=True):
        torch.testing.assert_close(first, second, atol=2e-6, rtol=1e-4, msg=name)
    for first, second in zip(large.state.log_history[:2], small.state.log_history[:2], strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)


@pytest.mark.slow
def test_one_batch_can_be_learned_by_heart(data, tmp_path):
    options = {"language_model_training": "full", "learning_rate": 3e-3, "max_steps": 150, "max_grad_norm": 1.0}
    trainer = make_trainer(data, tmp_path, **options, per_device_train_batch_size=4, gradient_accumulation_steps=1)
    samples = [trainer.train_dataset[index] for index in range(4)]
    trainer.train_dataset = samples  # the same frames and templates in every epoch
    trainer.train()
    history = [entry["score_loss"] for entry in trainer.state.log_history if "score_loss" in entry]
    ce = [entry["ce_loss"] for entry in trainer.state.log_history if "ce_loss" in entry]
    assert np.mean(history[-5:]) < 0.2 * history[0] and np.mean(history[-5:]) < 0.1
    assert ce[-1] < 0.1 * ce[0]


@pytest.mark.parametrize("language_model", ["lora", "full"])
def test_a_resumed_run_equals_an_uninterrupted_one(data, tmp_path, language_model):
    options = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "max_steps": 4, "save_steps": 2}
    options |= {"save_strategy": "steps", "lora_dropout": 0.1, "language_model_training": language_model}
    whole = make_trainer(data, tmp_path / "whole", **options)
    whole.train()
    part = make_trainer(data, tmp_path / "part", **options)
    part.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    for (name, first), second in zip(whole.model.named_parameters(), part.model.parameters(), strict=True):
        assert torch.equal(first, second), name
    logs = lambda trainer: [
        entry for entry in trainer.state.log_history if entry.get("step", 0) > 2 and "loss" in entry
    ]
    assert [entry["score_loss"] for entry in logs(whole)] == [entry["score_loss"] for entry in logs(part)]


def test_a_loss_that_is_not_finite_names_the_samples(data, tmp_path):
    trainer = make_trainer(data, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=1)
    sample = trainer.train_dataset[1]
    trainer.train_dataset = [{**sample, "scores": [float("nan")] * len(sample["scores"])}] * 4
    with pytest.raises(
        NonFiniteLossError, match=f"^the loss is not finite at step 1; in it: [^\n]*{sample['video_id']}"
    ):
        trainer.train()
    record = json.loads((tmp_path / "non_finite_samples.json").read_text())
    assert len(record["samples"]) == 2 and record["samples"][0]["expression_ids"] == sample["expression_ids"]
    assert record["samples"][0]["frame_indices"] == list(sample["frame_indices"])


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_ruined(data, tmp_path):
    trainer = make_trainer(data, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=1)
    weight = next(parameter for parameter in trainer.model.parameters() if parameter.requires_grad)
    weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(NonFiniteLossError, match="the gradient is not finite at step 1; in it: motion_shapes/"):
        trainer.train()
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


@pytest.mark.parametrize("language_model", ["lora", "full"])
def test_export_overwrites_nothing(data, tmp_path, language_model):
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
    trainer = make_trainer(data, tmp_path / "run", language_model_training=language_model, **options)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="used: is not empty; choose a new folder"):
        trainer.export(tmp_path / "used")
    with pytest.raises(CheckpointError, match="file: is a file; choose a new folder"):
        trainer.export(tmp_path / "used" / "file")


def test_what_trains():
    names = lambda model: {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    trained = names(prepare_selector(small_selector()[0]))
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained if "lora_" in name} == {"q_proj", "v_proj"}
    assert all("language_model" in name for name in trained if "lora_" in name)
    others = {
        name.split(".modules_to_save")[0].removeprefix("base_model.model.") for name in trained if "lora_" not in name
    }
    assert others == {"score_head", "lm_head", "model.language_model.embed_tokens"}
    frozen = names(prepare_selector(small_selector()[0], embeddings="frozen"))
    assert frozen == {name for name in trained if "lora_" in name or "score_head" in name}
    whole = names(prepare_selector(small_selector()[0], language_model="full"))
    assert not any("vision_tower" in name or "mm_projector" in name for name in whole)


def test_half_precision_is_trained_in_full():
    model = small_selector()[0].to(torch.bfloat16)
    adapted = prepare_selector(model)
    dtypes = {parameter.requires_grad: parameter.dtype for parameter in adapted.parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}


def test_evaluation_and_export(data, start, tmp_path):
    overrides = [
        f"model.pretrained={start}", f"data.labels={data[1]}", f"validation.labels={data[1]}",
        "data.train=[{name: motion_shapes, split: test, options: {num_videos: 4, size: 48, num_frames: 6}}]",
        "validation.name=motion_shapes", "validation.split=test",
        "validation.options={num_videos: 4, size: 48, num_frames: 6}", "data.context_frames=[2, 3]",
        f"training.output_dir={tmp_path / 'run'}", "training.max_steps=2", "training.eval_steps=1",
        "training.total_train_batch_size=2", f"data.cache_dir={tmp_path / 'cache'}",
        "training.language_model_training=lora",
    ]  # fmt: skip
    trainer = build_selector_trainer(load_selector_config(EXAMPLES / "configs" / "selector_tiny.yaml", [
        *overrides, "training.per_device_train_batch_size=1", "training.per_device_eval_batch_size=2"]))  # fmt: skip
    trainer.train()
    found = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(found) == 2 and {"eval_ce_loss", "eval_score_loss", "eval_spearman"} <= set(found[0])
    weights = {"eval_ce_loss": trainer.args.ce_loss_weight, "eval_score_loss": trainer.args.score_loss_weight}
    total = sum(weight * found[0][name] for name, weight in weights.items())
    assert found[0]["eval_loss"] == pytest.approx(total, rel=1e-3)
    trainer.export(tmp_path / "model")
    selector = GLUSSelector.from_pretrained(tmp_path / "model")
    processor = GLUSSelectorProcessor.from_pretrained(tmp_path / "model")
    batch = trainer.data_collator([trainer.train_dataset[0]])
    batch.pop("samples")
    with torch.no_grad():
        expected = trainer.model.eval()(**batch).scores
        torch.testing.assert_close(selector.eval()(**batch).scores, expected, atol=1e-5, rtol=1e-4)
    session = processor.init_video_session([np.zeros((48, 48, 3), np.uint8)] * 3, "the red circle")
    assert selector.score_frames(session).shape == (1, 3)


def test_the_table_b_configuration_takes_a_step(data, start, tmp_path):
    config = load_selector_config(EXAMPLES / "configs" / "selector.yaml")
    assert config.training["total_train_batch_size"] == 80 and config.training["learning_rate"] == 3e-4
    assert {dataset.name: dataset.weight for dataset in config.data.train} == {"mevis": 4, "refer_youtube_vos": 15}
    two_sets = "[{name: motion_shapes, split: test, weight: 4, options: {num_videos: 4, size: 48, num_frames: 6}}, "
    two_sets += "{name: motion_shapes, split: test, weight: 15, options: {num_videos: 4, size: 48, num_frames: 6}}]"
    command = [*warm_python(), str(EXAMPLES / "train_selector.py"), str(EXAMPLES / "configs" / "selector.yaml")]
    command += [
        f"model.pretrained={start}",
        f"data.labels={data[1]}",
        f"data.train={two_sets}",
        "training.max_steps=1",
    ]
    command += [
        "training.total_train_batch_size=4",
        f"training.output_dir={tmp_path / 'run'}",
        "training.use_cpu=true",
    ]
    command += [f"data.cache_dir={tmp_path / 'cache'}", "training.dataloader_num_workers=0", "model.dtype=bfloat16"]
    result = subprocess.run(
        [*command, "--export", str(tmp_path / "model")], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert state["global_step"] == 1 and (tmp_path / "model" / "config.json").is_file()


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["training.lora_rang=4"], "unknown key training.lora_rang; did you mean training.lora_rank?"),
        (["modle.pretrained=x"], "unknown key modle; did you mean model?"),
        (["data.train.0.wheight=4"], "unknown key data.train.0.wheight; did you mean data.train.0.weight?"),
        (["data.train.7.weight=4"], "7 is no position in a list of 2"),
        (["model.labels=x"], "unknown key model.labels; did you mean data.labels?"),
        (["training.max_steps=many"], "training.max_steps must be a number, got 'many'"),
        (["data.max_expressions=true"], "data.max_expressions must be a number, got True"),
        (["data.train={name: mevis}"], "data.train must be a list of datasets"),
        (["data.train=[]"], "data.train is empty"),
        (["data.train=[{split: train}]"], "data.train.0 has no name"),
        (["model.pretrained="], "model.pretrained is missing"),
        (["model.dtype=int8"], "model.dtype must be one of"),
        (["data.context_frames=5"], "data.context_frames must be a list, got 5"),
        (["data.context_frames=[5]"], "must be two whole numbers from 1 up, fewest and most, got [5]"),
        (
            ["data.context_frames=[5, 3]"],
            "data.context_frames must be two whole numbers from 1 up, fewest and most, got",
        ),
        (
            ["data.context_frames=[0, 3]"],
            "data.context_frames must be two whole numbers from 1 up, fewest and most, got",
        ),
        (["nonsense"], "write section.key=value"),
        (["data.train=[1"], "'data.train=[1': the value cannot be read as YAML"),
    ],
)
def test_errors_of_configurations_are_one_line(overrides, words):
    with pytest.raises(ConfigError) as error:
        load_selector_config(EXAMPLES / "configs" / "selector.yaml", overrides)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_every_set_of_the_tiny_configuration_has_its_own_labels():
    config = load_selector_config(EXAMPLES / "configs" / "selector_tiny.yaml")
    labels = [Path(labelled.labels) for labelled in (*config.data.train, config.validation)]
    script = (EXAMPLES / "self_refine.sh").read_text()
    assert len(set(labels)) == 3 and all(f'--output "$runs/{folder.name}"' in script for folder in labels)


def test_values_that_yaml_takes_for_something_else():
    overrides = ["training.eval_strategy=no", "training.learning_rate=3e-5"]
    training = load_selector_config(EXAMPLES / "configs" / "selector.yaml", overrides).training
    assert (training["eval_strategy"], training["learning_rate"]) == ("no", 3e-5)


def test_impossible_runs(data, tmp_path):
    with pytest.raises(ValueError, match="is no multiple of 3 videos"):
        GLUSSelectorTrainingArguments(str(tmp_path), total_train_batch_size=80, per_device_train_batch_size=3)
    with pytest.raises(ValueError, match="embedding_training must be one of full, frozen"):
        GLUSSelectorTrainingArguments(str(tmp_path), embedding_training="half")
    with pytest.raises(ValueError, match="has 4 videos, an optimizer step takes 10"):
        make_trainer(data, tmp_path)
    with pytest.raises(ValueError, match="needs processing_class"):
        GLUSSelectorTrainer(small_selector()[0], GLUSSelectorTrainingArguments(str(tmp_path), use_cpu=True))
