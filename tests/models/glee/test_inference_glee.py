"""Videos: the order of frames, the link between them, sharing, and where the result lies in the frame."""

import numpy as np
import pytest
import torch

from glus_hf import UserError
from glus_hf.models.glee.geometry_glee import boxes_in_pixels, mask_confidence, to_original_size
from glus_hf.models.glee.inference_glee import link_query
from tests.models.common import assert_same
from tests.models.glee.small_glee import small_model, small_processor


FRAMES = np.random.default_rng(0).integers(0, 256, (13, 40, 60, 3), dtype=np.uint8)
TEXTS = ["the red circle", "large blue square left of the dog", "cat"]


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def processor():
    return small_processor()


def propagate(model, processor, texts=TEXTS, frames=FRAMES, **options):
    session = processor.init_video_session(frames, texts)
    return list(model.propagate_in_video_iterator(session, **options))


def by_text(outputs):
    """Mask logits by expression and frame."""
    return {
        (text, output.frame_idx): output.mask_logits[row]
        for output in outputs
        for row, text in enumerate(output.text_indices)
    }


# ---- the contract


def test_every_frame_once_forward_then_backward(model, processor):
    outputs = propagate(model, processor, texts="cat", key_frame=5)
    assert [output.frame_idx for output in outputs] == [*range(5, 13), *range(4, -1, -1)]
    assert all(output.mask_logits.shape == (1, 40, 60) for output in outputs)
    assert all(output.scores.min() >= 0 and output.scores.max() <= 1 for output in outputs)
    boxes = torch.cat([output.boxes for output in outputs])
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 60 and boxes[:, 3].max() <= 40


def test_expressions_together_are_as_alone(model, processor):
    starts = [0, 7, 12]
    together = by_text(propagate(model, processor, key_frame=starts))
    assert together.keys() == {(text, frame) for text in range(3) for frame in range(13)}
    for text, start in enumerate(starts):
        alone = by_text(propagate(model, processor, texts=TEXTS[text], key_frame=start))
        for frame in range(13):
            assert_same(together[text, frame], alone[0, frame], rtol=1e-3, atol=1e-3)


def test_batch_size_changes_nothing(model, processor):
    first = by_text(propagate(model, processor, key_frame=3))
    second = by_text(propagate(model, processor, key_frame=3, batch_size=2))
    assert_same(first, second, rtol=1e-3, atol=1e-3)


def test_backbone_reads_a_frame_once_for_all_expressions(model, processor):
    read = []
    hook = model.model.backbone.register_forward_hook(lambda module, inputs, output: read.append(len(inputs[0])))
    propagate(model, processor)
    hook.remove()
    assert sum(read) == len(FRAMES)


def test_a_model_in_training_and_a_wrong_key_frame_are_refused(model, processor):
    with pytest.raises(UserError, match="key_frame must be an integer in 0..12"):
        propagate(model, processor, key_frame=13)
    with pytest.raises(UserError, match="training mode"):
        propagate(small_model().train(), processor)


# ---- the link


