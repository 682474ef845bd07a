"""The three stages of GLEE as configuration files: the paper's numbers, every dataset, and a step on a tiny model."""

import json

import pytest
import torch

from glus_hf import GLEEForVideoSegmentation, GLEEProcessor
from glus_hf.errors import ConfigError
from glus_hf.training.glee_run import build_glee_trainer, load_glee_config
from glus_hf.training.runs.train_from_file import RECIPES, recipe_file, train_from_file
from glus_hf.training.samples.ratio_mixture import RATIOS
from tests.data.coco_files import object_of, one_video, two_images, write_coco
from tests.models.glee.small_glee import small_model, small_processor
from tests.training.runs.run_files import TREES, write


STAGES = ("glee_stage1", "glee_stage2", "glee_stage3")
OF_VIDEOS = ("ytvis19", "ytvis21", "ovis")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A tiny model to start from."""
    folder = tmp_path_factory.mktemp("start")
    small_model().save_pretrained(folder)
    small_processor().save_pretrained(folder)
    return folder


def place_data(root, config):
    """A small file at the place of every dataset that a recipe names."""
    for dataset in config.data.train:
        if not dataset.annotations:
            (root / "Refer-YouTube-VOS").symlink_to(TREES / "Refer-YouTube-VOS")
        elif dataset.name in OF_VIDEOS:
            made = one_video(root / "made" / dataset.name)
            place(root, dataset, made, root / "made" / dataset.name / "frames")
        else:
            made = two_images(root / "made" / dataset.name)
            place(root, dataset, made, root / "made" / dataset.name / "images")


def place(root, dataset, file, images):
    (root / dataset.annotations).parent.mkdir(parents=True, exist_ok=True)
    (root / dataset.annotations).symlink_to(file)
    target = root / dataset.images
    target.mkdir(parents=True, exist_ok=True)
    for path in images.iterdir():
        if not (target / path.name).exists():
            (target / path.name).symlink_to(path)


def small_run(start, root, **more):
    options = {
        "model.pretrained": start,
        "data.root": root,
        "data.cache_dir": root / "cache",
        "training.output_dir": root / "run",
        "training.total_train_batch_size": 2,
        "training.per_device_train_batch_size": 1,
        "training.max_steps": 2,
        "training.dataloader_num_workers": 0,
        "training.use_cpu": "true",
        "training.disable_tqdm": "true",
        "training.report_to": "none",
        "export": root / "model",
        **more,
    }
    return [f"{key}={value}" for key, value in options.items()]


# ---- the numbers


@pytest.mark.parametrize("stage", STAGES)
def test_the_numbers_of_the_paper(stage):
    config = load_glee_config(recipe_file(stage))
    training = config.training
    assert (training["max_steps"], training["total_train_batch_size"]) == (500_000, 128)
    assert (training["learning_rate"], training["weight_decay"]) == (1e-4, 0.05)
    assert (training["lr_drop_steps"], training["lr_drop_factor"]) == ([400_000], 0.1)
    assert training["backbone_rate"] == 0.1 and training["text_rate"] == (0 if stage == "glee_stage1" else 0.1)
    assert config.model.distill == (stage != "glee_stage1")
    ratios = RATIOS[stage.replace("glee_stage", "glee-stage-")]
    assert {dataset.name: dataset.weight for dataset in config.data.train} == ratios


def test_what_the_code_did_stands_beside():
    for stage in STAGES:
        text = recipe_file(stage).read_text()
        for name in ("total_train_batch_size", "warmup_steps", "weight_decay", "backbone_rate", "bf16"):
            (line,) = (line for line in text.splitlines() if line.strip().startswith(f"{name}:"))
            assert "the code" in line


def test_recipes_are_in_the_examples():
    assert {f"{stage}.yaml" for stage in STAGES} <= {file.name for file in RECIPES.glob("*.yaml")}


# ---- a step


@pytest.mark.parametrize("stage", STAGES)
def test_every_dataset_of_a_stage_gives_a_loss(start, tmp_path, stage):
    place_data(tmp_path, load_glee_config(recipe_file(stage)))
    config = load_glee_config(recipe_file(stage), small_run(start, tmp_path, **{"data.augmentation": "none"}))
    trainer = build_glee_trainer(config)
    mixture = trainer.train_dataset
    assert mixture.names == [dataset.name for dataset in config.data.train]
    starts = dict(zip(mixture.names, [0, *mixture.cumulative_sizes]))
    for name, index in starts.items():
        batch = trainer.data_collator([mixture[index]])
        batch.pop("samples")
        with torch.no_grad():
            output = trainer.model.train()(**batch)
        assert output.loss.isfinite() and output.losses["loss_ce"] > 0, name
        assert ("dist_loss" in output.losses) == (config.model.distill and batch["task"] == "category"), name


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_stepped_and_exported(start, tmp_path, stage):
    place_data(tmp_path, load_glee_config(recipe_file(stage)))
    trainer, folder = train_from_file(stage, small_run(start, tmp_path))
    assert trainer.state.global_step == 2 and trainer.args.gradient_accumulation_steps == 2
    loaded, before = GLEEForVideoSegmentation.from_pretrained(folder), small_model()
    assert isinstance(GLEEProcessor.from_pretrained(folder), GLEEProcessor)
    moved = {
        name.split(".")[1]
        for name, parameter in before.named_parameters()
        if not torch.equal(parameter, loaded.get_parameter(name))
    }
    assert {"backbone", "decoder", "pixel_decoder"} <= moved
    assert ("text_encoder" in moved) == (stage != "glee_stage1")
    assert loaded.config.text_teacher == (stage != "glee_stage1")
    if loaded.config.text_teacher:
        teacher, student = loaded.model.text_encoder.teacher, before.model.text_encoder.student
        for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_a_teacher_that_is_there_stays(tmp_path):
    model = small_model(text_teacher=True)
    before = {name: value.clone() for name, value in model.model.text_encoder.teacher.named_parameters()}
    with torch.no_grad():
        model.model.text_encoder.student.final_layer_norm.bias += 1.0
    model.add_text_teacher()
    for name, value in model.model.text_encoder.teacher.named_parameters():
        assert torch.equal(value, before[name])


def test_a_resumed_run_ends_as_one_that_was_not_broken_off(start, tmp_path):
    """Draws, augmentation, rates and weights go on."""
    file = write_coco(
        tmp_path / "train.json",
        tmp_path / "images",
        [object_of(number, 3, (5, 5, 30, 30)) for number in range(3)],
        [(40, 60)] * 3,
    )
    data = [{"name": "a", "annotations": str(file), "images": str(tmp_path / "images"), "num_names": 2}]
    config = write(tmp_path, {"data": {"train": data, "augmentation": "none"}})

    def run(name, steps, resume=None):
        more = {
            "training.output_dir": tmp_path / name,
            "export": tmp_path / f"{name}-{steps}",
            "training.save_steps": 2,
        }
        more |= {"training.max_steps": steps, "training.lr_drop_steps": "[3]", "training.warmup_steps": 2}
        options = [each for each in small_run(start, tmp_path, **more) if not each.startswith("data.root")]
        return train_from_file(config, options, resume=resume)[0].model

    whole = run("whole", 4)
    (tmp_path / "whole-4").rename(tmp_path / "first")
    again = run("whole", 4, resume=str(tmp_path / "whole" / "checkpoint-2"))
    for (name, ours), theirs in zip(whole.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=name)


# ---- configurations that are wrong


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.augmentation=crop", "data.augmentation must be one of none, shortest_edge, large_scale_jitter"),
        ("data.train.0.labels=names", "data.train.0.labels must be one of categories"),
        ("data.train.0.images=null", "data.train.0 has annotations but no folder of images"),
        ("training.max_steps=0", "training.max_steps is missing"),
        ("model.options={d_modle: 3}", "unknown key model.options.d_modle; did you mean model.options.d_model"),
        ("data.train.0.wieght=3", "did you mean data.train.0.weight"),
    ],
)
def test_wrong_configurations_are_one_line(override, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_glee_config(recipe_file("glee_stage1"), [override])
    assert "\n" not in str(error.value)


def test_missing_data_is_one_line(start, tmp_path):
    with pytest.raises(ValueError, match="objects365/annotations/train.json") as error:
        train_from_file("glee_stage1", small_run(start, tmp_path))
    assert "\n" not in str(error.value) and not (tmp_path / "model").exists()


def test_the_log_has_the_terms(start, tmp_path):
    place_data(tmp_path, load_glee_config(recipe_file("glee_stage1")))
    more = {"training.logging_steps": 1, "data.augmentation": "none", "training.save_strategy": "no"}
    trainer, _ = train_from_file("glee_stage1", small_run(start, tmp_path, **more))
    entries = [entry for entry in trainer.state.log_history if "loss_ce" in entry]
    assert len(entries) == 2 and all(entry["loss_mask"] == 0 < entry["loss_bbox"] for entry in entries)
    json.dumps(entries)
