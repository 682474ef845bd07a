"""The stages of GLEE as configuration files: the paper's numbers, every dataset, and steps on tiny models."""

import json
from collections import Counter

import pytest
import torch

from glus_hf import GLEEForVideoSegmentation, GLEEProcessor, load_object_dataset
from glus_hf.errors import ConfigError, UserError
from glus_hf.training.glee_run import GLEEModelSection, build_glee_trainer, load_glee_config, load_model
from glus_hf.training.runs.run_data import part_of_rows
from glus_hf.training.runs.train_from_file import RECIPES, recipe_file, train_from_file
from glus_hf.training.samples.ratio_mixture import RATIOS
from tests.data.object_trees import glee_trees
from tests.models.glee.small_glee import small_model, small_processor
from tests.training.launchers import COMMAND, accelerate, losses, run


IMAGES = ("glee_stage1", "glee_stage2", "glee_scaleup")
CLIPS = ("glee_vos", "glee_vis")
RECIPE_NAMES = IMAGES + CLIPS
SHARED = {"refcoco_plus": "refcoco", "refcocog": "refcoco", "bdd100k": "bdd"}  # of the names of Table 2


def recipes(*quick):
    """All recipes, of which some are tested quickly."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in RECIPE_NAMES]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A tiny model to start from."""
    folder = tmp_path_factory.mktemp("start")
    small_model().save_pretrained(folder)
    small_processor().save_pretrained(folder)
    return folder


def small_run(start, root, **more):
    options = {
        "model.pretrained": start,
        "data.root": root,
        "data.cache_dir": root / "cache",
        "data.augmentation": "none",
        "training.output_dir": root / "run",
        "training.total_train_batch_size": 2,
        "training.per_device_train_batch_size": 1,
        "training.max_steps": 2,
        "training.dataloader_num_workers": 0,
        "training.use_cpu": "true",
        "training.bf16": "false",
        "training.disable_tqdm": "true",
        "training.report_to": "none",
        "export": root / "model",
        **more,
    }
    return [f"{key}={value}" for key, value in options.items()]


# ---- the numbers


@pytest.mark.parametrize("stage", IMAGES)
def test_the_numbers_of_the_paper(stage):
    config = load_glee_config(recipe_file(stage))
    training = config.training
    assert (training["max_steps"], training["total_train_batch_size"]) == (500_000, 128)
    assert (training["learning_rate"], training["weight_decay"]) == (1e-4, 0.05)
    assert (training["lr_drop_steps"], training["lr_drop_factor"]) == ([400_000], 0.1)
    assert training["backbone_rate"] == 0.1 and training["text_rate"] == (0 if stage == "glee_stage1" else 0.1)
    assert config.model.distill == (stage != "glee_stage1")
    weights = Counter()
    for dataset in config.data.train:
        weights[SHARED.get(dataset.name, dataset.name)] += dataset.weight
    numbers = {"glee_stage1": "glee-stage-1", "glee_stage2": "glee-stage-2", "glee_scaleup": "glee-stage-3"}
    assert weights == pytest.approx(RATIOS[numbers[stage]])
    subsets = {dataset.name: dataset.options["subset"] for dataset in config.data.train if "subset" in dataset.options}
    assert (
        subsets
        == {
            "glee_stage1": {},
            "glee_stage2": {"sa1b": 500_000},
            "glee_scaleup": {"sa1b": 2_000_000, "grit": 5_000_000},
        }[stage]
    )


def test_the_numbers_of_fine_tuning():
    vos, vis = (load_glee_config(recipe_file(name)) for name in CLIPS)
    assert [each.name for each in vos.data.train] == ["youtube_vos", "ytvis19", "ytvis21", "ovis", "uvo_dense"]
    assert vos.training["max_steps"] == 40_000 and all(each.prompts == 1 for each in vos.data.train)
    assert (vis.training["max_steps"], vis.training["lr_drop_steps"]) == (18_000, [12_000])
    (ovis,) = vis.data.train
    assert (ovis.name, ovis.frames, ovis.frame_range, ovis.prompts) == ("ovis", 2, 10, 0)
    for config in (vos, vis):
        assert config.training["total_train_batch_size"] == 8 and config.training["text_rate"] == 0


