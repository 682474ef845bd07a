"""The training of the tiny vision-language model: a step of each stage, resumed, exported and segmented with."""

import json
import runpy
import sys

import numpy as np
import pytest
import torch

from glus_hf import GLUSVLMForVideoSegmentation, GLUSVLMProcessor
from tests.paths import ROOT


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train_tiny_vlm.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "examples" / "train_tiny_vlm.py"), run_name="__main__")


@pytest.mark.slow
def test_both_stages_step_resume_and_export(tmp_path, monkeypatch, examples):
    for stage, more in (("read", []), ("join", ["--start", tmp_path / "read"])):
        for minutes in (0.0001, 0.001):
            run(monkeypatch, "--stage", stage, "--output", tmp_path / stage, "--minutes", minutes, *more)
    steps = json.loads((tmp_path / "join" / "state.json").read_text())["step"]
    assert steps == 1  # the first run took more than the second asked for
    folder = tmp_path / "join" / "model"
    model, processor = GLUSVLMForVideoSegmentation.from_pretrained(folder), GLUSVLMProcessor.from_pretrained(folder)
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    session = processor.init_video_session(frames, "the red circle moving left")
    assert processor.tokenizer.unk_token_id not in session.turn_ids(0, 3)
    assert [output.frame_idx for output in model.eval().propagate_in_video_iterator(session)] == list(range(5))


def test_cells_of_merged_tokens_are_where_they_belong(examples):
    """A head that copies a token's own number says which of the 2 x 2 cells it speaks for."""
    from tiny_vlm import GRID, HIDDEN, MERGE, SIDE, Heads

    heads = Heads()
    head = heads.attributes["size"]
    classes = head.out_features // MERGE**2
    labels = torch.zeros(1, GRID, GRID, dtype=torch.long)
    labels[0, 2, 5] = 1  # in the token of row 1, column 2: its first row, second column
    states = torch.zeros(1, SIDE * SIDE, HIDDEN)
    states[0, 1 * SIDE + 2, 0] = 1
    with torch.no_grad():
        head.weight.zero_()
        head.bias.view(MERGE**2, classes).copy_(torch.eye(classes)[0])
        head.weight.view(MERGE, MERGE, classes, HIDDEN)[0, 1, 1, 0] = 9
        for name in heads.attributes:
            if name != "size":
                heads.attributes[name].weight.zero_()
        _, accuracy = heads.attribute_loss(states, dict.fromkeys(heads.attributes, labels.flatten(1)))
    assert accuracy["size"] == 1.0
