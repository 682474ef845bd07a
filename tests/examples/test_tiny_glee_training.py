"""The training of glee-tiny: batches say what they show, the stages learn from it, and runs go on."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

from ablate_tiny_glee import main as ablate  # noqa: E402
from ablate_tiny_glee import table  # noqa: E402
from tiny_glee import SIZE, ContrastiveImages, build_tiny_glee  # noqa: E402
from tiny_glee_ap import NAMES, annotations_of, still  # noqa: E402
from tiny_glee_batches import Scenes, clip_batch, contrastive_batch, names_batch, referring_batch  # noqa: E402
from tiny_glee_picture import GAP, SCALE, picture  # noqa: E402
from tiny_glee_prompts import measure, prompts_of, summaries  # noqa: E402
from train_tiny_glee import (  # noqa: E402
    PROMPTER,
    LocationLogits,
    location_loss,
    part_of,
    remove_fusion,
    start_from_contrast,
    train_prompts,
)

from glus_hf import GLEECollator  # noqa: E402
from glus_hf.data.motion_shapes import COLORS  # noqa: E402


@pytest.fixture(scope="module")
def tiny():
    return build_tiny_glee()


def test_a_batch_of_expressions_has_one_target_at_most(tiny):
    batch = referring_batch(np.random.default_rng(0), tiny[1], images=8)
    assert batch["pixel_values"].shape == (8, 3, SIZE, SIZE) and len(batch["input_ids"]) == 8
    counts = [len(target["masks"]) for target in batch["labels"]]
    assert max(counts) == 1 and sum(counts) >= 5


def test_names_point_at_objects_of_their_colour(tiny):
    model, processor = tiny
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    seen = 0
    for seed in range(6):
        batch = names_batch(np.random.default_rng(seed), processor, images=4)
        names = processor.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
        for pixels, target in zip(batch["pixel_values"] * std + mean, batch["labels"], strict=True):
            for label, mask in zip(target["class_labels"].tolist(), target["masks"], strict=True):
                color = names[label].split()[0]
                if color in COLORS and mask.sum() > 200:
                    distances = {
                        name: (pixels[:, mask].mean(1) * 255 - torch.tensor(rgb).float()).norm()
                        for name, rgb in COLORS.items()
                    }
                    assert min(distances, key=distances.get) == color
                    seen += 1
    assert seen > 10


def test_a_few_scenes_come_again_and_fewer_are_part_of_them():
    names_of = lambda scenes: {
        str([vars(sprite) for sprite in scenes.draw(np.random.default_rng(draw)).sprites]) for draw in range(40)
    }
    few, more = names_of(Scenes(number=2)), names_of(Scenes(number=4))
    assert len(few) == 2 and len(more) == 4 and few < more and not names_of(Scenes(number=4, seed=1)) & more
    assert len(names_of(Scenes())) == 40


def test_stills_show_the_first_moment_and_their_texts_no_motion(tiny, monkeypatch):
    stills, scene = Scenes(stills=True), Scenes().draw(np.random.default_rng(0))
    first = scene.render(np.zeros(1), SIZE)[0][0]
    assert all(np.array_equal(stills.frame(np.random.default_rng(n), scene)[0], first) for n in range(3))
    monkeypatch.setattr(GLEECollator, "__call__", lambda self, samples: [each["expressions"][0] for each in samples])
    texts = referring_batch(np.random.default_rng(0), tiny[1], images=40, scenes=stills)
    every = referring_batch(np.random.default_rng(0), tiny[1], images=40)
    moves = [any(word in text for word in ("moving", "moves", "grow", "shrink")) for text in [*texts, *every]]
    assert len(texts) == 40 and not any(moves[:40]) and sum(moves[40:]) > 3


def test_the_objects_of_a_pair_of_frames_have_the_same_numbers(tiny):
    model, processor = tiny
    batch = clip_batch(np.random.default_rng(0), processor, clips=3)
    assert batch["pixel_values"].shape == (6, 3, SIZE, SIZE) and batch["clip_length"] == 2
    shared = 0
    for first, second in zip(batch["labels"][::2], batch["labels"][1::2], strict=True):
        classes = [dict(zip(each["instance_ids"].tolist(), each["class_labels"].tolist())) for each in (first, second)]
        both = classes[0].keys() & classes[1].keys()
        assert all(classes[0][number] == classes[1][number] for number in both)
        shared += len(both)
    assert shared > 2 and model.train()(**batch).losses["track_loss"] > 0


def run_ablation(monkeypatch, part, start, output, *variants, videos="3"):
    times = ["--seeds", "0", "--minutes", "0.001", "--num-videos", videos, "--num-images", "2"]
    options = ["--part", part, "--start", str(start), "--output", str(output), "--variants", *variants]
    monkeypatch.setattr(sys, "argv", ["", *options, *times])
    ablate()
    return {file.parent.name: json.loads(file.read_text()) for file in output.glob("*/result.json")}


def test_tracking_is_ablated_from_a_finished_model(tmp_path, monkeypatch, capsys):
    found = run_ablation(monkeypatch, "tracks", "glee-tiny", tmp_path, "without")
    assert list(found) == ["without-0"] and found["without-0"]["steps"] == 1 and found["without-0"]["tracks AP"] >= 0
    assert "| without |" in capsys.readouterr().out
    assert run_ablation(monkeypatch, "tracks", "glee-tiny", tmp_path, "without") == found
    with pytest.raises(SystemExit):
        run_ablation(monkeypatch, "tracks", "glee-tiny", tmp_path, "frozen")
    assert "'frozen' is none of with contrastive loss, without" in capsys.readouterr().err


@pytest.mark.slow
def test_data_and_prompts_are_ablated(tmp_path, monkeypatch):
    images, text = ContrastiveImages(build_tiny_glee()[0].config), build_tiny_glee()[0].model.text_encoder
    (tmp_path / "contrast").mkdir()
    parts = {"images": images, "text": text}
    tensors = {f"{part}.{name}": value for part, each in parts.items() for name, value in each.state_dict().items()}
    save_file(tensors, tmp_path / "contrast" / "weights.safetensors")
    names = ["first frames alone", "10 % of 100 clips"]
    found = run_ablation(monkeypatch, "data", tmp_path / "contrast", tmp_path / "data", *names, videos="5")
    assert set(found) == {"first_frames_alone-0", "10_percent_of_100_clips-0"}
    assert set(found["first_frames_alone-0"]) >= {"static", "box AP50", "box AP50, first frames", "tracks AP"}
    found = run_ablation(monkeypatch, "prompts", "glee-tiny", tmp_path / "prompts", "fine tokens alone")
    assert set(found["fine_tokens_alone-0"]) == {"point", "box", "mask", "video", "steps"}


def test_objects_and_texts_match_by_look(tiny):
    batch = contrastive_batch(np.random.default_rng(0), tiny[1], images=4, texts=20)
    assert batch.matches.shape == (sum(len(masks) for masks in batch.masks), 20)
    assert batch.matches.any(0).all() and not batch.matches.all()
    images = ContrastiveImages(tiny[0].config)
    vectors = images(batch.pixel_values, batch.masks)
    assert vectors.shape == (3, len(batch.matches), 64) and vectors.isfinite().all()


def test_locations_are_taught_by_what_covers_them(tiny):
    """The loss is zero where every covered location says its name and all others none."""
    side = SIZE // 8
    masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    masks[0, 32:64, 64:96] = True  # whole cells of both strides
    labels = [{"class_labels": torch.tensor([1]), "masks": masks}]
    logits = torch.full((1, 4 + 16 + side * side // 4 + side * side, 2), -30.0)
    rows, columns = torch.meshgrid(torch.arange(4, 8), torch.arange(8, 12), indexing="ij")
    logits[0, -side * side + (rows * side + columns).flatten(), 1] = 30
    coarse = side // 2
    rows, columns = torch.meshgrid(torch.arange(2, 4), torch.arange(4, 6), indexing="ij")
    logits[0, -side * side - coarse * coarse + (rows * coarse + columns).flatten(), 1] = 30
    assert location_loss(logits, labels) < 1e-6
    assert location_loss(logits.flip(-1), labels) > 10


def test_logits_of_locations_are_those_the_queries_are_selected_by(tiny):
    model, processor = tiny
    locations = LocationLogits(model)
    batch = names_batch(np.random.default_rng(3), processor, images=2)
    with torch.no_grad():
        output = model.eval()(**batch)
        logits = locations.of(batch)
    torch.testing.assert_close(logits.amax(-1), output.location_scores)


def test_without_fusion_words_do_not_change_what_the_image_is_encoded_as():
    model, processor = build_tiny_glee()
    model.eval()
    features = model.model.encode_images(torch.randn(1, 3, 64, 64))
    encode_text = lambda text: model.model.encode_text(**processor.tokenize([text]), is_referring=True)
    texts = [encode_text("red"), encode_text("the circle")]
    encode = lambda: [model.model.pixel_decoder(features, text)[0][0] for text in texts]
    first, second = encode()
    assert not torch.allclose(first, second)
    remove_fusion(model)
    first, second = encode()
    assert torch.equal(first, second)


def test_stills_are_annotated_as_coco_expects():
    frame, objects = still(0, "validation", 0, 96)
    found = annotations_of(5, objects, "pairs")
    assert frame.shape == (96, 96, 3) and len(found) == len(objects)
    for annotation, (sprite, mask) in zip(found, objects, strict=True):
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert NAMES["pairs"][annotation["category_id"]] == f"{sprite.color} {sprite.shape}"
        assert annotation["image_id"] == 5 and annotation["area"] == mask.sum()


@pytest.mark.parametrize("kind", ["point", "box", "mask"])
def test_prompts_lie_on_their_objects(tiny, kind):
    frame, objects = still(5, "test", 0, SIZE)
    masks = np.stack([mask for _, mask in objects])
    drawn = tiny[1](frame, **prompts_of(np.random.default_rng(0), masks, kind))["prompt_masks"].numpy()
    shared = (drawn & masks).sum((1, 2))
    assert {"point": (shared > 0).all(), "box": (shared == masks.sum((1, 2))).all(), "mask": (drawn == masks).all()}[
        kind
    ]


def test_prompts_are_measured_with_and_without_crops_and_go_on(tmp_path):
    for part in build_tiny_glee(**PROMPTER):
        part.save_pretrained(tmp_path / "model")
    run = lambda: measure(str(tmp_path / "model"), {"still": 1, "clip": 1}, tmp_path / "out.jsonl", "test", 0)
    records = run()
    full, fine = (records[:2], records[2:])
    assert [record["tokens"] for record in records] == ["full", "full", "fine", "fine"]
    assert [record["scores"] for record in full] != [record["scores"] for record in fine]
    lines = (tmp_path / "out.jsonl").read_text()
    (tmp_path / "out.jsonl").write_text(lines[:-9])  # stopped in the last line
    assert run() == records and (tmp_path / "out.jsonl").read_text() == lines
    line = next(iter(summaries(records)))
    assert line.startswith("full: point ") and "video" in line


def test_the_picture_has_a_column_for_each_kind_of_prompt():
    drawn = picture(*build_tiny_glee(**PROMPTER), index=2)
    side = SCALE * SIZE
    assert drawn.shape == (2 * side + GAP, 3 * side + 2 * GAP, 3) and (drawn[:, side : side + GAP] == 255).all()
    columns = [drawn[:side, start : start + side] for start in range(0, 3 * side, side + GAP)]
    assert not any(np.array_equal(one, other) for one, other in zip(columns, columns[1:], strict=False))


def test_a_prompter_that_learns_alone_leaves_all_else_as_it_was(tmp_path):
    start = build_tiny_glee()[0].state_dict()
    train_prompts(tmp_path, start, minutes=1e-3, rate=1e-3, seed=0, alone=True)
    after = part_of(load_file(tmp_path / "weights.safetensors"), "model.")
    moved = {name for name, value in start.items() if not torch.equal(after[name], value)}
    assert moved and all(name.startswith("model.decoder.heads.confidence.") for name in moved)
    assert json.loads((tmp_path / "state.json").read_text())["step"] >= 1


def test_the_table_has_means_and_spreads():
    text = table({"a": [{"x": 1.0, "y": 2.0}, {"x": 3.0}], "b": [{"x": 5.0}, {"x": 5.0}]})
    assert text.splitlines()[2:] == ["| a | 2.0 (1.0 to 3.0) |", "| b | 5.0 (5.0 to 5.0) |"]


@pytest.mark.slow
def test_both_stages_run_go_on_and_export(tmp_path):
    command = [sys.executable, str(EXAMPLES / "train_tiny_glee.py"), "--output", str(tmp_path)]
    steps = []
    for minutes in ("0.05", "0.1"):
        times = ["--contrast-minutes", minutes, "--minutes", minutes]
        subprocess.run([*command, *times], check=True, timeout=300)
        steps.append(
            [json.loads((tmp_path / part / "state.json").read_text())["step"] for part in ("contrast", "main")]
        )
    assert all(0 < before < after for before, after in zip(*steps, strict=True))
    model, processor = build_tiny_glee()
    start_from_contrast(model, processor, tmp_path / "contrast")
    assert not (tmp_path / "prompts").exists()
    exported = type(model).from_pretrained(tmp_path / "glee-tiny")
    assert exported.config.d_model == model.config.d_model and not exported.config.text_teacher


@pytest.mark.slow
def test_the_third_stage_goes_on_and_answers_prompts(tmp_path):
    command = [sys.executable, str(EXAMPLES / "train_tiny_glee.py"), "--output", str(tmp_path), "--start", "glee-tiny"]
    steps = []
    for minutes in ("0.05", "0.1"):
        subprocess.run([*command, "--prompt-minutes", minutes], check=True, timeout=300)
        steps.append(json.loads((tmp_path / "prompts" / "state.json").read_text())["step"])
    assert 0 < steps[0] < steps[1]
    record, *_ = measure(str(tmp_path / "glee-tiny"), {"still": 1}, tmp_path / "out.jsonl", "test", 0)
    assert set(record["scores"]) == {"point", "box", "mask"}
