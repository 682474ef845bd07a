"""The training of the tiny vision-language model: its packed prompts; a step of each stage, resumed and exported."""

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


@pytest.mark.parametrize("window", [1, 2])
def test_packed_prompts_read_as_alone(examples, window):
    """Every [SEG] state equals that of its own prompt: what the training learns is what inference reads."""
    from tiny_vlm import build_vlm
    from tiny_vlm_read import pack, read, sample_vlm_batch

    model, processor = build_vlm()
    batch = sample_vlm_batch(np.random.default_rng(0), processor, clips=2, expressions=3, window=window)
    with torch.no_grad():
        videos = [model.reader.encode_frames(pixels) for pixels in batch.inputs["frame_pixels"]]
        states, known, attention = read(model, pack(model, batch.inputs, videos, window), videos)
        alone = model(
            **{name: batch.inputs[name] for name in ("input_ids", "frame_pixels", "attention_mask")},
            expressions_per_video=[3, 3],
        ).seg_embeddings
        projected = model.seg_projection(states[..., -1, :])
    assert (projected.flatten(0, 1) - alone).abs().max() < 1e-5
    assert known.shape == (2 * (5 + 3 * (window - 1)) * 64, 128)
    torch.testing.assert_close(attention.exp().sum(-1), torch.ones(attention.shape[:-1]))
