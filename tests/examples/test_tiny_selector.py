"""The training of glus-selector-tiny: packed prompts are exact, the mix of tokens too, and every stage resumes."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from glus_hf.data.motion_shapes import sample_scene
from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

import tiny_selector_batches  # noqa: E402
from tiny_selector import build_selector  # noqa: E402
from tiny_selector_batches import pack_targets, sample_look, sample_selector_batch, visible_part  # noqa: E402
from train_tiny_selector import merge_with_mix, run_packed  # noqa: E402


@pytest.fixture(scope="module", params=[8, 16])
def tiny(request):
    model, processor = build_selector(grid=request.param)
    return model.eval(), processor, request.param


@torch.no_grad()
def test_packed_prompts_give_the_states_of_the_strict_prompts(tiny):
    model, processor, _ = tiny
    texts = ["the red circle", "the small blue cross moving to the left", "both squares"]
    targets = np.array([[0, 2]])
    packed = pack_targets(processor, [texts], 3, targets)
    tokens = torch.randn(1, 3, processor.num_image_tokens, model.config.text_config.hidden_size)
    states, _ = run_packed(model, packed, tokens[:, packed.image_frames[0]])
    for position, target in enumerate(targets[0]):
        for number, text in enumerate(texts):
            ids = processor.tokenize(processor.build_conversation(text, 3))
            ids = processor.expand_image_tokens(ids[: ids.index(processor.score_token_id)])
            alone = model.model.embed_prompt(
                torch.tensor([ids]), torch.cat([tokens[0], tokens[:, target]]).flatten(0, 1)
            )
            expected = model.model.language_model(inputs_embeds=alone).last_hidden_state[0, -1]
            found = states[0, packed.score_positions[0, position, number]]
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_the_mix_says_what_a_token_is_made_of(tiny):
    model, _, grid = tiny
    patches = torch.randn(2, grid * grid, 128)
    tokens, mix = merge_with_mix(model, patches)
    torch.testing.assert_close(mix @ patches, tokens, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mix.sum(-1), torch.ones(tokens.shape[:2]))


def test_a_batch_is_labelled_as_it_is_rendered(tiny):
    _, processor, grid = tiny
    batch = sample_selector_batch(np.random.default_rng(0), processor, grid, 3, 5, 2, 4, partial=1.0)
    assert batch.pixel_values.shape == (3, 5, 3, 64, 64) and batch.scores.shape == (3, 2, 4)
    assert (batch.targets[:, 1] > batch.targets[:, 0]).all() and batch.scores.min() >= 0 and batch.scores.max() <= 1
    for clip, targets in enumerate(batch.targets):
        area = batch.patch_targets[clip].sum(-1)[:, targets].T
        assert ((area > 0) == (batch.scores[clip] > 0)).all()  # nothing seen, nothing scored


def test_behind_the_veil_nothing_is_asked_for(monkeypatch):
    monkeypatch.setattr(tiny_selector_batches, "VEILED", 1.0)
    processor = build_selector()[1]
    batch = sample_selector_batch(np.random.default_rng(0), processor, 8, 12, 8, 8, 3)
    colors, shapes = batch.patch_labels["color"], batch.patch_labels["shape"]
    hidden = ((shapes >= 0) & (colors < 0)).any(-1)  # [clips, frames]: shapes without colours
    assert 0.2 < hidden.float().mean() < 0.8
    asked = hidden.gather(1, batch.targets)
    assert (batch.scores[asked] == 0).all() and (batch.scores[~asked] > 0).float().mean() > 0.4
    assert not batch.patch_targets.sum(-1).transpose(1, 2)[hidden].any()


def test_looks_are_there_about_as_often_as_not():
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng) for _ in range(50)]
    there = [bool(scene.targets(sample_look(rng, scene))) for scene in scenes for _ in range(8)]
    assert 0.5 < np.mean(there) < 0.75


def test_visible_part():
    masks = np.zeros((2, 3, 4, 4), dtype=bool)
    masks[0, 0, :, :2] = True  # 8 pixels
    masks[0, 1, 0, :2] = True  # 2 of them
    np.testing.assert_allclose(visible_part(masks), [[1, 2 / 4.8, 0], [0, 0, 0]])


@pytest.mark.slow
def test_the_stages_run_and_resume_and_export(tmp_path):
    command = [sys.executable, str(EXAMPLES / "train_tiny_selector.py")]
    for stage in ("see", "base"):
        steps = []
        more = ["--start", str(tmp_path / "see")] if stage == "base" else []
        for minutes in ("0.1", "0.2"):
            output = ["--output", str(tmp_path / stage), "--minutes", minutes]
            subprocess.run([*command, "--stage", stage, *output, *more], check=True, timeout=300)
            steps.append(json.loads((tmp_path / stage / "state.json").read_text())["step"])
        assert 0 < steps[0] < steps[1]
    subprocess.run([*command, "--export", str(tmp_path / "base"), "--output", str(tmp_path / "model")], check=True)
    from glus_hf import GLUSSelector, GLUSSelectorProcessor

    model = GLUSSelector.from_pretrained(tmp_path / "model")
    session = GLUSSelectorProcessor.from_pretrained(tmp_path / "model").init_video_session(
        [np.zeros((64, 64, 3), dtype=np.uint8)] * 3, "the red circle"
    )
    assert model.score_frames(session).shape == (1, 3)
