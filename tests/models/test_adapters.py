"""Checkpoints of training and other adapters load as models, with the options of their run, here and elsewhere."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

import glus_hf
from glus_hf import (
    AutoModelForReferringVideoSegmentation,
    CheckpointError,
    GLUSForVideoSegmentation,
    GLUSProcessor,
    GLUSSelector,
    GLUSTrainer,
    GLUSTrainingArguments,
)
from glus_hf.hub import packaged_folder
from glus_hf.training.samples.collators import GLUSCollator
from glus_hf.training.selector_trainer import prepare_selector
from tests.paths import ROOT
from tests.training.small_training import QUICK, videos
from tests.warm_python import warm_python


def logits(model) -> torch.Tensor:
    """Masks of two samples, to compare models by."""
    processor = GLUSProcessor.from_pretrained("glus-tiny")
    data = videos(num_query_frames=processor.num_query_frames)
    batch = GLUSCollator(processor)([data[0], data[3]])
    model.pack_expressions(False)  # as a model that is loaded reads them
    with torch.no_grad():
        return torch.cat([masks.flatten() for masks in model.eval()(**batch).mask_logits])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run from the alias glus-tiny, and the masks of what it trained."""
    folder, processor = tmp_path_factory.mktemp("runs") / "run", GLUSProcessor.from_pretrained("glus-tiny")
    model = GLUSForVideoSegmentation.from_pretrained("glus-tiny", memory_stride=2)
    options = {"learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 2}
    args = GLUSTrainingArguments(str(folder), **{**QUICK, **options})
    data = videos(num_query_frames=processor.num_query_frames)
    trainer = GLUSTrainer(model, args, train_dataset=data, processing_class=processor)
    trainer.train()
    trainer.save_model(str(folder / "adapter"))
    return folder, logits(trainer.model)


@pytest.mark.parametrize("name", ["checkpoint-2", "adapter"])
def test_a_run_from_an_alias_loads_everywhere(run, tmp_path, monkeypatch, name):
    folder, trained = run
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, tmp_path / "run")
    base = GLUSForVideoSegmentation.from_pretrained("glus-tiny", memory_stride=2)
    assert (logits(base) - trained).abs().max() > 1
    loaded = GLUSForVideoSegmentation.from_pretrained(f"run/{name}")
    assert type(loaded) is GLUSForVideoSegmentation and loaded.config.memory_stride == 2
    torch.testing.assert_close(logits(loaded), trained, rtol=0, atol=1e-3)
    pipe = glus_hf.pipeline(model=f"run/{name}")
    assert pipe(videos()[0]["frames"], "the red circle")["masks"].shape == (8, 64, 64)
    torch.testing.assert_close(logits(pipe.model), trained, rtol=0, atol=1e-3)
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, f"run/{name}")), trained, rtol=0, atol=1e-5)
    assert type(AutoModelForReferringVideoSegmentation.from_pretrained(f"run/{name}")) is GLUSForVideoSegmentation


@pytest.mark.parametrize("name", ["checkpoint-2", "adapter"])
def test_a_run_names_the_alias_and_no_folder_of_this_machine(run, name):
    folder = run[0] / name
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "glus-tiny"
    here = str(packaged_folder("glus-tiny"))
    texts = [file.read_text() for suffix in ("json", "md") for file in folder.glob(f"*.{suffix}")]
    assert len(texts) >= 3 and not any(here in text for text in texts)
    assert not (folder / "README.md").exists()  # the form of peft


@pytest.mark.slow
def test_a_run_loads_on_another_machine(run, tmp_path):
    """Another home, another cache, another copy of the package."""
    package = shutil.copytree(ROOT / "src" / "glus_hf", tmp_path / "packages" / "glus_hf")
    shutil.copytree(ROOT / "datasets_scripts", package / "datasets_scripts")
    shutil.copytree(run[0], tmp_path / "work" / "run")
    code = (
        "import glus_hf; print(glus_hf.__file__); from glus_hf import GLUSForVideoSegmentation as Model\n"
        "print(glus_hf.pipeline(model='run/adapter').model.config.memory_stride)\n"
        "print(Model.from_pretrained('run/checkpoint-2').config.memory_stride)\n"
    )
    home = {"HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "home" / "hf"), "HF_HUB_OFFLINE": "1"}
    paths = os.pathsep.join([str(tmp_path / "packages"), *(path for path in sys.path if "packages" in path)])
    environment = {**os.environ, **home, "PYTHONPATH": paths}
    command = [*warm_python(), "-c", code]
    done = subprocess.run(command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(package / "__init__.py"), "2", "2"], done.stderr


def test_a_selector_names_its_alias_and_loads(tmp_path):
    model = GLUSSelector.from_pretrained("glus-selector-tiny")
    assert model.name_or_path == "glus-selector-tiny"
    adapted = prepare_selector(model)
    with torch.no_grad():
        adapted.base_model.model.score_head.modules_to_save["default"].get_parameter("0.weight").add_(1.0)
    adapted.save_pretrained(tmp_path)
    assert (
        json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "glus-selector-tiny"
    )
    loaded = GLUSSelector.from_pretrained(tmp_path)
    fresh = GLUSSelector.from_pretrained("glus-selector-tiny")
    difference = loaded.score_head.get_parameter("0.weight") - fresh.score_head.get_parameter("0.weight")
    torch.testing.assert_close(difference, torch.ones_like(difference))


def test_what_is_wrong_is_one_line(run, tmp_path):
    for number, (file, content, message) in enumerate(
        [
            ("adapter_config.json", "{}", "does not name the model it was trained on; load that model"),
            ("adapter_config.json", "[" * 200_000, "adapter_config.json: cannot be read"),
            ("adapter_config.json", '{"base_model_name_or_path": "glus-tiny", "r": "x"}', "its rank is 'x'"),
            ("adapter_model.safetensors", "no tensors", "its weights are damaged"),
            ("base_config.json", "[]", "base_config.json: cannot be read (is no JSON object)"),
        ]
    ):
        folder = shutil.copytree(run[0] / "adapter", tmp_path / str(number))
        (folder / file).write_text(content)
        with pytest.raises(CheckpointError, match=f"^[^\n]*{re.escape(message)}[^\n]*$"):
            GLUSForVideoSegmentation.from_pretrained(folder)


def test_a_missing_tensor_is_not_passed_over(run, tmp_path):
    folder = shutil.copytree(run[0] / "adapter", tmp_path / "adapter")
    tensors = load_file(folder / "adapter_model.safetensors")
    del tensors[next(name for name in tensors if "lora_A" in name)]
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="^[^\n]*1 tensors are missing, unexpected or of another shape"):
        GLUSForVideoSegmentation.from_pretrained(folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no adapter_model.safetensors; copy the checkpoint again$"):
        GLUSForVideoSegmentation.from_pretrained(folder)


def test_a_selector_is_no_video_model(tmp_path):
    prepare_selector(GLUSSelector.from_pretrained("glus-selector-tiny")).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="^[^\n]*$"):
        glus_hf.pipeline(model=str(tmp_path))