def two_equal_objects(frames):
    """Two queries that score alike and swap places in the second half; the first embedding is object 0."""
    objects = torch.eye(4)[:2]
    scores = torch.tensor([[0.5, 0.49]]).repeat(frames, 1)
    embeddings = objects.repeat(frames, 1, 1)
    embeddings[frames // 2 :] = objects.flip(0)
    return scores, embeddings


def chosen_objects(similarity, weight):
    scores, embeddings = two_equal_objects(6)
    previous, objects = None, []
    for frame in range(6):
        query = link_query(scores[frame], embeddings[frame], previous, similarity, weight)
        previous = embeddings[frame, query]
        objects.append(int(previous.argmax()))
    return objects


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_similarity_keeps_the_object(similarity):
    assert chosen_objects(similarity, 1.0) == [0] * 6


@pytest.mark.parametrize(("similarity", "weight"), [(None, 1.0), ("cosine", 0.0)])
def test_without_similarity_every_frame_is_alone(similarity, weight):
    assert chosen_objects(similarity, weight) == [0, 0, 0, 1, 1, 1]


def test_cosine_does_not_care_for_length_and_dot_does():
    scores, previous = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    embeddings = torch.tensor([[1.0, 0.0], [3.0, 3.0]])
    assert link_query(scores, embeddings, previous, "cosine") == 0
    assert link_query(scores, embeddings, previous, "dot") == 1


def test_both_ways_start_from_the_key_frame(processor):
    """Backward frames are linked to the key frame's query, not to the last frame's."""
    model = small_model(seed=2, temporal_similarity_weight=100.0)  # the most alike query, whatever its score
    forward = propagate(model, processor, texts="cat", frames=FRAMES[4:])
    around = propagate(model, processor, texts="cat", key_frame=4)
    assert [output.query_indices for output in around[:9]] == [output.query_indices for output in forward]
    backward = propagate(model, processor, texts="cat", frames=FRAMES[4::-1])
    assert [output.query_indices for output in around[9:]] == [output.query_indices for output in backward[1:]]
    free = small_model(seed=2, temporal_similarity=None)
    alone = propagate(free, processor, texts="cat", key_frame=4)
    assert [output.query_indices for output in alone] != [output.query_indices for output in around]


# ---- beyond the paper


def test_threshold_of_no_target_empties_the_mask(processor):
    outputs = propagate(small_model(no_target_threshold=1.0), processor)
    assert all((output.mask_logits == -100).all() and (output.scores == 0).all() for output in outputs)


def test_several_objects_are_joined(model, processor):
    """With the threshold, a mask holds every query whose score is above it; boxes go around them."""
    single, joined = by_text(propagate(model, processor)), None
    outputs = propagate(small_model(multi_object_threshold=0.0), processor)
    joined = by_text(outputs)
    assert all((joined[key] >= single[key] - 1e-4).all() for key in single)
    assert all((joined[key] > single[key] + 1e-3).any() for key in single)
    assert_same(by_text(propagate(small_model(multi_object_threshold=1.0), processor)), single, rtol=1e-4, atol=1e-4)


# ---- geometry


def test_masks_and_boxes_of_a_padded_image():
    """An image of 30x60 resized to 60x120 and padded to 64x128: its right lower quarter."""
    logits = torch.full((1, 16, 32), -5.0)
    logits[:, 7:15, 15:30] = 5.0  # in quarters of the padded image
    mask = to_original_size(logits, (64, 128), (60, 120), (30, 60))[0] > 0
    rows, columns = mask.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (14, 29, 30, 59)
    box = torch.tensor([[90 / 128, 45 / 64, 60 / 128, 30 / 64]])
    assert boxes_in_pixels(box, (64, 128), (60, 120), (30, 60))[0].tolist() == [30.0, 15.0, 60.0, 30.0]


def test_boxes_end_at_the_image():
    box = torch.tensor([[0.5, 0.5, 3.0, 3.0]])
    assert boxes_in_pixels(box, (64, 64), (64, 64), (10, 20))[0].tolist() == [0.0, 0.0, 20.0, 10.0]


def test_confidence_of_a_mask():
    logits = torch.full((2, 4, 4), -9.0)
    logits[0, 0, 0], logits[0, 0, 1] = 0.0, torch.tensor(0.75).logit()
    assert mask_confidence(logits).tolist() == pytest.approx([0.75, 0.0])


def test_masks_of_chosen_queries_are_those_of_all(model, processor):
    """Videos make only the masks that answer."""
    pixels = processor.image_processor(list(FRAMES[:2])).pixel_values
    inner, tokens = model.model, processor.tokenize(["cat", "dog"])
    with torch.no_grad():
        features, text = inner.encode_images(pixels), inner.encode_text(**tokens, is_referring=True)
        every, some = (inner.decode(features, text, all_masks=value) for value in (True, False))
        masks = inner.decoder.masks_of(some, 1, [3, 0])
    assert some.final.pred_masks is None
    torch.testing.assert_close(masks, every.final.pred_masks[1, [3, 0]], rtol=1e-5, atol=1e-5)


def test_the_piecewise_feed_forward_layer_changes_nothing(model, monkeypatch):
    layer, states = model.model.pixel_decoder.layers[0].mlp, torch.randn(2, 50, 32)
    monkeypatch.setattr("glus_hf.models.glee.pixel_decoder_glee.MLP_PIECE", 16)
    with torch.no_grad():
        pieces = layer(states)
    torch.testing.assert_close(pieces, layer(states).detach(), rtol=1e-6, atol=1e-6)
