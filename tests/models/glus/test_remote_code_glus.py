"""A folder of GLUS pushed with its code: it runs where glus_hf is not installed, and is as strict there."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from glus_hf import GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.data.motion_shapes import generate_clip
from tests.warm_python import warm_python


CLIP = generate_clip(0, split="test", size=64, num_frames=6)
TEXTS = [expression.text for expression in CLIP.expressions[:2]]
LOST = "model.mask_model.no_memory_embedding"
SAVE = """
import sys
from glus_hf import GLUSConfig, GLUSForVideoSegmentation, GLUSProcessor
GLUSConfig.register_for_auto_class("AutoConfig")
GLUSForVideoSegmentation.register_for_auto_class("AutoModel")
GLUSProcessor.register_for_auto_class("AutoProcessor")
for kind in (GLUSForVideoSegmentation, GLUSProcessor):
    kind.from_pretrained("glus-tiny").save_pretrained(sys.argv[1])
"""
WITHOUT_THE_PACKAGE = """
import sys
for name in ("glus_hf", "av", "datasets", "pycocotools", "typer"):
    sys.modules[name] = None  # not installed
import numpy as np
import torch
from transformers import AutoModel, AutoProcessor
"""
LOAD = """
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
assert "transformers_modules" in type(model).__module__ and "transformers_modules" in type(processor).__module__
session = processor.init_video_session(np.load(sys.argv[2]), sys.argv[4:])
outputs = list(model.propagate_in_video_iterator(session, key_frame=2))
assert [output.frame_idx for output in outputs] == [2, 3, 4, 5, 1, 0]
np.save(sys.argv[3], torch.stack([output.mask_logits for output in outputs]).numpy())
"""
REFUSED = """
import json
def report(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ValueError as error:
        print(json.dumps({"types": [kind.__name__ for kind in type(error).__mro__], "message": str(error)}))
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
report(AutoModel.from_pretrained, sys.argv[1], trust_remote_code=True)
report(processor.init_video_session, "clip.mp4", "the red circle")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Standard output of code in a fresh process with its own folder for remote code."""
    modules = tmp_path_factory.mktemp("modules")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_MODULES_CACHE": str(modules)}

    def in_new_process(code, *arguments):
        call = [*warm_python(), "-c", code, *map(str, arguments)]
        done = subprocess.run(call, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return in_new_process


@pytest.fixture(scope="module")
def pushed(run, tmp_path_factory):
    """The folder of glus-tiny with weights and code."""
    folder = tmp_path_factory.mktemp("pushed")
    run(SAVE, folder)
    return folder


def test_the_code_lies_flat_beside_the_weights(pushed):
    assert not [path for path in pushed.iterdir() if path.is_dir()]
    names = {path.name for path in pushed.glob("*.py")}
    assert {"modeling_glus.py", "processing_glus.py", "sessions.py", "checkpoint_loading.py", "errors.py"} <= names
    assert not [name for name in names if "selector" in name or "convert" in name]
    for path in pushed.glob("*.py"):
        assert "from .." not in path.read_text(), path.name
    auto_map = json.loads((pushed / "config.json").read_text())["auto_map"]
    assert auto_map["AutoModel"] == "modeling_glus.GLUSForVideoSegmentation"


def test_masks_are_those_of_the_package(run, pushed, tmp_path):
    np.save(tmp_path / "frames.npy", CLIP.frames)
    run(WITHOUT_THE_PACKAGE + LOAD, pushed, tmp_path / "frames.npy", tmp_path / "logits.npy", *TEXTS)
    session = GLUSProcessor.from_pretrained("glus-tiny").init_video_session(CLIP.frames, TEXTS)
    model = GLUSForVideoSegmentation.from_pretrained("glus-tiny")
    outputs = list(model.propagate_in_video_iterator(session, key_frame=2))
    expected = torch.stack([output.mask_logits for output in outputs]).numpy()
    assert expected.shape == (6, 2, 64, 64) and 0 < (expected > 0).mean() < 0.5
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=0, atol=1e-4)


def test_errors_are_those_of_the_package(run, pushed, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for path in pushed.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    del weights[LOST]
    save_file({**weights, "extra": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    found = [json.loads(line) for line in run(WITHOUT_THE_PACKAGE + REFUSED, folder).splitlines()]
    assert [each["types"][:2] for each in found] == [["CheckpointError", "UserError"], ["UserError", "ValueError"]]
    assert f"1 missing ({LOST}); 1 unexpected (extra)" in found[0]["message"]
    assert "pip install glus-hf, or pass frames" in found[1]["message"]
