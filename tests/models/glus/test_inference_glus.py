"""The one road of inference: every frame once, features shared, state only in the session."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_hf.models.memory_bank import MemoryBank
from glus_hf.models.window_reader import WindowReader
from tests.models.glus.small_glus import small_model, small_processor


TOLERANCE = {"atol": 5e-6, "rtol": 1e-4}


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def processor():
    return small_processor()


def random_frames(count, height=20, width=28, seed=0):
    return list(np.random.default_rng(seed).integers(0, 255, (count, height, width, 3), dtype=np.uint8))


def run(model, session, **kwargs):
    return {output.frame_idx: output for output in model.propagate_in_video_iterator(session, **kwargs)}


@settings(max_examples=15, deadline=None)
@given(data=st.data(), length=st.integers(1, 21))
def test_every_frame_comes_exactly_once_from_any_key_frame(model, processor, data, length):
    key_frame = data.draw(st.integers(0, length - 1))
    session = processor.init_video_session(random_frames(length), "the red circle")
    order = [output.frame_idx for output in model.propagate_in_video_iterator(session, key_frame=key_frame)]
    assert order == [*range(key_frame, length), *range(key_frame - 1, -1, -1)]


def test_masks_come_at_the_resolution_of_the_video(model, processor):
    session = processor.init_video_session(random_frames(2, 17, 31), ["the red circle", "the square", "the cross"])
    for output in model.propagate_in_video_iterator(session):
        assert output.mask_logits.shape == (3, 17, 31) and output.mask_logits.dtype == torch.float32
        assert output.scores.shape == (3,) and (output.scores >= 0).all() and (output.scores <= 1).all()
        assert output.seg_embeddings.shape == (3, model.config.seg_embedding_size)


def test_each_frame_is_encoded_once_for_all_expressions_and_both_directions(model, processor, monkeypatch):
    seen = {"clip": 0, "mask": 0}
    encode_frames, encode_mask_frames = model.model.encode_frames, model.model.encode_mask_frames
    monkeypatch.setattr(
        model.model, "encode_frames", lambda pixels, times: _count(seen, "clip", pixels, encode_frames, times)
    )
    monkeypatch.setattr(
        model.model, "encode_mask_frames", lambda pixels: _count(seen, "mask", pixels, encode_mask_frames)
    )
    session = processor.init_video_session(random_frames(37), ["the red circle", "the blue cross"])
    run(model, session, key_frame=20)
    assert seen == {"clip": 37, "mask": 37}


def test_expressions_with_different_key_frames_equal_one_by_one(model, processor):
    texts, frames = ["the red circle", "the blue cross", "the square", "the cross"], random_frames(9)
    starts = [6, 0, 6, 3]
    found = [{} for _ in texts]
    outputs = list(model.propagate_in_video_iterator(processor.init_video_session(frames, texts), key_frame=starts))
    for output in outputs:
        assert output.mask_logits.shape[0] == len(output.text_indices) == len(output.scores)
        for row, text in enumerate(output.text_indices):
            assert output.frame_idx not in found[text]
            found[text][output.frame_idx] = output.mask_logits[row], output.scores[row]
    for text, start in enumerate(starts):
        alone = run(model, processor.init_video_session(frames, texts[text]), key_frame=start)
        assert list(found[text]) == list(alone)  # forward first, then back
        for frame, output in alone.items():
            logits, score = found[text][frame]
            torch.testing.assert_close(logits, output.mask_logits[0], **TOLERANCE)
            torch.testing.assert_close(score, output.scores[0], atol=1e-5, rtol=1e-4)


def test_key_frames_as_a_selector_returns_them(model, processor):
    session = processor.init_video_session(random_frames(4), ["the red circle", "the square"])
    order = lambda key: [output.frame_idx for output in model.propagate_in_video_iterator(session, key_frame=key)]
    expected = order([2, 1])
    assert order(torch.tensor([2, 1])) == order(np.array([2, 1])) == expected
    assert order(torch.tensor(2)) == order(np.int64(2)) == order(2)


def test_different_key_frames_encode_each_frame_at_most_twice(model, processor, monkeypatch):
    seen, prefixes = {"clip": 0, "mask": 0}, []
    encode_frames, encode_mask_frames = model.model.encode_frames, model.model.encode_mask_frames
    monkeypatch.setattr(
        model.model, "encode_frames", lambda pixels, times: _count(seen, "clip", pixels, encode_frames, times)
    )
    monkeypatch.setattr(
        model.model, "encode_mask_frames", lambda pixels: _count(seen, "mask", pixels, encode_mask_frames)
    )
    read_prefix = model.read_prefix
    monkeypatch.setattr(model, "read_prefix", lambda *args: prefixes.append(1) or read_prefix(*args))
    session = processor.init_video_session(random_frames(37), ["the red circle", "the blue cross", "the square"])
    list(model.propagate_in_video_iterator(session, key_frame=[20, 5, 33]))
    assert seen["mask"] == (37 - 5) + 33  # forward from the first of them, back from the last
    assert seen["clip"] <= 37 + 33 and len(prefixes) == 1


def _count(seen, name, pixels, function, *args):
    seen[name] += len(pixels)
    return function(pixels, *args)


def largest_difference(first, second):
    return max((first[frame].mask_logits - second[frame].mask_logits).abs().max().item() for frame in first)


def test_another_expression_another_video_and_no_memory_change_the_masks(model, processor):
    """The tolerances of this file are far below what matters."""
    frames = random_frames(7)
    expected = run(model, processor.init_video_session(frames, "the red circle"))
    other_text = run(model, processor.init_video_session(frames, "the blue cross"))
    other_video = run(model, processor.init_video_session(random_frames(7, seed=1), "the red circle"))
    without_memory = run(small_model(num_maskmem=0), processor.init_video_session(frames, "the red circle"))
    for other in (other_text, other_video, without_memory):
        assert largest_difference(expected, other) > 100 * TOLERANCE["atol"]


def test_many_expressions_equal_one_by_one(model, processor):
    texts = ["the red circle", "the small blue cross moving left", "the square"]
    frames = random_frames(7)
    together = run(model, processor.init_video_session(frames, texts), key_frame=3)
    for index, text in enumerate(texts):
        alone = run(model, processor.init_video_session(frames, text), key_frame=3)
        for frame, output in alone.items():
            torch.testing.assert_close(output.mask_logits[0], together[frame].mask_logits[index], **TOLERANCE)
            torch.testing.assert_close(output.scores[0], together[frame].scores[index], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_does_not_change_the_result(model, processor, batch_size):
    frames = random_frames(9)
    texts = ["the red circle", "the tiny green triangle going up"]
    expected = run(model, processor.init_video_session(frames, texts))
    actual = run(model, processor.init_video_session(frames, texts), batch_size=batch_size)
    for frame, output in expected.items():
        torch.testing.assert_close(actual[frame].mask_logits, output.mask_logits, **TOLERANCE)


def test_the_forward_pass_from_a_key_frame_is_that_of_the_video_cut_there(model, processor):
    """Context frames stay those of the whole video; nothing before the key frame reaches the frames after it."""
    frames = random_frames(8)
    session = processor.init_video_session(frames, "the square")
    whole = run(model, session, key_frame=5)
    changed = [np.zeros_like(frame) if index < 5 else frame for index, frame in enumerate(frames)]
    other = processor.init_video_session(changed, "the square", context_frames=[5, 6, 6, 7])
    same = processor.init_video_session(frames, "the square", context_frames=[5, 6, 6, 7])
    expected, actual = run(model, same, key_frame=5), run(model, other, key_frame=5)
    for frame in (5, 6, 7):
        torch.testing.assert_close(actual[frame].mask_logits, expected[frame].mask_logits)
    assert set(whole) == set(range(8))


def test_two_interleaved_sessions_share_one_model(model, processor):
    frames, others = random_frames(6, seed=1), random_frames(6, seed=2)
    expected = run(model, processor.init_video_session(frames, "the square"))
    first = model.propagate_in_video_iterator(processor.init_video_session(frames, "the square"))
    second = model.propagate_in_video_iterator(processor.init_video_session(others, "the circle"))
    for left, _ in zip(first, second, strict=True):
        torch.testing.assert_close(left.mask_logits, expected[left.frame_idx].mask_logits)


def test_frames_without_seg_are_empty_listed_and_leave_no_memory(processor):
    model = small_model()
    with torch.no_grad():  # [SEG] has probability 0
        model.lm_head.bias[model.config.seg_token_id] = -100
    session = processor.init_video_session(random_frames(3), ["the square", "the circle"])
    outputs = run(model, session)
    assert session.missing_seg_frames == [[0, 1, 2], [0, 1, 2]]
    for output in outputs.values():
        assert (output.mask_logits < 0).all() and output.scores.tolist() == [0, 0]


def test_memory_of_the_bank_is_bounded(model, processor, monkeypatch):
    sizes = []
    write = MemoryBank.write
    monkeypatch.setattr(MemoryBank, "write", lambda bank, *args: (write(bank, *args), sizes.append(len(bank.entries))))
    run(model, processor.init_video_session(random_frames(40), "the square"))
    assert max(sizes) <= model.config.num_maskmem + 1 and sizes[-1] == sizes[-2]


@pytest.mark.parametrize("key_frame", [-1, 3, "middle", 1.5])
def test_a_key_frame_outside_the_video_is_refused(model, processor, key_frame):
    session = processor.init_video_session(random_frames(3), "the square")
    with pytest.raises(ValueError, match=r"key_frame must be an integer in 0\.\.2"):
        next(model.propagate_in_video_iterator(session, key_frame=key_frame))


def test_there_is_one_key_frame_per_expression(model, processor):
    session = processor.init_video_session(random_frames(3), ["the red circle", "the square"])
    with pytest.raises(ValueError, match="2 expressions but 3 key frames"):
        next(model.propagate_in_video_iterator(session, key_frame=[0, 1, 2]))
    with pytest.raises(ValueError, match=r"key_frame must be an integer in 0\.\.2"):
        next(model.propagate_in_video_iterator(session, key_frame=[0, 3]))


def test_training_mode_is_refused(processor):
    session = processor.init_video_session(random_frames(1), "the square")
    with pytest.raises(ValueError, match="eval"):
        next(small_model().train().propagate_in_video_iterator(session))


def test_one_frame_video(model, processor):
    outputs = run(model, processor.init_video_session(random_frames(1), "the square"))
    assert list(outputs) == [0]


def test_without_context_frames_each_window_stands_alone():
    model, processor = small_model(), small_processor()
    processor.num_context_frames = model.config.num_context_frames = 0
    frames = random_frames(5)
    outputs = run(model, processor.init_video_session(frames, "the square"))
    others = run(model, processor.init_video_session([*frames[:3], *random_frames(2, seed=9)], "the square"))
    for frame in range(3):  # no frame of the future is read
        torch.testing.assert_close(outputs[frame].mask_logits, others[frame].mask_logits)


@pytest.mark.parametrize("key_frame", [None, 4])
def test_one_expression_failing_on_some_frames_leaves_the_other_alone(model, processor, monkeypatch, key_frame):
    frames, texts, failing = random_frames(8), ["the square", "the red circle"], {0, 4, 6}
    expected = [run(model, processor.init_video_session(frames, text), key_frame=key_frame)[7] for text in texts]
    session = processor.init_video_session(frames, texts)
    read = WindowReader.read

    def fail_sometimes(reader, frames, active):
        found = read(reader, frames, active)
        for frame, passes, predictions in zip(frames, active, found, strict=True):
            row = [text for each in passes for text in each.texts].index(1)
            predictions.emitted[row] &= frame not in failing
        return found

    monkeypatch.setattr(WindowReader, "read", fail_sometimes)
    outputs = run(model, session, key_frame=key_frame)
    assert session.missing_seg_frames == [[], sorted(failing, key=lambda f: (f < (key_frame or 0), f))]
    assert all((outputs[frame].mask_logits[1] < 0).all() and outputs[frame].scores[1] == 0 for frame in failing)
    torch.testing.assert_close(outputs[7].mask_logits[0], expected[0].mask_logits[0], **TOLERANCE)
    # fewer memories: the masks of the failing expression are not those of the undisturbed one
    assert (outputs[7].mask_logits[1] - expected[1].mask_logits[0]).abs().max() > 10 * TOLERANCE["atol"]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda model: setattr(model.config, "seg_token_id", None), "seg_token_id"),
        (lambda model: setattr(model.config, "num_context_frames", 2), "num_context_frames"),
        (lambda model: setattr(model.config.vision_config, "image_size", 64), "crop_size"),
        (lambda model: setattr(model.config.mask_config, "image_size", 128), "mask_size"),
    ],
)
def test_a_processor_of_another_model_is_refused(processor, change, message):
    model = small_model()
    change(model)
    with pytest.raises(ValueError, match=message):
        next(model.propagate_in_video_iterator(processor.init_video_session(random_frames(2), "the square")))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(model, processor, batch_size):
    session = processor.init_video_session(random_frames(2), "the square")
    with pytest.raises(ValueError, match="batch_size"):
        next(model.propagate_in_video_iterator(session, batch_size=batch_size))


def test_a_training_batch_of_the_processor_fits_the_model(processor):
    sample = {"frames": random_frames(8), "expressions": ["the square", "the red circle"]}
    sample["masks"] = np.ones((2, 4, 20, 28), dtype=np.uint8)
    output = small_model()(**processor([sample]))
    assert torch.isfinite(output.loss) and output.mask_logits[0].shape[:2] == (2, 4)
    timed = small_model(frame_position_embedding=True)
    with pytest.raises(ValueError, match="frame_times"):
        timed(**processor([sample]))
    output = timed(**processor([{**sample, "frame_times": np.linspace(0, 1, 8)}]))
    assert torch.isfinite(output.loss)


def test_a_whole_window_gives_the_seg_of_each_frame_as_training_does(model, processor, monkeypatch):
    frames, texts = random_frames(6), ["the red circle", "the small blue cross moving left"]
    session = processor.init_video_session(frames, texts)
    reads, read_windows = [], model.read_windows
    monkeypatch.setattr(model, "read_windows", lambda *args: reads.append(len(args[1])) or read_windows(*args))
    outputs = run(model, session, window="whole")
    assert sum(reads) == 2 * 2  # windows of four and of two frames, for two expressions
    context = [frames[index] for index in session.context_frame_indices]
    sample = {"frames": [*context, *frames[:4]], "expressions": texts, "masks": np.ones((2, 4, 20, 28), np.uint8)}
    batch = processor([sample])
    ids = [session.prefix_input_ids + 4 * turn for turn in session.turn_input_ids]  # the questions of inference
    rows = [torch.tensor(row) for row in ids]
    batch["input_ids"] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    batch["attention_mask"] = (
        torch.arange(batch["input_ids"].shape[1])[None] < torch.tensor([[len(r)] for r in ids])
    ).long()
    with torch.no_grad():
        expected = model.model(
            batch["input_ids"], batch["pixel_values"], batch["attention_mask"], expressions_per_video=[2]
        ).seg_embeddings
    for frame in range(4):
        torch.testing.assert_close(outputs[frame].seg_embeddings, expected[:, frame], **TOLERANCE)


@pytest.mark.parametrize("key_frame", [0, 3, [5, 2]])
@pytest.mark.parametrize("settings", [{"window": "whole"}, {"frame_stride": 3}], ids=["whole", "stride"])
def test_fast_modes_give_every_frame_once_and_the_same_together_and_alone(model, processor, key_frame, settings):
    frames, texts = random_frames(9), ["the red circle", "the tiny green triangle going up"]
    together = [{}, {}]
    outputs = model.propagate_in_video_iterator(processor.init_video_session(frames, texts), key_frame, 3, **settings)
    for output in outputs:
        for row, text in enumerate(output.text_indices):
            assert output.frame_idx not in together[text]
            together[text][output.frame_idx] = output.mask_logits[row]
    for text, found in enumerate(together):
        start = key_frame[text] if isinstance(key_frame, list) else key_frame
        alone = run(model, processor.init_video_session(frames, texts[text]), key_frame=start, **settings)
        assert sorted(found) == sorted(alone) == list(range(9))
        for frame, logits in found.items():
            torch.testing.assert_close(logits, alone[frame].mask_logits[0], **TOLERANCE)


def test_a_stride_reads_some_frames_and_carries_their_seg(model, processor):
    frames = random_frames(8)
    exact = run(model, processor.init_video_session(frames, "the square"), key_frame=1)
    strided = run(model, processor.init_video_session(frames, "the square"), key_frame=1, frame_stride=3)
    for frame, source in {1: 1, 2: 1, 3: 1, 4: 4, 6: 4, 7: 7}.items():
        torch.testing.assert_close(strided[frame].seg_embeddings, exact[source].seg_embeddings, **TOLERANCE)
    assert largest_difference(exact, strided) > 100 * TOLERANCE["atol"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"window": "half"}, "window must be one of sliding, whole"),
        ({"frame_stride": 0}, "frame_stride must be a whole number of at least 1"),
        ({"window": "whole", "frame_stride": 2}, "leave frame_stride at 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(model, processor, settings, message):
    session = processor.init_video_session(random_frames(2), "the square")
    with pytest.raises(ValueError, match=message):
        next(model.propagate_in_video_iterator(session, **settings))
