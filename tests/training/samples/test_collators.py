import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.models.glus.processing_glus import ANSWERS, QUESTIONS
from glus_hf.training.samples.collators import GLUSCollator
from glus_hf.training.samples.referring_video_dataset import ReferringVideoDataset
from glus_hf.training.samples.resumable_sampler import TEMPLATE_STREAM
from tests.models.glus.small_glus import small_model, small_processor
from tests.paths import FIXTURES


MEVIS = FIXTURES / "datasets" / "mevis"


@pytest.fixture(scope="module")
def mevis(tmp_path_factory):
    return load_referring_dataset("mevis", MEVIS, split="train", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return load_referring_dataset("motion_shapes", split="train", num_videos=4, size=64, num_frames=9, cache_dir=cache)


def assert_equal_batches(batch, other):
    assert batch.keys() == other.keys()
    for name, value in batch.items():
        pairs = zip(value, other[name], strict=True) if isinstance(value, list) else [(value, other[name])]
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


def test_train_a_small_glus_on_mevis(mevis):
    """Forward, backward and some steps: the loss of one batch falls."""
    torch.manual_seed(0)
    dataset, processor = ReferringVideoDataset(mevis), small_processor()
    batch = GLUSCollator(processor)([dataset[0]])
    assert batch["pixel_values"].shape == (1, 8, 3, 32, 32)
    assert batch["mask_pixel_values"].shape == (1, 4, 3, 64, 64)
    assert batch["mask_labels"][0].shape == (3, 4, 48, 64)
    assert (batch["labels"] == processor.seg_token_id).sum() == 12  # one [SEG] per expression and query frame
    model = small_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        output = model(**batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(float(output.loss.detach()))
    assert all(output[name].isfinite() for name in ("ce_loss", "mask_bce_loss", "mask_dice_loss"))
    assert losses[-1] < losses[0]
    trained = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert trained >= {"model", "lm_head"}


def test_batch_is_what_the_processor_makes_of_the_sample(shapes):
    """With the templates of inference nothing but the processor is in between."""
    samples = [ReferringVideoDataset(shapes)[index] for index in (0, 2)]
    processor = small_processor()
    assert_equal_batches(GLUSCollator(processor, random_templates=False)(samples), processor(samples))


def test_masks_of_the_batch_are_those_of_the_frames(shapes):
    dataset = ReferringVideoDataset(shapes)
    samples = [dataset[1], dataset[3]]
    batch = GLUSCollator(small_processor())(samples)
    assert batch["expressions_per_video"].tolist() == [len(sample["expressions"]) for sample in samples]
    for sample, masks in zip(samples, batch["mask_labels"], strict=True):
        np.testing.assert_array_equal(masks.numpy(), sample["masks"])


def test_templates_depend_on_the_sample_alone(shapes):
    """Not on what else is in the batch, nor on workers."""
    dataset, collate = ReferringVideoDataset(shapes), GLUSCollator(small_processor())
    expected = [collate([dataset[index]]) for index in range(4)]
    loader = DataLoader(dataset, batch_size=1, num_workers=2, collate_fn=collate)
    for batch, alone in zip(loader, expected, strict=True):
        assert_equal_batches(batch, alone)
    both = collate([dataset[0], dataset[1]])
    first = expected[0]["input_ids"]
    assert torch.equal(both["input_ids"][: len(first), : first.shape[1]], first)
    dataset.set_epoch(1)
    assert not torch.equal(collate([dataset[0]])["input_ids"][:1], first[:1])


def test_templates_are_those_of_the_processor(shapes):
    """Collator and processor sample from one generator in the same order; its seed is the sample's key."""
    sample, processor = ReferringVideoDataset(shapes)[0], small_processor()
    rng = np.random.default_rng([TEMPLATE_STREAM, *sample["key"]])
    assert_equal_batches(GLUSCollator(processor)([sample]), processor([sample], rng=rng))


def test_all_templates_come_up(shapes):
    dataset, processor = ReferringVideoDataset(shapes), small_processor()
    texts = []

    class Reader:
        """A processor that keeps the conversations it is given."""

        sample_conversation = processor.sample_conversation

        def __call__(self, samples, labels):
            texts.extend(text for sample in samples for text in sample["conversations"])
            return processor(samples, labels=labels)

    collate = GLUSCollator(Reader())
    for epoch in range(4):
        dataset.set_epoch(epoch)
        collate([dataset[0], dataset[1]])
    whole = "".join(texts)
    assert all(answer in whole for answer in ANSWERS)
    assert all(question.partition("{x}")[2] in whole for question in QUESTIONS)


def test_labels_of_whole_answers(shapes):
    samples = [ReferringVideoDataset(shapes)[0]]
    seg, answer = (GLUSCollator(small_processor(), labels=labels)(samples)["labels"] for labels in ("seg", "answer"))
    assert (answer != -100).sum() > (seg != -100).sum() > 0
    with pytest.raises(ValueError, match="seg or answer"):
        GLUSCollator(small_processor(), labels="all")


def test_refused_expression_is_named(shapes):
    sample = ReferringVideoDataset(shapes, max_expressions=1)[0]
    name = f"motion_shapes/{sample['video_id']}, expression {sample['expression_ids'][0]}"
    with pytest.raises(ValueError, match=rf"{name}: .*\[SEG\]"):
        GLUSCollator(small_processor())([{**sample, "expressions": ["the [SEG] token"]}])


def test_counts_of_objects_reach_the_model(tmp_path):
    """Where two objects overlap, the target is 2 with `mask_overlap="sum"` on both sides."""
    from tests.data.own.own_folders import overlapping_objects

    rows = load_referring_dataset("own", overlapping_objects(tmp_path / "own"), cache_dir=tmp_path / "cache")
    processor = small_processor()
    highest = {}
    for overlap in ("union", "sum"):
        sample = ReferringVideoDataset(rows, mask_overlap=overlap)[0]
        processor.overlap = overlap
        batch = GLUSCollator(processor)([sample])
        highest[overlap] = int(sample["masks"].max()), int(batch["mask_labels"][0].max())
        np.testing.assert_array_equal(batch["mask_labels"][0].numpy(), sample["masks"])
    assert highest == {"union": (1, 1), "sum": (2, 2)}
