"""The session contract: every frame once per expression, both ways, many expressions as one by one."""

import pytest
import torch

from glus_hf import UserError
from tests.models.grounded.small_grounded import SIDE, noise, small_model, small_processor


TEXTS = ["the red car", "a dog"]


def run(model, texts, key_frame=None, num_frames=6, **options):
    session = small_processor().init_video_session(noise(num_frames), texts, **options)
    return session, list(model.propagate_in_video_iterator(session, key_frame=key_frame))


def by_text(outputs, text):
    return {
        output.frame_idx: (output.mask_logits[row], output.scores[row])
        for output in outputs
        for row, index in enumerate(output.text_indices)
        if index == text
    }


def test_every_frame_once_from_the_best_box_both_ways():
    session, outputs = run(small_model(), "the dog")
    start = session.detections[0].frame_idx
    assert start in (1, 3, 5)
    assert [output.frame_idx for output in outputs] == [*range(start, 6), *range(start - 1, -1, -1)]
    assert all(output.mask_logits.shape == (1, 48, 64) for output in outputs)
    assert all(0 <= float(output.scores[0]) <= 1 for output in outputs)
    assert any(float(output.scores[0]) > 0 for output in outputs)


def test_expressions_together_are_as_one_by_one(monkeypatch):
    model, encoded = small_model(), []
    features = model.mask_model.get_image_features
    monkeypatch.setattr(
        model.mask_model, "get_image_features", lambda *a, **k: (encoded.append(1), features(*a, **k))[1]
    )
    _, together = run(model, TEXTS, key_frame=[1, 4])
    assert len(encoded) == len(together) == 5 + 4  # once for a frame on each way
    for text, start in enumerate([1, 4]):
        alone = by_text(run(model, TEXTS[text], key_frame=start)[1], 0)
        both = by_text(together, text)
        assert sorted(both) == sorted(alone) == list(range(6))
        for frame_idx, (logits, score) in both.items():
            torch.testing.assert_close(logits, alone[frame_idx][0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(score, alone[frame_idx][1], atol=1e-5, rtol=1e-5)


def test_a_low_score_means_nothing_is_there():
    _, outputs = run(small_model(no_target_threshold=1.0), "the dog")
    assert sorted(output.frame_idx for output in outputs) == list(range(6))
    assert all((output.mask_logits == -100).all() and output.scores.item() == 0 for output in outputs)


def test_context_frames_are_where_the_detector_looks():
    session, _ = run(small_model(), "the dog", context_frames=[4])
    assert session.detections[0].frame_idx == 4
    with pytest.raises(UserError, match="frame numbers in 0..5"):
        run(small_model(), "the dog", context_frames="uniform")


def test_another_mask_size_has_the_same_weights():
    model = small_model()
    before = model.mask_model
    model.set_mask_size(SIDE // 2)
    assert model.config.mask_config.image_size == 64
    same = zip(before.parameters(), model.mask_model.parameters(), strict=True)
    assert all(old.data_ptr() == new.data_ptr() for old, new in same)
    _, small = run(model, "the dog", key_frame=0)
    model.set_mask_size(SIDE)
    _, found = run(model, "the dog", key_frame=0)
    _, expected = run(small_model(), "the dog", key_frame=0)
    assert torch.equal(found[3].mask_logits, expected[3].mask_logits)
    assert not torch.equal(small[3].mask_logits, expected[3].mask_logits)
    with pytest.raises(UserError, match="multiple of 32"):
        model.set_mask_size(100)
