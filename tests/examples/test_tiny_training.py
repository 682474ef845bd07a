"""The training of glus-tiny: packed prompts are exact, and every stage trains what it says and resumes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

from tiny_batches import IGNORED, cell_labels, coverage, pack_prompts, sample_batch, sample_times  # noqa: E402
from tiny_memory import CLIPS, VISITS, read_clip, sample_clip, sample_pass, visitors  # noqa: E402
from tiny_model import Recipe, TrainingHeads, build_tiny  # noqa: E402
from train_tiny import Optimizers, join_step, main, read_step, save, trainable  # noqa: E402

from glus_hf.data.motion_shapes import sample_expressions, sample_veiled_scene  # noqa: E402


@pytest.fixture(scope="module")
def tiny():
    model, processor = build_tiny()
    return model.eval(), processor


@pytest.fixture(scope="module")
def hard():
    model, processor = build_tiny(recipe=Recipe("hard", 4, frame_times=False))
    return model, processor


@pytest.mark.parametrize("window", [1, 2])
@torch.no_grad()
def test_packed_prompts_give_the_states_of_the_strict_prompts(tiny, window):
    model, processor = tiny
    texts = ["the red circle", "the small blue cross moving to the left", "both squares"]
    packed = pack_prompts(processor, [texts], window)
    tokens = torch.randn(1, 4 + window, 64, model.config.text_config.hidden_size)
    embeddings = model.model.embed_prompt(packed.input_ids, tokens[0, packed.image_frames])
    packing = packed.packing
    options = {"position_ids": packing.position_ids, "packing": packing}
    states, _ = model.model.read_states(embeddings, packing.mask(), **options)
    for index, text in enumerate(texts):
        prompt = processor.tokenize(processor.build_window_prompt(text, window))
        ids = processor.expand_image_tokens(prompt)
        alone = model.model.embed_prompt(torch.tensor([ids]), tokens)
        expected, _ = model.model.read_states(alone, None)
        positions = processor.seg_positions(ids)
        torch.testing.assert_close(
            states[0, packed.seg_positions[0, index]], expected[0, positions], atol=2e-5, rtol=1e-4
        )


def test_a_batch_is_rendered_as_it_is_labelled(tiny):
    _, processor = tiny
    batch = sample_batch(np.random.default_rng(0), processor, clips=3, expressions=4, window=2)
    assert batch.pixel_values.shape == (3, 6, 3, 64, 64) and batch.mask_pixel_values.shape == (3, 2, 3, 64, 64)
    assert batch.targets.shape == (3, 4, 2, 64, 64)
    assert (batch.targets <= batch.objects[:, None]).all()  # what is meant is a sprite
    assert (batch.frame_times[:, -1] > batch.frame_times[:, -2]).all()


def test_coverage_counts_pixels_of_each_cell():
    mask = np.zeros((64, 64), dtype=bool)
    mask[8:16, 16:20] = True  # the left half of the cell in row 1, column 2
    cells = coverage(mask)
    assert cells[1 * 8 + 2] == 0.5 and cells.sum() == 0.5


def test_cell_labels_name_the_sprite_under_the_cell(tiny):
    from glus_hf.data.motion_shapes import COLORS, generate_clip

    clip = generate_clip(0, size=64, num_frames=2)
    labels = cell_labels(clip.scene, clip.masks)
    for index, sprite in enumerate(clip.scene.sprites):
        full = coverage(clip.masks[index]) == 1
        assert (labels["color"][full] == list(COLORS).index(sprite.color)).all()


@pytest.mark.parametrize("order", [range(2, 7), range(6, 1, -1)])
def test_the_memory_stage_prompts_with_what_inference_reads(tiny, order):
    model, processor = tiny
    scene = sample_veiled_scene(np.random.default_rng(0))
    expressions = sample_expressions(np.random.default_rng(1), scene, 2, {"static": 1.0})
    prompts, targets, images, _ = read_clip(model, processor, scene, expressions, 9, order)
    frames, _ = scene.render(np.linspace(0, 1, 9), 64)
    session = processor.init_video_session(frames, [expression.text for expression in expressions])
    outputs = {out.frame_idx: out for out in model.propagate_in_video_iterator(session, key_frame=order.start)}
    for position, frame in enumerate(order):
        torch.testing.assert_close(prompts[:, position], outputs[frame].seg_embeddings, atol=1e-5, rtol=1e-5)
        assert (images[position] == frames[frame]).all()
    assert targets.shape == (2, 5, 64, 64)


@pytest.mark.parametrize("kind", CLIPS)
def test_the_memory_stage_shows_what_each_kind_of_clip_is_for(kind):
    changes, backward = 0, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scene, expressions = sample_clip(rng, kind, 3, {"static": 0.6, "motion": 0.3, "multi": 0.1})
        order = sample_pass(rng, kind, scene, expressions, 16, 6)
        assert len(expressions) == 3 and len(order) == 6 and min(order) >= 0 and max(order) < 16
        assert (scene.veil is not None) == (kind in ("veiled", "dimmed"))
        backward += order.step < 0
        if kind == "visit":
            assert visitors(scene, expressions[0])
            _, masks = scene.render(np.linspace(0, 1, 16), 64)
            ids = [index for index in expressions[0].object_ids if scene.sprites[index].motion in VISITS]
            shown = masks[ids].any((0, 2, 3))[list(order)]
            changes += shown.any() and not shown.all()
        if scene.veil is not None:  # in the clear at first
            assert order.start / 15 <= scene.veil[0] and order.step == 1
    assert backward > 0 or kind in ("veiled", "dimmed")
    assert changes >= 8 or kind != "visit"  # the passes see the target come or go


def test_a_hard_model_reads_windows_of_four_without_frame_times(hard):
    model, processor = hard
    assert model.model.frame_position is None and model.config.num_query_frames == 4
    assert (
        processor.tokenizer.unk_token_id not in processor.tokenizer("that trembles before the red square")["input_ids"]
    )
    batch = sample_batch(np.random.default_rng(1), processor, clips=2, expressions=2, window=4, kind="hard")
    assert batch.pixel_values.shape[:2] == (2, 8) and batch.targets.shape == (2, 2, 4, 64, 64)
    motion = batch.cell_labels["motion"]
    first = motion[:, [0, 4]]  # of the context and of the window
    assert (first == IGNORED).all() and (motion == IGNORED).sum() == first.numel()


def test_windows_of_hard_clips_mostly_show_an_event(hard):
    _, processor = hard
    shown = 0
    for seed in range(60):
        times = sample_times(np.random.default_rng(seed), processor, 4, (24, 25), [0.5])[-4:]
        shown += times[0] <= 0.5 + 1 / 23 and times[-1] >= 0.5
    assert shown > 36  # a random window does in a quarter of the cases


@pytest.mark.parametrize("stage", [pytest.param("read", marks=pytest.mark.slow), "join"])
def test_a_hard_model_takes_a_step(hard, stage):
    model, processor = hard
    heads = TrainingHeads(model.config.text_config.hidden_size, "hard")
    for seed in (0, 1):  # windows of four frames and of one
        rng = np.random.default_rng(seed)
        loss, metrics = {"read": read_step, "join": join_step}[stage](model, heads, processor, rng, 0.6, "hard")
        assert torch.isfinite(loss) and all(np.isfinite(value) for value in metrics.values())
    loss.backward()


def test_runs_of_another_recipe_are_refused(tmp_path, monkeypatch, capsys):
    start = random_run(tmp_path / "start")
    arguments = ["--stage", "join", "--output", str(tmp_path / "run"), "--minutes", "0", "--from", start, start]
    monkeypatch.setattr(sys, "argv", ["", *arguments, "--window", "4"])
    with pytest.raises(SystemExit):
        main()
    assert "pass the same --scenes, --window and --no-frame-times" in capsys.readouterr().err


def test_a_run_goes_on_by_its_own_recipe(tmp_path, monkeypatch, capsys):
    run = Path(random_run(tmp_path / "run"))
    Recipe("plain", window=4).save(run)
    monkeypatch.setattr(sys, "argv", ["", "--stage", "mask", "--output", str(run), "--minutes", "0"])
    with pytest.raises(SystemExit):
        main()
    assert "pass the same --scenes, --window and --no-frame-times" in capsys.readouterr().err
    assert Recipe.load(run).window == 4


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["mask", "read", "join", "memory"])
def test_each_stage_runs_and_resumes(tmp_path, stage):
    output = str(tmp_path / stage)
    command = [sys.executable, str(EXAMPLES / "train_tiny.py"), "--stage", stage, "--output", output]
    if stage in ("join", "memory"):
        command += ["--start", random_run(tmp_path / "start")]
    steps = []
    for minutes in ("0.05", "0.1"):
        subprocess.run([*command, "--minutes", minutes], check=True, timeout=300)
        steps.append(json.loads((tmp_path / stage / "state.json").read_text())["step"])
    assert 0 < steps[0] < steps[1]


def random_run(folder: Path) -> str:
    """What a stage leaves, before its first step."""
    model, _ = build_tiny()
    heads = TrainingHeads(model.config.text_config.hidden_size)
    folder.mkdir()
    save(folder, model, heads, Optimizers(trainable(model, heads, "join"), 1e-3, 1e-3), {"step": 0, "seconds": 0.0})
    return str(folder)


def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path):
    folder = Path(random_run(tmp_path / "run"))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(before) == {"weights.safetensors", "optimizer.pt", "state.json"}
    model, _ = build_tiny(seed=1)
    heads = TrainingHeads(model.config.text_config.hidden_size)
    optimizers = Optimizers(trainable(model, heads, "join"), 1e-3, 1e-3)
    with pytest.raises(TypeError):  # as a full disk would stop it
        save(folder, model, heads, optimizers, {"step": object()})
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["memory"], "--stage memory needs --start"),
        (["join"], "--stage join needs --from"),
        (["memory", "--start", "/nope"], "/nope: has no weights.safetensors; name the --output of another stage"),
        (
            ["join", "--from", "/nope", "/nope"],
            "/nope: has no weights.safetensors; name the --output of another stage",
        ),
    ],
)
def test_what_a_stage_starts_from_must_be_there(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["", "--output", str(tmp_path / "run"), "--minutes", "0", "--stage", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.endswith(f"error: {message}\n") and not (tmp_path / "run").exists()
