"""Samples of the selector: chosen as by the original code, from rows and labels, and nothing else decides them."""

import numpy as np
import pytest

from glus_hf.training.samples.selector_samples import SelectorCollator, SelectorDataset
from tests.evaluation.evaluation_data import shape_rows
from tests.models.glus_selector.small_selector import small_processor
from tests.training.samples.label_folders import write_labels


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return shape_rows(tmp_path_factory.mktemp("cache"), num_videos=4, num_frames=20)


def test_a_sample(rows, tmp_path):
    write_labels(tmp_path, rows, lambda row, frame: (frame + 20 * int(row["expression_id"])) / 200)
    dataset = SelectorDataset(rows, tmp_path)
    assert len(dataset) == len(set(rows["video_id"]))
    counts = set()
    for index in range(len(dataset)):
        for epoch in range(5):
            dataset.set_epoch(epoch)
            sample = dataset[index]
            *context, target = sample["frame_indices"]
            counts.add(len(context))
            assert 8 <= len(context) <= 12 and context == sorted(set(context)) and target in context
            bounds = np.linspace(0, 20, len(context) + 1, dtype=int)
            assert all(low <= frame < high for low, high, frame in zip(bounds, bounds[1:], context))
            assert 1 <= len(sample["expressions"]) == len(sample["scores"]) <= 3
            assert len(set(sample["expression_ids"])) == len(sample["expression_ids"])
            wanted = [(target + 20 * int(name)) / 200 for name in sample["expression_ids"]]
            np.testing.assert_allclose(sample["scores"], wanted, atol=1e-6)
            assert (sample["frames"][-1] == sample["frames"][context.index(target)]).all()
    assert len(counts) > 2


def test_the_target_of_the_paper_is_beside_the_context(rows, tmp_path):
    """Eq. E; and where only context frames have labels, or the video is short, one of them."""
    write_labels(tmp_path / "all", rows, lambda row, frame: frame / 20)
    dataset = SelectorDataset(rows, tmp_path / "all", context_frames=(8, 8), target_frame="apart")
    targets = set()
    for epoch in range(20):
        dataset.set_epoch(epoch)
        sample = dataset[epoch % len(dataset)]
        *context, target = sample["frame_indices"]
        targets.add(target)
        assert len(context) == 8 and target not in context
        assert sample["scores"] == pytest.approx([target / 20] * len(sample["scores"]))
    assert len(targets) > 5
    every = SelectorDataset(rows, tmp_path / "all", context_frames=(20, 20), target_frame="apart")[0]
    assert every["frame_indices"][-1] in every["frame_indices"][:-1]
    with pytest.raises(ValueError, match="^unknown target_frame 'other'; use one of context, apart$"):
        SelectorDataset(rows, tmp_path / "all", target_frame="other")


def test_a_sample_depends_on_seed_epoch_and_index_alone(rows, tmp_path):
    write_labels(tmp_path, rows, lambda row, frame: 0.5)
    choices = lambda dataset, index: (dataset[index]["frame_indices"], dataset[index]["expression_ids"])
    first, second = SelectorDataset(rows, tmp_path, seed=1), SelectorDataset(rows, tmp_path, seed=1)
    _ = second[3], second[0]
    assert choices(first, 2) == choices(second, 2) != choices(SelectorDataset(rows, tmp_path, seed=2), 2)
    first.set_epoch(1)
    assert choices(first, 2) != choices(second, 2)


def test_what_has_no_label_is_left_out(rows, tmp_path):
    first = rows[0]["video_id"]
    # no file for the first video and for expressions 1; in the others, one labelled frame
    label = lambda row, frame: "none" if row["video_id"] == first or row["expression_id"] == "1" else None
    write_labels(
        tmp_path, rows, lambda row, frame: 0.25 if frame == 13 and label(row, frame) is None else label(row, frame)
    )
    dataset = SelectorDataset(rows, tmp_path)
    assert len(dataset) == 3
    for index in range(3):
        for epoch in range(4):
            dataset.set_epoch(epoch)
            sample = dataset[index]
            assert sample["frame_indices"][-1] == 13 and 13 in sample["frame_indices"][:-1]
            assert set(sample["scores"]) == {0.25} and "1" not in sample["expression_ids"]
            assert sample["video_id"] != first


def test_a_short_video_shows_all_its_frames(tmp_path, tmp_path_factory):
    rows = shape_rows(tmp_path_factory.mktemp("cache"), num_videos=1, num_frames=5)
    write_labels(tmp_path, rows, lambda row, frame: 1.0)
    assert SelectorDataset(rows, tmp_path)[0]["frame_indices"][:-1] == [0, 1, 2, 3, 4]


def test_no_labels_and_wrong_labels(rows, tmp_path):
    with pytest.raises(ValueError, match="has no labels for any video of motion_shapes, split test; run"):
        SelectorDataset(rows, tmp_path)
    with pytest.raises(ValueError, match=r"context_frames must be fewest and most, from 1 up, got \[5, 3\]"):
        SelectorDataset(rows, tmp_path, context_frames=[5, 3])
    with pytest.raises(ValueError, match="at least 1 expression and a seed of 0 or more, got 0 and 2"):
        SelectorDataset(rows, tmp_path, max_expressions=0, seed=2)
    write_labels(tmp_path, [{**rows[0], "frames": rows[0]["frames"][:3]}], lambda row, frame: 1.0)
    with pytest.raises(ValueError, match="holds 3 labels, the video has 20 frames"):
        SelectorDataset(rows, tmp_path)


def test_the_collator_samples_templates_from_the_key(rows, tmp_path):
    write_labels(tmp_path, rows, lambda row, frame: 0.5)
    processor, dataset = small_processor(), SelectorDataset(rows, tmp_path, context_frames=(2, 2))
    samples = [dataset[index] for index in range(4)]
    batch = SelectorCollator(processor)(samples)
    assert batch["score_labels"].tolist() == [0.5] * len(batch["input_ids"])
    assert batch["frames_per_video"].tolist() == [3] * 4
    again = SelectorCollator(processor)(samples[::-1])
    last = batch["input_ids"][-1][batch["attention_mask"][-1] == 1]
    row = int(again["expressions_per_video"][0]) - 1
    assert (again["input_ids"][row][again["attention_mask"][row] == 1] == last).all()
    lengths = lambda batch: set(batch["attention_mask"].sum(1).tolist())
    assert len(lengths(batch)) > 1
    fixed = SelectorCollator(processor, random_templates=False)([samples[0]])
    text = processor.clean_expression(samples[0]["expressions"][0])
    ids = processor.expand_image_tokens(processor.tokenize(processor.build_conversation(text, 2)))
    assert fixed["input_ids"][0, : len(ids)].tolist() == ids


def test_the_collator_names_a_bad_expression(rows, tmp_path):
    write_labels(tmp_path, rows, lambda row, frame: 0.5)
    sample = SelectorDataset(rows, tmp_path)[0]
    with pytest.raises(ValueError, match=f"motion_shapes/{sample['video_id']}, expression .*protocol token"):
        SelectorCollator(small_processor())([{**sample, "expressions": ["[SCORE]"] * len(sample["scores"])}])
