"""Frames that come one by one get the masks that they have in a file, from a state that does not grow."""

import numpy as np
import pytest
import torch
from PIL import Image

from glus_hf.errors import UserError
from tests.models.glus.small_glus import small_model, small_processor


TEXTS = ["the red circle", "the blue cross"]
NUM_FRAMES = 21


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def processor():
    return small_processor()


@pytest.fixture(scope="module")
def frames():
    return list(np.random.default_rng(0).integers(0, 255, (NUM_FRAMES, 20, 28, 3), dtype=np.uint8))


def push_all(model, session, frames, **options):
    return [model.push_frame(session, frame, **options) for frame in frames]


def largest_difference(live, whole):
    """Of logits, as a share of their range."""
    first, second = (torch.stack([output.mask_logits for output in outputs]) for outputs in (live, whole))
    return float((first - second).abs().max() / (second.max() - second.min()))


@pytest.mark.parametrize("options", [{}, {"frame_stride": 3}])
def test_a_fixed_context_gives_the_masks_of_the_file(model, processor, frames, options):
    whole = processor.init_video_session(frames, TEXTS)
    context = [frames[index] for index in whole.context_frame_indices]
    live = processor.init_live_session(TEXTS, context_frames=context, num_frames=NUM_FRAMES)
    pushed = push_all(model, live, frames, **options)
    assert [output.frame_idx for output in pushed] == list(range(NUM_FRAMES))
    of_file = list(model.propagate_in_video_iterator(whole, **options))
    assert largest_difference(pushed, of_file) <= 1e-6
    scores = [torch.stack([output.scores for output in outputs]) for outputs in (pushed, of_file)]
    torch.testing.assert_close(*scores, atol=1e-5, rtol=0)


def test_the_context_is_of_the_frames_seen_when_their_number_reached_a_power_of_two(model, processor, frames):
    """Without it the masks would be others: frame 7 is the last that a file of 8 frames has."""
    live = processor.init_live_session(TEXTS)
    contexts = []
    for frame in frames:
        model.push_frame(live, frame)
        contexts.append(live.context_frame_indices)
    expected = [processor.sample_context_frames(number) for number in (1, 2, 4, 8, 16)]
    assert [contexts[at] for at in (0, 1, 3, 7, 15)] == expected
    assert contexts[14] == contexts[7] and contexts[20] == contexts[15]


def test_a_first_frame_is_a_video_of_one(model, processor, frames):
    (alone,) = model.propagate_in_video_iterator(processor.init_video_session(frames[:1], TEXTS))
    assert largest_difference(push_all(model, processor.init_live_session(TEXTS), frames[:1]), [alone]) <= 1e-6


@pytest.mark.parametrize("context", ["middle", "uniform"])
def test_the_state_does_not_grow(model, processor, frames, context):
    live = processor.init_live_session(TEXTS, context_frames=context)
    held, entries, tokens = [], [], []
    for number in range(140):
        model.push_frame(live, frames[number % NUM_FRAMES])
        held.append(len(live.frames.held))
        entries.append(len(live.forward_pass.bank.entries))
        tokens.append(len(live.reader.tokens))
    assert max(held) <= 16 and max(held[70:]) <= max(held[:70])
    assert max(entries) <= model.config.num_maskmem + 1 and max(tokens) <= 8
    assert live.missing_seg_frames == [] and len(live.frames) == 140


def test_a_generator_is_read_no_further_than_asked(model, processor, frames):
    taken = []
    camera = (taken.append(index) or frame for index, frame in enumerate(frames))
    outputs = model.propagate_in_video_iterator(processor.init_live_session(TEXTS[0], video=camera))
    assert next(outputs).frame_idx == 0 and taken == [0]
    assert next(outputs).frame_idx == 1 and taken == [0, 1]


def test_what_a_frame_may_be(model, processor, frames):
    kinds = [frames[0], Image.fromarray(frames[0]), torch.from_numpy(frames[0]), frames[0] / np.float32(255)]
    outputs = [push_all(model, processor.init_live_session(TEXTS), [kind])[0].mask_logits for kind in kinds]
    for logits in outputs[1:]:
        torch.testing.assert_close(logits, outputs[0], atol=0, rtol=0)


def test_a_wrong_frame_changes_nothing(model, processor, frames):
    live, clean = (processor.init_live_session(TEXTS) for _ in range(2))
    expected = push_all(model, clean, frames[:3])
    found = push_all(model, live, frames[:2])
    for wrong, words in [(frames[0][:10], "resize the frames"), ("no.png", "no such file"), (7, "is a int")]:
        with pytest.raises(UserError, match=words):
            model.push_frame(live, wrong)
    found += push_all(model, live, frames[2:3])
    assert largest_difference(found, expected) == 0


def test_what_a_live_session_refuses(model, processor, frames):
    live = processor.init_live_session(TEXTS, video=iter(frames))
    for options in ({"key_frame": 2}, {"window": "whole"}):
        with pytest.raises(UserError, match="never looks ahead"):
            next(model.propagate_in_video_iterator(live, **options))
    with pytest.raises(UserError, match="has no video"):
        next(model.propagate_in_video_iterator(processor.init_live_session(TEXTS)))
    with pytest.raises(UserError, match="must be 4 images, got 2"):
        processor.init_live_session(TEXTS, context_frames=frames[:2])
    for options, words in (({"context_frames": "random"}, "change context_frames"), ({"num_frames": 0}, "at least 1")):
        with pytest.raises(UserError, match=words):
            processor.init_live_session(TEXTS, **options)


def test_the_first_mask_of_a_file_comes_after_one_window(model, processor, frames, monkeypatch):
    read, encode = [], model.model.encode_frames
    monkeypatch.setattr(
        model.model, "encode_frames", lambda pixels, times: read.append(len(pixels)) or encode(pixels, times)
    )
    next(model.propagate_in_video_iterator(processor.init_video_session(frames, TEXTS)))
    assert sum(read) == processor.num_context_frames + 1
