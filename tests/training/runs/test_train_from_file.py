"""Recipes: every one runs a step, and what documentation prints about them fits."""

import re
from dataclasses import asdict

import pytest

from glus_hf.errors import ConfigError
from glus_hf.training.glee_run import load_glee_config
from glus_hf.training.glus_run_config import load_run_config
from glus_hf.training.runs.train_from_file import RECIPES, recipe_file, train_from_file
from glus_hf.training.selector_run import load_selector_config
from tests.paths import ROOT


OTHERS = {"selector": load_selector_config, "glee": load_glee_config}  # those of the other trainers
CONFIGS = sorted(file for file in RECIPES.glob("*.yaml") if not file.stem.startswith(tuple(OTHERS)))


def test_there_are_configurations():
    assert {file.stem for file in CONFIGS} == {
        "glus_s",
        "glus_a",
        "glus_s_paper",
        "glus_a_paper",
        "finetune_lora_24gb",
        "glus_internvl_1b",
        "glus_qwen3vl_2b",
        "glus_smolvlm2_500m",
        "tiny",
    }


def test_the_recipes_are_those_of_the_paper():
    small, large = (load_run_config(RECIPES / f"glus_{name}.yaml") for name in "sa")
    assert [(dataset.name, dataset.weight) for dataset in small.data.train] == [("mevis", 1), ("refer_youtube_vos", 1)]
    weights = {dataset.name: dataset.weight for dataset in large.data.train}
    assert weights == {"mevis": 40, "refer_youtube_vos": 150, "ref_davis17": 4, "revos": 30, "lvvis": 30}
    assert (small.training["contrastive_loss_weight"], large.training["contrastive_loss_weight"]) == (0.1, 0.0)
    assert (small.training["max_steps"], large.training["max_steps"]) == (3000, 5000)


def test_the_papers_own_recipes_differ_from_the_codes_where_the_docs_say_so():
    """Key by key, as the table of docs/training.md lists them."""
    assert differences(load_run_config, "glus_s") == {
        "model.pretrained": ("checkpoints/glus-7b-start", "checkpoints/glus-7b-start-lisa"),
        "model.compat": (None, "paper"),
        "data.mask_overlap": ("sum", "union"),
        "training.embedding_training": ("full", "frozen"),
        "training.contrastive_negatives": ("upstream", "batch"),
        "training.contrastive_datasets": (["mevis"], None),
    }
    assert differences(load_run_config, "glus_a") == {
        "model.pretrained": ("checkpoints/glus-7b-start", "checkpoints/glus-7b-start-lisa"),
        "model.compat": (None, "paper"),
        "data.mask_overlap": ("sum", "union"),
        "training.max_steps": (5000, 3000),
        "training.embedding_training": ("full", "frozen"),
        "training.contrastive_loss_weight": (0.0, 0.1),
    }
    assert differences(load_selector_config, "selector") == {
        "data.context_frames": ([8, 12], [8, 8]),
        "data.target_frame": ("context", "apart"),
        "training.embedding_training": ("full", "frozen"),
    }
    page = (ROOT / "docs" / "training.md").read_text()
    for name in ("glus_s", "glus_a", "selector"):
        load = load_selector_config if name == "selector" else load_run_config
        assert all(f"`{key.split('.')[1]}`" in page for key in differences(load, name))


def differences(load, name: str) -> dict:
    """Keys whose values differ in the recipes of code and paper; names of output folders aside."""
    code, paper = (flat(asdict(load(RECIPES / f"{file}.yaml"))) for file in (name, f"{name}_paper"))
    keys = sorted({*code, *paper} - {"training.output_dir", "export"})
    return {key: (code.get(key), paper.get(key)) for key in keys if code.get(key) != paper.get(key)}


def flat(sections: dict) -> dict:
    return {
        f"{name}.{key}" if isinstance(section, dict) else name: value
        for name, section in sections.items()
        for key, value in (section if isinstance(section, dict) else {name: section}).items()
    }


def printed_commands(file) -> list[list[str]]:
    """Recipe (or file) and overrides wherever a file prints how to train; `mine.yaml` is the reader's own."""
    lines = file.read_text().replace("\n#", "\n").replace("\\\n", " ").splitlines()
    commands = [re.split(r"glus-hf train |examples/train.py ", line, maxsplit=1)[1:] for line in lines]
    words = [re.split("[#`]", command[0])[0].split() for command in commands if command]
    return [
        (name, *[word for word in rest if "=" in word])
        for name, *rest in words
        if name.islower() and name != "mine.yaml"
    ]


def test_printed_commands_fit_their_configurations():
    printed = {}
    for folder in ("docs", "examples/accelerate", "src/glus_hf/training/recipes"):
        for file in sorted((ROOT / folder).iterdir()):
            for name, *overrides in printed_commands(file) if file.suffix in (".md", ".yaml") else ():
                load = OTHERS.get(name.partition("_")[0], load_run_config)
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


def test_an_unknown_recipe_and_a_model_without_training_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match="^glus_b: there is no such file; [^\n]* recipes finetune_lora_24gb, "):
        recipe_file("glus_b")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(
        ConfigError, match="other is a 'llama' model; training starts from glus or glus_vlm or glus_selector or glee$"
    ):
        train_from_file("tiny", [f"model.pretrained={tmp_path / 'other'}"])
