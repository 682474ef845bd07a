"""The session contract on three pairs: every frame once, both ways, windows behind a cache as whole prompts."""

import numpy as np
import pytest
import torch

from glus_hf import UserError
from tests.models.glus_vlm.small_glus_vlm import PAIRS, noise, small_model, small_processor


TEXTS = ["the red circle", "green square moving left"]


def run(model, processor, texts, frames=None, **options):
    session = processor.init_video_session(noise() if frames is None else frames, texts)
    return session, list(model.propagate_in_video_iterator(session, **options))


def by_text(outputs, text):
    return {
        output.frame_idx: (output.mask_logits[row], output.scores[row], output.seg_embeddings[row])
        for output in outputs
        for row, index in enumerate(output.text_indices)
        if index == text
    }


@pytest.mark.parametrize(("vlm", "mask"), PAIRS)
def test_expressions_together_are_as_one_by_one_from_their_key_frames(vlm, mask):
    model, processor = small_model(vlm, mask), small_processor(vlm, mask)
    session, together = run(model, processor, TEXTS, key_frame=[2, 4])
    assert [output.frame_idx for output in together] == [2, 3, 4, 5, 6, 3, 2, 1, 0]
    assert session.missing_seg_frames == [[], []]
    for text, start in enumerate([2, 4]):
        _, outputs = run(model, processor, TEXTS[text], key_frame=start, batch_size=1)
        alone, both = by_text(outputs, 0), by_text(together, text)
        assert list(alone) == [*range(start, 7), *range(start - 1, -1, -1)] and sorted(both) == list(range(7))
        for frame_idx, (logits, score, embedding) in both.items():
            torch.testing.assert_close(embedding, alone[frame_idx][2], atol=2e-6, rtol=1e-5)
            torch.testing.assert_close(logits, alone[frame_idx][0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(score, alone[frame_idx][1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("vlm", "mask"), PAIRS)
@pytest.mark.parametrize("frame_times", [False, True])
def test_windows_behind_the_cache_are_as_the_training_pass(vlm, mask, frame_times):
    """One teacher-forced pass over the whole conversation, without any cache, gives the [SEG] states of a window."""
    model, processor = small_model(vlm, mask), small_processor(vlm, mask, frame_times=frame_times)
    frames = noise(3)
    session, outputs = run(model, processor, TEXTS[:1], frames, window="whole")
    context = session.context_frame_indices
    sample = {"frames": [frames[i] for i in [*context, 0, 1, 2]], "expressions": TEXTS[:1]}
    sample["frame_times"] = [i / 2 for i in [*context, 0, 1, 2]]
    with torch.no_grad():
        expected = model(**processor([sample])).seg_embeddings[0]
    torch.testing.assert_close(torch.cat([o.seg_embeddings for o in outputs]), expected, atol=2e-6, rtol=1e-5)
    sliding = run(model, processor, TEXTS[:1], frames)[1]
    torch.testing.assert_close(sliding[2].seg_embeddings, expected[[2]], atol=2e-6, rtol=1e-5)


def test_frame_times_are_words_before_every_frame():
    processor = small_processor(frame_times=True)
    session = processor.init_video_session(noise(3), TEXTS[:1])
    text = processor.tokenizer.decode(session.prefix_input_ids)
    assert text.count("Frame at") == 2 and session.time_input_ids[1] == processor.time_ids(0.5)
    assert session.turn_ids(0, 2) == processor.time_ids(1.0) + session.turn_input_ids[0]
    without = small_processor().init_video_session(noise(3), TEXTS[:1])
    assert [token for token in session.prefix_input_ids if token in without.prefix_input_ids] != []
    assert without.time_input_ids == [[]] * 3


def test_frames_without_seg_are_reported_and_empty():
    model = small_model()
    with torch.no_grad():
        model.vlm.lm_head.bias[model.config.seg_token_id] = -10
    session, outputs = run(model, small_processor(), "the red circle")
    assert session.missing_seg_frames == [list(range(7))]
    assert all((output.mask_logits == -100).all() and output.missing == [0] for output in outputs)


@pytest.mark.parametrize(("vlm", "mask"), PAIRS)
def test_a_given_mask_takes_the_place_of_the_models_own(vlm, mask, monkeypatch):
    model, processor = small_model(vlm, mask), small_processor(vlm, mask)
    given = np.zeros((48, 64), bool)
    given[10:30, 20:50] = True
    session = processor.init_video_session(noise(), TEXTS)
    session.keep_readings = True
    before = by_text(model.propagate_in_video_iterator(session), 1)
    session.add_prompt(3, 1, mask=given)
    monkeypatch.setattr(model, "read_windows", None)  # the language model is not asked again
    after = by_text(model.propagate_in_video_iterator(session), 1)
    same = [torch.allclose(before[frame][0], after[frame][0], atol=1e-5) for frame in range(5)]
    assert same == [True] * 3 + [False] * 2 and torch.equal(after[3][0] > 0, torch.from_numpy(given))


def test_a_window_and_a_text_of_the_same_video_share_the_features_of_a_frame(monkeypatch):
    model, seen = small_model(), []
    features = model.vlm.model.get_image_features
    count = lambda **options: seen.append(len(options["image_grid_thw"])) or features(**options)
    monkeypatch.setattr(model.vlm.model, "get_image_features", count)
    session, _ = run(model, small_processor(), TEXTS)
    again = set(session.context_frame_indices)
    assert sum(seen) == 7 and again <= set(range(7))


def test_a_processor_of_another_model_is_refused():
    processor = small_processor("smolvlm", "sam2_video")
    with pytest.raises(UserError, match="vlm_type is smolvlm, the model's qwen2_5_vl"):
        run(small_model(), processor, "the red circle")
    with pytest.raises(UserError, match="num_context_frames is 1, the model's 2"):
        run(small_model(), small_processor(num_context_frames=1), "the red circle")
    with pytest.raises(UserError, match="call model.eval"):
        run(small_model().train(), small_processor(), "the red circle")
