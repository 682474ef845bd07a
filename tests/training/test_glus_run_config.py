"""Configuration files: every recipe runs a step, and what is wrong is said in one line."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from glus_hf import GLUSConfig, GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.errors import ConfigError
from glus_hf.training.glus_run import build_trainer, training_set
from glus_hf.training.glus_run_config import load_run_config
from glus_hf.training.runs.run_folders import check_run_folders
from glus_hf.training.runs.train_from_file import RECIPES, recipe_file
from glus_hf.training.selector_run import load_selector_config
from tests.models.glus.small_glus import small_processor
from tests.paths import ROOT
from tests.training.small_training import history, saved_model


CONFIGS = sorted(
    file for file in RECIPES.glob("*.yaml") if not file.stem.startswith("selector")
)  # those of the other trainer
TREES = ROOT / "tests" / "fixtures" / "datasets"
OWN = TREES / "own"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("base"))


def small_run(base, tmp_path) -> list[str]:
    """Overrides that make a run small and keep all else."""
    return [
        f"model.pretrained={base}",
        f"data.root={TREES}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"training.output_dir={tmp_path / 'run'}",
        "training.total_train_batch_size=2",
        "training.per_device_train_batch_size=1",
        "training.max_steps=1",
        "training.eval_steps=1",
        "training.save_steps=1",
        "training.logging_steps=1",
        "training.dataloader_num_workers=0",
        "training.use_cpu=true",
        "training.disable_tqdm=true",
    ]


def test_there_are_configurations():
    assert {file.stem for file in CONFIGS} == {"glus_s", "glus_a", "finetune_lora_24gb", "tiny"}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_configuration_runs_a_step(tmp_path, base, file):
    overrides = small_run(base, tmp_path) + [f"export={tmp_path / 'model'}"]
    if file.stem == "finetune_lora_24gb":  # own data: here the layout of the MeViS miniature, by its own builder
        overrides += ["data.train.0.name=mevis", "data.train.0.data_dir=null"]
        overrides += ["validation.name=mevis", "validation.data_dir=null", "validation.split=valid_u"]
    if file.stem == "tiny":
        overrides += ["data.train.0.options.num_videos=4", "validation.options.num_videos=1"]
    else:
        overrides += ["validation.max_videos=1", "training.dataloader_drop_last=false"]
        if file.stem == "finetune_lora_24gb":
            overrides += ["training.total_train_batch_size=1"]
        else:
            overrides += ["data.samples_per_epoch=4"]
    config = load_run_config(file, overrides)
    trainer = build_trainer(config)
    trainer.train()
    assert len(history(trainer)) == 1 and len(history(trainer, "eval_J&F")) == 1
    assert (tmp_path / "run" / "checkpoint-1" / "adapter_model.safetensors").is_file()
    assert (trainer.export(config.export) / "model.safetensors").is_file()


def test_the_recipes_are_those_of_the_paper():
    small, large = (load_run_config(RECIPES / f"glus_{name}.yaml") for name in "sa")
    assert [(dataset.name, dataset.weight) for dataset in small.data.train] == [("mevis", 1), ("refer_youtube_vos", 1)]
    weights = {dataset.name: dataset.weight for dataset in large.data.train}
    assert weights == {"mevis": 40, "refer_youtube_vos": 150, "ref_davis17": 4, "revos": 30, "lvvis": 30}
    assert (small.training["contrastive_loss_weight"], large.training["contrastive_loss_weight"]) == (0.1, 0.0)
    assert (small.training["max_steps"], large.training["max_steps"]) == (3000, 5000)


def printed_commands(file) -> list[list[str]]:
    """Recipe (or file) and overrides wherever a file prints how to train."""
    lines = file.read_text().replace("\n#", "\n").replace("\\\n", " ").splitlines()
    commands = [re.split(r"glus-hf train |examples/train.py ", line, maxsplit=1)[1:] for line in lines]
    words = [command[0].partition("#")[0].split() for command in commands if command]
    return [(name, *[word for word in rest if "=" in word]) for name, *rest in words if name.islower()]


def test_printed_commands_fit_their_configurations():
    printed = {}
    for folder in ("docs", "examples/accelerate", "src/glus_hf/training/recipes"):
        for file in sorted((ROOT / folder).iterdir()):
            for name, *overrides in printed_commands(file) if file.suffix in (".md", ".yaml") else ():
                load = load_selector_config if name.startswith("selector") else load_run_config
                printed[file.name, name] = load(recipe_file(name), overrides)
    own, fsdp = printed["own-data.md", "finetune_lora_24gb"], printed["fsdp2.yaml", "glus_s"]
    assert own.data.train[0].data_dir == own.validation.data_dir == "clips"
    assert (fsdp.model.dtype, fsdp.validation.max_videos) == ("float32", 0)
    start = load_run_config(RECIPES / "glus_s.yaml").model.pretrained
    assert f"--output {start}\n" in (ROOT / "docs" / "convert.md").read_text()


def test_runs_of_tiny_do_not_share_a_folder():
    tiny = load_run_config(RECIPES / "tiny.yaml")
    script = (ROOT / "examples" / "train_tiny.sh").read_text()
    assert f"{tiny.training['output_dir']}}}" not in script and "runs/tiny}" in script
    assert tiny.export.startswith(f"{tiny.training['output_dir']}/")


def test_mixture_samples_by_weight(tmp_path):
    file = write(tmp_path, {"data": {"train": [clips(4, seed=0, weight=3), clips(4, seed=1, weight=1)]}})
    config = load_run_config(file, [f"data.cache_dir={tmp_path / 'cache'}", "data.samples_per_epoch=400"])
    mixture = training_set(config, small_processor(), seed=0)
    sampled = [mixture.sample_video(index)[0] for index in range(400)]
    assert len(mixture) == 400 and 270 < sampled.count("motion_shapes") < 330


# ---- wrong configurations


def clips(num_videos, seed=0, weight=1):
    options = {"num_videos": num_videos, "seed": seed, "size": 64, "num_frames": 8}
    return {"name": "motion_shapes", "weight": weight, "options": options}


def write(folder, content) -> Path:
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


DATA = {"data": {"train": [{"name": "motion_shapes"}]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"modle": {}}, "unknown key modle; did you mean model?"),
        ({"training": {"learning_rte": 1}}, "unknown key training.learning_rte; did you mean training.learning_rate?"),
        ({"training": {"lora_rnk": 1}}, "unknown key training.lora_rnk; did you mean training.lora_rank?"),
        ({"learning_rate": 1}, "unknown key learning_rate; did you mean training.learning_rate?"),
        ({"model": {"max_steps": 1}}, "unknown key model.max_steps; did you mean training.max_steps?"),
        ({"data": {"train": [{"nam": "mevis"}]}}, "unknown key data.train.0.nam; did you mean data.train.0.name?"),
        ({"model": {"zzz": 1}}, "unknown key model.zzz; valid keys are pretrained, dtype"),
        ({"training": {"zzz": 1}}, "unknown key training.zzz; valid keys nearest to it are "),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate must be a number, got 'fast'"),
        ({"training": {"max_steps": True}}, "training.max_steps must be a number, got True"),
        ({"training": {"bf16": "yes please"}}, "training.bf16 must be true or false, got 'yes please'"),
        ({"training": [1]}, "training must be keys with values"),
        ({"data": {"train": {"name": "mevis"}}}, "data.train must be a list of datasets"),
        ({"data": {"train": [{"split": "train"}]}}, "data.train.0 has no name"),
        ({"model": {"dtype": "int8"}}, "model.dtype must be one of float32, bfloat16, float16, got 'int8'"),
        ({"data": {}}, "data.train is empty"),
        ({"training": {"max_steps": 1.5}}, "training.max_steps must be a whole number, got 1.5"),
        ({"training": {"seed": float("inf")}}, "training.seed must be a whole number, got inf"),
        ({"training": {"max_steps": None}}, "training.max_steps must be a number, got None"),
        ({"training": {"lora_targets": 5}}, "training.lora_targets must be a list, got 5"),
        ({"training": {"lora_targets": [5]}}, "training.lora_targets must be a list of texts, got [5]"),
        ({"training": {"report_to": 5}}, "training.report_to must be text or a list, got 5"),
        ({"training": {"output_dir": 5}}, "training.output_dir must be text, got 5"),
        ({"training": {"output_dir": None}}, "training.output_dir is missing"),
        ({"export": 5}, "export must be text, got 5"),
        ({"model": {"pretrained": 5}}, "model.pretrained must be text, got 5"),
        ({"model": {"pretrained": ""}}, "model.pretrained is missing"),
        ({"model": {"options": 5}}, "model.options must be keys with values, got 5"),
        ({"model": {"options": {"num_maskmmem": 0}}}, "unknown key model.options.num_maskmmem; did you mean model."),
        ({"model": {"options": {"num_maskmem": -1}}}, "model.options.num_maskmem must be a whole number, 0 or more"),
        (
            {"model": {"options": {"num_query_frames": 0}}},
            "model.options.num_query_frames must be a whole number, 1 or",
        ),
        ({"validation": {"max_videos": -1}}, "validation.max_videos must be a whole number, 0 or more, got -1"),
        ({"data": {**DATA["data"], "mask_overlap": "foo"}}, "data.mask_overlap must be one of union, sum, got 'foo'"),
        ({"model": {"attn_implementation": "foo"}}, "model.attn_implementation must be one of null, sdpa, eager, "),
        ({"data": {"train": [{"name": "mevis", "weight": 0}]}}, "data.train.0.weight must be more than 0, got 0"),
        ({"data": {**DATA["data"], "samples_per_epoch": 0}}, "data.samples_per_epoch must be 1 or more, got 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, content, message):
    file = write(tmp_path, {**DATA, **content})
    with pytest.raises(ConfigError) as caught:
        load_run_config(file)
    assert str(caught.value).startswith(f"{file}: {message}") and "\n" not in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        load_run_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\nb: 2")
    with pytest.raises(ConfigError, match=r"cannot be read as YAML \([^\n]*$"):
        load_run_config(tmp_path / "broken.yaml")
    (tmp_path / "text.yaml").write_text("a text")
    with pytest.raises(ConfigError, match="the file must be keys with values, got 'a text'"):
        load_run_config(tmp_path / "text.yaml", ["model.dtype=float32"])


def test_numbers_without_a_point(tmp_path):
    """YAML takes 3e-4 for text."""
    file = write(tmp_path, {**DATA, "training": {"learning_rate": "3e-4", "max_steps": "7"}})
    assert load_run_config(file, ["training.warmup_steps=1e1"]).training == {
        "learning_rate": 3e-4,
        "max_steps": 7,
        "warmup_steps": 10.0,
    }


def test_fields_of_several_kinds(tmp_path):
    training = {"report_to": ["none"], "lr_scheduler_kwargs": {"a": 1}, "run_name": None, "max_steps": 1e3}
    assert load_run_config(write(tmp_path, {**DATA, "training": training})).training == training


def test_a_bare_no_is_a_strategy(tmp_path):
    """YAML takes no for false."""
    file = write(tmp_path, DATA)
    config = load_run_config(file, ["training.eval_strategy=no", "training.save_strategy=steps", "training.bf16=no"])
    assert config.training == {"eval_strategy": "no", "save_strategy": "steps", "bf16": False}


def test_overrides(tmp_path):
    file = write(tmp_path, DATA)
    config = load_run_config(file, ["data.train.0.weight=2", "model.options.num_maskmem=0", "export=out"])
    assert (config.data.train[0].weight, config.model.options, config.export) == (2, {"num_maskmem": 0}, "out")
    for wrong in ("max_steps", "data.train.3.weight=1", "data.train.x=1", "training.lernrate=1", "export=[1", "=1"):
        with pytest.raises(ConfigError):
            load_run_config(file, [wrong])


def test_validation_without_a_data_set(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}})
    config = load_run_config(file, [*small_run(base, tmp_path), "training.eval_strategy=steps"])
    with pytest.raises(ConfigError, match="set validation.name"):
        build_trainer(config)


def test_early_stopping_needs_segmented_videos(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}, "validation": clips(1)})
    options = ["validation.split=train", "training.eval_strategy=steps", "training.early_stopping_patience=1"]
    config = load_run_config(file, [*small_run(base, tmp_path), *options, "validation.max_videos=0"])
    with pytest.raises(ConfigError, match="^training.metric_for_best_model is J&F [^\n]*; set validation.name and"):
        build_trainer(config)


def test_the_contrastive_loss_needs_data_sets_of_the_run(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}})
    overrides = [*small_run(base, tmp_path), "training.contrastive_datasets=[motion_shapes, mevs]"]
    with pytest.raises(
        ConfigError, match="^training.contrastive_datasets names mevs, [^\n]* trains on motion_shapes; "
    ):
        build_trainer(load_run_config(file, overrides))
    build_trainer(load_run_config(file, [*overrides, "training.contrastive_loss_weight=0"]))


def test_numbers_of_frames_reach_the_processor(tmp_path, base):
    """What is trained is what inference reads."""
    file = write(tmp_path, {"data": {"train": [clips(2)]}})
    options = ["model.options.num_query_frames=2", "model.options.num_context_frames=3"]
    trainer = build_trainer(load_run_config(file, [*small_run(base, tmp_path), *options]))
    assert len(trainer.train_dataset[0]["frames"]) == 5
    folder = trainer.export(tmp_path / "model")
    config, processor = GLUSConfig.from_pretrained(folder), GLUSProcessor.from_pretrained(folder)
    for found in (config, processor, trainer.processing_class):
        assert (found.num_context_frames, found.num_query_frames) == (3, 2)


def test_an_unknown_protocol_is_refused_before_training(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}, "validation": clips(1)})
    config = load_run_config(file, [*small_run(base, tmp_path), "validation.split=train", "validation.protocol=foo"])
    with pytest.raises(ValueError, match="^protocol 'foo' is unknown; use one of [^\n]*$"):
        build_trainer(config)


def test_folders_are_checked_before_training(tmp_path):
    file = write(tmp_path, DATA)
    (tmp_path / "file").touch()
    (tmp_path / "old" / "checkpoint-7").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()

    def check(output, export=None, resume=None):
        overrides = [f"training.output_dir={tmp_path / output}"] + ([f"export={tmp_path / export}"] if export else [])
        check_run_folders(load_run_config(file, overrides), resume)

    for wrong, message in {
        ("old",): "old: holds checkpoints of an earlier run; pass --resume [^\n]*$",
        ("file",): "file: is a file; choose another training.output_dir",
        ("new", "model"): "model: is not empty; choose a new folder [^\n]*; set export= or --export",
        ("old", "model", True): "model: is not empty",
        ("new", "file"): "file: is a file; choose a new folder",
    }.items():
        with pytest.raises(ConfigError, match=message):
            check(*wrong)
    check("new")
    check("model", "model/inside")
    check("old", resume=True)


def test_four_bits_need_bitsandbytes(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}})
    config = load_run_config(file, [*small_run(base, tmp_path), "model.quantization=4bit"])
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install bitsandbytes"):
            build_trainer(config)
        return
    trainer = build_trainer(config)
    linear = [name for name, module in trainer.model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert linear and all(".language_model.layers." in name for name in linear)
    trainer.train()
    exported = GLUSForVideoSegmentation.from_pretrained(trainer.export(tmp_path / "model"))
    assert exported.dtype == torch.float32 and not hasattr(exported.config, "quantization_config")
