"""Masks of a user in the pipeline: what they change, and who takes none."""

import numpy as np
import pytest
import torch

import glus_hf
from glus_hf import UserError
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.inference.corrections import Correction


CLIP = generate_clip(0, split="test", size=64, num_frames=6)
TEXTS = [expression.text for expression in CLIP.expressions[:2]]
FRAMES = list(CLIP.frames)
MASK = np.zeros((64, 64), bool)
MASK[10:30, 20:50] = True


@pytest.fixture(scope="module")
def pipe():
    return glus_hf.pipeline(model="glus-tiny", device="cpu")


def test_given_masks_come_back_and_frames_before_them_stay(pipe):
    plain = pipe(FRAMES, TEXTS)
    sample = {
        "video": FRAMES,
        "text": TEXTS,
        "corrections": [Correction(2, 0, ~MASK), (2, 0, MASK), (4, 1, MASK & False)],
    }
    first, second = pipe(sample)
    assert np.array_equal(first["masks"][2], MASK) and first["scores"][2] == 1
    assert np.array_equal(first["masks"][:2], plain[0]["masks"][:2])
    assert not second["masks"][4].any() and second["scores"][4] == 0 and second["missing_seg_frames"] == []


def test_an_expression_with_a_mask_of_yours_fits_something(pipe):
    options = {"selector": "glus-selector-tiny", "no_target_threshold": 2.0}
    given = [(2, 0, torch.from_numpy(MASK)), (2, 1, MASK), (2, 1, MASK & False)]  # the last of two counts
    first, second = pipe(FRAMES, TEXTS, corrections=given, **options)
    assert not first["no_target"] and np.array_equal(first["masks"][2], MASK)
    assert second["no_target"] and not second["masks"].any()


def test_a_mask_may_be_drawn_on_afterwards(pipe):
    session, mask = pipe.processor.init_video_session(FRAMES, TEXTS), MASK.copy()
    session.add_prompt(1, 0, mask=mask)
    mask[:] = True
    assert np.array_equal(session.given_masks(1)[0], MASK)


@pytest.mark.parametrize(
    "corrections, message",
    [
        ([(6, 0, MASK)], "0..5"),
        ([(0, 2, MASK)], "0..1"),
        ([(True, 0, MASK)], "frame_idx must be an integer in 0..5, got True"),
        ([(0, 0, MASK[:9])], r"must be bool \[64, 64\]"),
        ([(0, 0, MASK.astype(np.uint8))], "must be bool"),
        ([(0, 0)], "must be a list of"),
        ([MASK], "must be a list of"),
        ({0: MASK}, "corrections must be a list of"),
        (7, "corrections must be a list of"),
    ],
)
def test_what_is_no_correction_is_one_line(pipe, corrections, message):
    with pytest.raises(UserError, match=message) as error:
        pipe(FRAMES, TEXTS, corrections=corrections)
    assert "\n" not in str(error.value)


def test_corrections_of_a_sample_that_are_none_are_one_line(pipe):
    with pytest.raises(UserError, match="corrections must be a list of"):
        pipe({"video": FRAMES, "text": TEXTS, "corrections": 7})


def test_a_model_that_takes_none_says_so():
    with pytest.raises(UserError, match="takes no corrected masks"):
        glus_hf.pipeline(model="glee-tiny", device="cpu")(FRAMES, TEXTS, corrections=[(0, 0, MASK)])
