"""The tiny plain SAM-2: its batched pass is the loop of transformers, and its training resumes."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import Sam2VideoModel

from glus_hf.data.motion_shapes import generate_clip
from glus_hf.inference.sam2_propagation import Sam2Propagation, load_sam2
from glus_hf.metrics.j_and_f import j_and_f
from glus_hf.models.sam2_tracking import encode_frame, start_tracking_mask, track_frame
from tests.models.tiny_family import TinyConfig, TinyForVideoSegmentation
from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

from propagation_table import carry_true_masks, markdown, measure, true_masks  # noqa: E402
from tiny_sam2 import SIDE, Features, build_tiny_sam2, follow, sample_clips, shown  # noqa: E402


@pytest.fixture(scope="module")
def model() -> Sam2VideoModel:
    built = build_tiny_sam2().eval()
    with torch.no_grad():  # zero at first: neither times nor absence would matter
        built.memory_temporal_positional_encoding.normal_(std=0.5)
        built.occlusion_spatial_embedding_parameter.normal_()
        built.no_object_pointer.normal_()
    return built


@torch.no_grad()
def loop_of_transformers(model, pixels, mask):
    sam, found = start_tracking_mask(model, mask > 0), []
    for position, frame in enumerate(pixels):
        found.append(track_frame(model, sam, encode_frame(model, frame[None]), frame[None], position))
    logits, scores = zip(*found[1:], strict=True)
    return torch.stack(logits), torch.stack(scores)


def test_all_objects_at_once_are_followed_as_transformers_follows_one(model):
    """Ten frames: more than the seven memories. Some objects are taken for absent on the way, others are not."""
    pixels, targets, owner, _ = sample_clips(np.random.default_rng(3), clips=2, objects=2, frames=10)
    with torch.no_grad():
        logits, scores = follow(model, Features(model, pixels), targets[:, 0], owner)
        middle = scores.median()
        model.mask_decoder.pred_obj_score_head.proj_out.bias -= middle
        logits, scores = follow(model, Features(model, pixels), targets[:, 0], owner)
    assert (scores > 0).any() and (scores <= 0).any()
    for number, clip in enumerate(owner):
        expected, expected_scores = loop_of_transformers(model, pixels[clip], targets[number, 0])
        torch.testing.assert_close(scores[number], expected_scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(shown(logits[number], scores[number, :, None]), expected, atol=2e-4, rtol=0)


def test_the_loss_reaches_memory_pointers_and_first_frame():
    fresh = build_tiny_sam2()
    with torch.no_grad():
        fresh.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    pixels, targets, owner, _ = sample_clips(np.random.default_rng(0), clips=1, objects=2, frames=4)
    logits, scores = follow(fresh, Features(fresh, pixels), targets[:, 0], owner)
    (logits.square().mean() + scores.mean()).backward()
    parts = ("memory_encoder", "memory_attention", "object_pointer_proj", "mask_downsample", "vision_encoder")
    for part in parts:
        gradients = [each.grad for each in getattr(fresh, part).parameters() if each.grad is not None]
        assert sum(gradient.abs().sum() for gradient in gradients) > 0, part


def test_clips_show_their_objects_first_and_lose_some():
    rng, absent = np.random.default_rng(0), 0
    for _ in range(6):
        pixels, targets, owner, objects = sample_clips(rng, clips=2, objects=3, frames=6)
        assert pixels.shape == (2, 6, 3, SIDE, SIDE) and targets.shape == (6, 6, SIDE, SIDE)
        assert owner.tolist() == [0, 0, 0, 1, 1, 1]
        assert targets[:, 0].any(-1).any(-1).all()  # what is given is there
        assert (targets <= objects[owner]).all()
        absent += int((~targets.any(-1).any(-1)).sum())
    assert absent > 0


def test_the_baseline_takes_it(tmp_path, model):
    model.save_pretrained(tmp_path)
    loaded = load_sam2(str(tmp_path))
    own = TinyForVideoSegmentation(TinyConfig(brightness=127)).eval()
    assert Sam2Propagation(own, loaded).mask_model.config.num_maskmem == 7
    assert sum(each.numel() for each in loaded.parameters()) < 3e6


def test_the_table_measures_what_a_perfect_key_frame_gives(model):
    """A SAM-2 that forgets everything but the given frame: right there, empty elsewhere."""
    blind = copy.deepcopy(model)
    with torch.no_grad():
        blind.mask_decoder.pred_obj_score_head.proj_out.weight.zero_()
        blind.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(-5.0)
    clip = generate_clip(0, size=64, num_frames=4, num_expressions=3)
    found, truth = carry_true_masks(blind, clip), true_masks(clip)
    for masks, wanted in zip(found, truth, strict=True):
        shows = np.flatnonzero(wanted.any((1, 2)))
        first = shows[0] if len(shows) else 0
        assert j_and_f(masks[first : first + 1], wanted[first : first + 1])["j_and_f"] > 0.85
        assert not np.delete(masks, first, axis=0).any()


def test_the_rows_of_the_table_are_scored_by_kind():
    result = measure({"truth": true_masks, "nothing": lambda clip: np.zeros_like(true_masks(clip))}, "test", 3, 0, 48)
    assert result["counts"]["all"] == 18 and set(result["table"]["truth"].values()) == {100.0}
    assert result["table"]["nothing"]["static"] < 20
    assert markdown(result).splitlines()[3].startswith("| truth | 100.0")


@pytest.mark.slow
def test_training_resumes_and_can_be_loaded(tmp_path):
    command = [sys.executable, str(EXAMPLES / "train_tiny_sam2.py"), "--output", str(tmp_path / "run"), "--minutes"]
    steps = []
    for minutes in ("0.1", "0.2"):
        subprocess.run([*command, minutes], check=True, timeout=300)
        steps.append(json.loads((tmp_path / "run" / "state.json").read_text())["step"])
    assert 0 < steps[0] < steps[1]
    assert load_sam2(str(tmp_path / "run")).image_size == SIDE
