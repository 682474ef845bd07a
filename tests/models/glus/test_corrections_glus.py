"""A mask given for a frame takes the place of GLUS's own, in the result and in the memory."""

import numpy as np
import pytest
import torch

import glus_hf
from glus_hf import UserError
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.metrics.j_and_f import j_and_f
from glus_hf.models.mask_branch import given_logits
from tests.models.glus.small_glus import small_model, small_processor


FRAMES = list(np.random.default_rng(0).integers(0, 255, (7, 20, 28, 3), dtype=np.uint8))
MASK = np.zeros((20, 28), bool)
MASK[4:12, 6:20] = True
TEXTS = ["the red circle", "the square"]


@pytest.fixture(scope="module")
def model():
    return small_model()


def run(model, session, **options):
    outputs = {output.frame_idx: output for output in model.propagate_in_video_iterator(session, **options)}
    return [outputs[frame].mask_logits for frame in range(session.num_frames)], outputs


def same(left, right):
    return [bool(torch.allclose(*pair, atol=1e-5)) for pair in zip(left, right, strict=True)]


def test_only_later_frames_of_the_corrected_expression_change(model):
    session = small_processor().init_video_session(FRAMES, TEXTS)
    before, _ = run(model, session)
    session.add_prompt(3, 1, mask=MASK)
    after, outputs = run(model, session)
    assert torch.equal(after[3][1] > 0, torch.from_numpy(MASK)) and outputs[3].scores[1] == 1
    first, second = (same([each[text] for each in before], [each[text] for each in after]) for text in (0, 1))
    assert all(first) and second[:3] == [True] * 3 and not any(second[3:])


def test_on_the_way_back_earlier_frames_change(model):
    session = small_processor().init_video_session(FRAMES, TEXTS[0])
    before, _ = run(model, session, key_frame=4)
    session.add_prompt(2, 0, mask=MASK)
    after, _ = run(model, session, key_frame=4)
    assert same(before, after) == [False, False, False, True, True, True, True]


def test_kept_readings_give_the_same_masks_without_the_language_model(model, monkeypatch):
    plain, kept = (small_processor().init_video_session(FRAMES, TEXTS) for _ in range(2))
    kept.keep_readings = True
    run(model, kept)
    for session in (plain, kept):
        session.add_prompt(3, 1, mask=MASK)
    expected, _ = run(model, plain)
    monkeypatch.setattr(model, "read_windows", None)  # is not called
    corrected, _ = run(model, kept)
    assert all(same(expected, corrected))


def test_a_frame_without_an_answer_can_be_corrected(model):
    silent = small_model()
    with torch.no_grad():
        silent.lm_head.weight[silent.config.seg_token_id] = 0
        silent.lm_head.bias.fill_(0)
        silent.lm_head.bias[0] = 1e4
    session = small_processor().init_video_session(FRAMES, TEXTS[0])
    session.add_prompt(3, 0, mask=MASK)
    masks, outputs = run(silent, session)
    assert [frame for frame in range(7) if (masks[frame] > 0).any()] == [3]
    assert outputs[2].missing == [0] and outputs[3].missing == []


def test_what_is_refused():
    session = small_processor().init_video_session(FRAMES, TEXTS)
    with pytest.raises(UserError, match="corrected by masks"):
        session.add_prompt(0, 0, box=[1, 2, 9, 9])
    with pytest.raises(UserError, match="0..1"):
        session.add_prompt(0, 2, mask=MASK)


def test_logits_of_a_mask_have_its_contour():
    logits = given_logits(torch.from_numpy(MASK), (10, 14))
    assert torch.equal(logits > 0, torch.from_numpy(MASK[::2, ::2])) and logits.max() == -logits.min() == 10


@pytest.mark.slow
def test_one_corrected_frame_of_glus_tiny_raises_j_and_f_of_the_others():
    """On occlusion clips, of expressions that it loses: frames before and the corrected one are not counted."""
    pipe = glus_hf.pipeline(model="glus-tiny", device="cpu")
    gains = []
    for index in range(12):
        clip = generate_clip(index, split="occlusion", seed=0)
        for expression in clip.expressions[:2]:
            target = clip.target_masks(expression)
            session = pipe.processor.init_video_session(list(clip.frames), expression.text)
            own = [(each[0] > 0).numpy() for each in run(pipe.model, session)[0]]
            scores = [j_and_f(mask[None], true[None])["j_and_f"] for mask, true in zip(own, target, strict=True)]
            lost = next(
                (frame for frame, score in enumerate(scores[:-2]) if score < 0.5 and target[frame].any()), None
            )
            if lost is None:
                continue
            session.add_prompt(lost, 0, mask=target[lost])
            corrected = [(each[0] > 0).numpy() for each in run(pipe.model, session)[0]]
            rest = slice(lost + 1, None)
            before, after = (j_and_f(np.stack(masks[rest]), target[rest])["j_and_f"] for masks in (own, corrected))
            gains.append(after - before)
    assert len(gains) >= 3 and np.mean(gains) > 0.1