def test_what_the_code_did_stands_beside():
    for stage in IMAGES:
        text = recipe_file(stage).read_text()
        for name in ("total_train_batch_size", "warmup_steps", "weight_decay", "backbone_rate", "bf16"):
            (line,) = (line for line in text.splitlines() if line.strip().startswith(f"{name}:"))
            assert "the code" in line


def test_recipes_are_in_the_package():
    assert {f"{name}.yaml" for name in RECIPE_NAMES} <= {file.name for file in RECIPES.glob("*.yaml")}


# ---- a step


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A folder with the miniatures of all datasets."""
    return glee_trees(tmp_path_factory.mktemp("trees"))


def linked(trees, folder):
    """The same trees, in a folder to write into."""
    for tree in trees.iterdir():
        (folder / tree.name).symlink_to(tree)
    return folder


@pytest.mark.parametrize("name", recipes("glee_vos", "glee_vis"))
def test_every_dataset_of_a_recipe_gives_a_loss(start, trees, tmp_path, name):
    config = load_glee_config(recipe_file(name), small_run(start, linked(trees, tmp_path)))
    trainer = build_glee_trainer(config)
    mixture = trainer.train_dataset
    terms = {"loss_conf": [each.name for each in config.data.train if each.prompts], "track_loss": []}
    if name == "glee_vis":
        terms["track_loss"] = ["ovis"]
    assert {term for term in trainer._logged_terms() if term in terms} == {term for term in terms if terms[term]}
    starts = dict(zip(mixture.names, [0, *mixture.cumulative_sizes]))
    for part, index in starts.items():
        seen = set()
        for draw in range(6 if name == "glee_stage2" else 2):
            batch = trainer.data_collator([mixture[index + draw * len(mixture)]])
            batch.pop("samples")
            with torch.no_grad():
                output = trainer.model.train()(**batch)
            seen |= set(output.losses)
            assert output.loss.isfinite() and output.losses["loss_ce"] > 0, part
            assert ("dist_loss" in output.losses) == (config.model.distill and batch["task"] == "category"), part
        for term, names in terms.items():
            assert (term in seen) <= (part.split(".")[0] in names), (part, term)


@pytest.mark.parametrize("name", recipes("glee_vis"))
def test_a_recipe_is_stepped_and_exported(start, trees, tmp_path, name):
    trainer, folder = train_from_file(name, small_run(start, linked(trees, tmp_path)))
    assert trainer.state.global_step == 2 and trainer.args.gradient_accumulation_steps == 2
    loaded, before = GLEEForVideoSegmentation.from_pretrained(folder), small_model()
    assert isinstance(GLEEProcessor.from_pretrained(folder), GLEEProcessor)
    moved = {
        name.split(".")[1]
        for name, parameter in before.named_parameters()
        if not torch.equal(parameter, loaded.get_parameter(name))
    }
    has_teacher = name in ("glee_stage2", "glee_scaleup")
    assert {"backbone", "decoder", "pixel_decoder"} <= moved
    assert ("text_encoder" in moved) == has_teacher == loaded.config.text_teacher
    assert ("prompter" in moved) or name != "glee_vos"
    if has_teacher:
        teacher, student = loaded.model.text_encoder.teacher, before.model.text_encoder.student
        for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_a_recipe_steps_the_bundled_model(trees, tmp_path, name):
    trainer, folder = train_from_file(name, small_run("glee-tiny", linked(trees, tmp_path)))
    assert trainer.state.global_step == 2
    assert GLEEForVideoSegmentation.from_pretrained(folder).config.visual_prompter == "full"


@pytest.fixture(scope="module")
def promptless(tmp_path_factory):
    folder = tmp_path_factory.mktemp("promptless")
    small_model(visual_prompter=None).save_pretrained(folder)
    small_processor().save_pretrained(folder)
    return folder


def test_a_model_without_a_prompter_is_one_line(promptless, trees, tmp_path):
    with pytest.raises(ConfigError, match=f"{promptless} takes no visual prompts, .*set model.prompter=true"):
        train_from_file("glee_vos", small_run(promptless, linked(trees, tmp_path)))


def test_a_prompter_of_new_weights_follows_from_the_seed(promptless):
    section = GLEEModelSection(str(promptless), prompter=True)
    one, same, other = (load_model(section, seed).state_dict() for seed in (0, 0, 1))
    name = "model.prompter.crop_projections.0.weight"
    assert torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name])
    fine = small_model(visual_prompter="fine")
    kept = fine.model.prompter.indicator.weight.clone()
    fine.add_visual_prompter()
    assert torch.equal(fine.model.prompter.indicator.weight, kept) and fine.model.prompter.crop_projections


def test_a_teacher_that_is_there_stays(tmp_path):
    model = small_model(text_teacher=True)
    before = {name: value.clone() for name, value in model.model.text_encoder.teacher.named_parameters()}
    with torch.no_grad():
        model.model.text_encoder.student.final_layer_norm.bias += 1.0
    model.add_text_teacher()
    for name, value in model.model.text_encoder.teacher.named_parameters():
        assert torch.equal(value, before[name])


ONE_SET = {"data.train": "[{name: ytvis19, labels: categories, frames: 2, prompts: 1}]"}


@pytest.mark.parametrize("name", ["one set", *recipes()])
def test_a_resumed_run_ends_as_one_that_was_not_broken_off(start, trees, tmp_path, name):
    """Draws, prompts, augmentation, rates and weights go on, to the last bit."""
    more = {"data.augmentation": "small_clip"} if name == "glee_vis" else {}
    more |= {"training.save_steps": 2, "training.lr_drop_steps": "[3]", "training.warmup_steps": 2}
    more |= {"training.max_steps": 4, "training.total_train_batch_size": 1}
    if name == "one set":
        name = "glee_vos"
        more |= {**ONE_SET, "training.save_steps": 1, "training.max_steps": 2, "training.lr_drop_steps": "[1]"}

    def run(resume=None):
        (tmp_path / "model").exists() and (tmp_path / "model").rename(tmp_path / "first")
        return train_from_file(name, small_run(start, tmp_path, **more), resume=resume)[0].model

    linked(trees, tmp_path)
    whole = run()
    again = run(str(tmp_path / "run" / f"checkpoint-{more['training.save_steps']}"))
    for (parameter, ours), theirs in zip(whole.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=parameter)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one set", *recipes()])
def test_two_processes_train_as_one(start, trees, tmp_path, name):
    """The same images per step; noise and points are drawn by each process, so the losses are not quite the same."""
    more = {"training.logging_steps": 1, "training.save_strategy": "no"}
    if name == "one set":
        name, more = "glee_vos", {**more, **ONE_SET}
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        root.mkdir()
        linked(trees, root)
    trainer, _ = train_from_file(name, small_run(start, roots[0], **more))
    one = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    launcher = [*accelerate("multi_cpu.yaml"), "--no_python", COMMAND]
    done = run([*launcher, "train", name, *small_run(start, roots[1], **more)])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert (roots[1] / "model" / "model.safetensors").is_file()
    two = losses(roots[1])
    assert len(two) == 2 and two == pytest.approx(one, rel=0.2)


def test_datasets_that_are_left_out_and_a_share_of_the_others(start, trees, tmp_path):
    names = [each.name for each in load_glee_config(recipe_file("glee_stage2")).data.train]
    videos = ["ytvis19", "ytvis21", "ovis", "refer_youtube_vos"]  # the last row of Table 5
    config = load_glee_config(recipe_file("glee_stage2"), [f"data.without=[{','.join(videos)}]"])
    assert [each.name for each in config.data.train] == [name for name in names if name not in videos]
    more = {"data.train": "[{name: coco, labels: categories}]", "data.share": 0.5}
    config = load_glee_config(recipe_file("glee_stage1"), small_run(start, linked(trees, tmp_path), **more))
    assert len(build_glee_trainer(config).train_dataset) == 1  # of two


def test_a_share_keeps_whole_videos_and_is_part_of_a_larger_one():
    rows = load_object_dataset("motion_shapes", split="train", num_videos=10, num_frames=2, size=32)
    small, large = (part_of_rows(rows, share, seed=0)["video_id"] for share in (0.2, 0.5))
    assert [len(set(small)), len(set(large))] == [2, 5] and set(small) < set(large)
    assert all(list(large).count(video) == list(rows["video_id"]).count(video) for video in set(large))
    assert set(part_of_rows(rows, 0.5, seed=1)["video_id"]) != set(large) and part_of_rows(rows, 1, 0) is rows


# ---- configurations that are wrong


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.augmentation=crop", "data.augmentation must be one of none, shortest_edge, large_scale_jitter"),
        ("data.train.0.labels=names", "data.train.0.labels must be one of categories"),
        ("data.train.0={name: mevis, frames: 2}", "data.train.0 has frames, but is of expressions; set labels"),
        ("data.train.0={name: mevis, masks: false}", "data.train.0 has masks, but is of expressions; set labels"),
        ("data.train.0={name: mevis, num_names: 5}", "data.train.0 has num_names, but is of expressions; set labels"),
        ("data.share=0", "data.share must be more than 0 and at most 1"),
        ("data.without=[coco]", "data.without must be one of objects365, openimages"),
        ("data.without=[objects365,openimages]", "data.without leaves no dataset"),
        ("training.max_steps=0", "training.max_steps is missing"),
        ("model.options={d_modle: 3}", "unknown key model.options.d_modle; did you mean model.options.d_model"),
        ("data.train.0.wieght=3", "did you mean data.train.0.weight"),
    ],
)
def test_wrong_configurations_are_one_line(override, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_glee_config(recipe_file("glee_stage1"), [override])
    assert "\n" not in str(error.value)


PARTS = [
    pytest.param(name, index, id=f"{name}-{dataset.name}-{index}")
    for name in ("glee_scaleup", "glee_vos", "glee_vis")
    for index, dataset in enumerate(load_glee_config(recipe_file(name)).data.train)
]


@pytest.mark.parametrize(("name", "index"), PARTS)
def test_a_missing_dataset_is_named_with_the_remedy(start, tmp_path, name, index):
    dataset = load_glee_config(recipe_file(name)).data.train[index]
    only = f"[{{name: {dataset.name}, labels: {dataset.labels}, options: {dataset.options}}}]"
    with pytest.raises(UserError, match=f"^{dataset.name}: .*(check data_dir|no such)") as error:
        build_glee_trainer(load_glee_config(recipe_file(name), small_run(start, tmp_path, **{"data.train": only})))
    assert "\n" not in str(error.value) and str(error.value).endswith("or take it out of data.train")


def test_all_missing_datasets_are_named_at_once(start, tmp_path):
    with pytest.raises(UserError, match="2 datasets of data.train cannot be read: objects365, openimages") as error:
        train_from_file("glee_stage1", small_run(start, tmp_path))
    assert "\n" not in str(error.value) and not (tmp_path / "model").exists()


def test_the_log_has_the_terms(start, trees, tmp_path):
    more = {"training.logging_steps": 1, "training.save_strategy": "no"}
    trainer, _ = train_from_file("glee_stage1", small_run(start, linked(trees, tmp_path), **more))
    entries = [entry for entry in trainer.state.log_history if "loss_ce" in entry]
    assert len(entries) == 2 and all(entry["loss_mask"] == 0 < entry["loss_bbox"] for entry in entries)
    assert not {"loss_conf", "track_loss", "dist_loss"} & set(entries[0])
    json.dumps(entries)
