"""Masks of a user in the pipeline: what they change, and who takes none."""

import numpy as np
import pytest

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
    first, second = pipe(FRAMES, TEXTS, corrections=[(2, 0, MASK)], **options)
    assert not first["no_target"] and np.array_equal(first["masks"][2], MASK)
    assert second["no_target"] and not second["masks"].any()


@pytest.mark.parametrize(
    "corrections, message",
    [
        ([(6, 0, MASK)], "0..5"),
        ([(0, 2, MASK)], "0..1"),
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


def test_a_model_that_takes_none_says_so():
    with pytest.raises(UserError, match="takes no corrected masks"):
        glus_hf.pipeline(model="glee-tiny", device="cpu")(FRAMES, TEXTS, corrections=[(0, 0, MASK)])
