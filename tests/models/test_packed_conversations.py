"""Conversations of a video packed behind one beginning: losses and gradients are those of conversations one by one."""

import copy

import numpy as np
import pytest
import torch

from glus_hf import GLUSForVideoSegmentation
from glus_hf.models.packed_conversations import PACKED, plan_packing
from glus_hf.training.trainable_parameters import prepare_model
from tests.models.common import gradients
from tests.models.glus.small_glus import small_model, small_processor


EXPRESSIONS = [["the red circle", "blue", "the small green square going left"], ["the red circle"], ["cross", "cross"]]
TERMS = ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss")


def batch_of(expressions=EXPRESSIONS, labels="seg", dtype=torch.float32):
    """Videos with sampled questions and answers, so that their conversations differ in length."""
    rng, processor = np.random.default_rng(0), small_processor()
    frames = processor.num_context_frames + processor.num_query_frames
    samples = [
        {
            "frames": list(rng.integers(0, 256, (frames, 40, 48, 3), np.uint8)),
            "expressions": texts,
            "masks": rng.integers(0, 2, (len(texts), processor.num_query_frames, 40, 48), np.uint8),
        }
        for texts in expressions
    ]
    batch = dict(processor(samples, labels=labels, rng=rng))
    return {name: value.to(dtype) if name.endswith("pixel_values") else value for name, value in batch.items()}


def both_ways(dtype=torch.float32, whole=False, **config):
    """A model that packs, and the same one that does not."""
    model = small_model(**config)
    model = model if whole else prepare_model(model, lora_dropout=0.0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start: then no gradient would reach lora_A
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    single = copy.deepcopy(model).to(dtype).train()
    packed = model.to(dtype).train()
    assert base_of(packed).pack_expressions()
    return packed, single


def assert_same_gradients(packed, single, batch, tolerance):
    """Within a share of the largest one; losses and rotary positions are float32 in every precision."""
    ours, theirs = gradients(packed, batch), gradients(single, batch)
    assert ours.keys() == theirs.keys()
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    differences = {name: float((ours[name] - gradient).abs().max()) / largest for name, gradient in theirs.items()}
    worst = max(differences, key=differences.get)
    assert differences[worst] <= tolerance, worst


def base_of(model) -> GLUSForVideoSegmentation:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@pytest.mark.parametrize(
    ("dtype", "tolerance", "labels"), [(torch.float64, 1e-9, "answer"), (torch.float32, 1e-4, "seg")]
)
def test_losses_and_gradients_are_equal(dtype, tolerance, labels):
    packed, single = both_ways(dtype)
    batch = batch_of(labels=labels, dtype=dtype)
    found, expected = packed(**batch), single(**batch)
    for term in TERMS:
        assert found[term].item() == pytest.approx(expected[term].item(), rel=1e-6, abs=1e-6), term
    torch.testing.assert_close(found.seg_embeddings, expected.seg_embeddings, rtol=1e-4, atol=1e-5)
    assert_same_gradients(packed, single, batch, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [{"seg_hidden_state": "penultimate"}, {"detach_memory": False}, {"num_maskmem": 0}],
    ids=["penultimate", "gradient through memory", "no memory"],
)
def test_every_kind_of_model_packs(config):
    packed, single = both_ways(torch.float64, whole=True, **config)
    batch = batch_of(dtype=torch.float64)
    assert packed(**batch).loss.item() == pytest.approx(single(**batch).loss.item(), rel=1e-6)
    assert_same_gradients(packed, single, batch, 1e-9)


@pytest.mark.slow
def test_gradient_checkpointing_changes_nothing():
    packed, single = both_ways(torch.float64)
    batch = batch_of(dtype=torch.float64)
    base_of(packed).gradient_checkpointing_enable({"use_reentrant": False})
    assert_same_gradients(packed, single, batch, 1e-9)


def test_the_beginning_is_read_once():
    packed, single = both_ways()
    batch, read = batch_of([EXPRESSIONS[0]]), {}

    def count(name):
        return lambda module, inputs, output: read.update({name: output.shape[:2].numel()})

    for name, model in (("packed", packed), ("single", single)):
        base_of(model).model.language_model.layers[0].mlp.register_forward_hook(count(name))
        model(**batch)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    beginning, _ = plan_packing(ids, mask, [3]).segments[0]
    images = int((ids[0, :beginning] == small_processor().image_token_id).sum())
    assert images == 5 * 4  # four context frames and the first query frame
    assert read == {"packed": int(mask.sum()) - 2 * beginning, "single": ids.numel()}


def test_conversations_come_back_where_they_were():
    ids = torch.tensor([[1, 7, 5, 6], [1, 7, 8, 0], [1, 2, 0, 0], [1, 2, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0]])
    packing = plan_packing(ids, mask, [2, 2])
    assert packing.segments == ((2, (2, 1)), (2, (0, 0)))
    rows = packing.pack(ids[..., None])
    assert rows[0, :, 0].tolist() == [1, 7, 5, 6, 8] and rows[1, :2, 0].tolist() == [1, 2]
    assert (packing.unpack(rows)[..., 0] == ids)[mask.bool()].all()


def test_other_attention_is_left_as_it_is_and_inference_too(tmp_path):
    model = small_model()
    model.set_attn_implementation("eager")
    assert not model.pack_expressions() and model.config.text_config._attn_implementation == "eager"
    model.set_attn_implementation("sdpa")
    assert model.pack_expressions() and not model.pack_expressions(False)
    model.pack_expressions()
    model.save_pretrained(tmp_path)
    assert PACKED not in (tmp_path / "config.json").read_text()


def test_a_frozen_image_encoder_and_detached_memories_make_no_graph():
    model = prepare_model(small_model(), lora_dropout=0.0).train()
    branch = model.get_base_model().model
    batch = batch_of()
    assert not branch.encode_mask_frames(batch["mask_pixel_values"][0]).embedding.requires_grad
    written, encode = [], branch.encode_memory
    branch.encode_memory = lambda *args: written.append(encode(*args)) or written[-1]
    model(**batch).loss.backward()
    assert len(written) == small_processor().num_query_frames - 1  # nobody reads that of the last frame
    assert not any(memory.requires_grad for memory, _ in written)
