"""What sessions of all families share."""

import numpy as np
import pytest

from glus_hf import UserError
from glus_hf.models.sessions import key_frame_per_text, load_frames, sides


def test_sides_of_every_form():
    assert sides(64) == (64, 64)
    assert sides([64, 32]) == sides((64, 32)) == sides({"height": 64, "width": 32}) == (64, 32)


def test_sides_of_configs_that_disagree_differ():
    assert sides(64) == sides({"width": 64, "height": 64}) != sides({"height": 64, "width": 63})


@pytest.mark.parametrize("key_frame", [5, -1, True, 1.0, "auto", [0, 1, 2], [0, 5]])
def test_key_frames_that_are_none_are_one_line(key_frame):
    with pytest.raises(UserError, match="key.frame") as error:
        key_frame_per_text(key_frame, num_texts=2, num_frames=5)
    assert "\n" not in str(error.value)


def test_frames_of_one_video_have_one_size():
    frames = [np.zeros((4, 6, 3), np.uint8)] * 2
    assert len(load_frames(frames)) == 2
    with pytest.raises(UserError, match="size|shape"):
        load_frames([*frames, np.zeros((6, 4, 3), np.uint8)])
