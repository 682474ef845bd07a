import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_hf.metrics.temporal_iou import temporal_iou


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 1)), min_size=1))
def test_equal_to_sets_of_frames(frames):
    predicted = {index for index, frame in enumerate(frames) if frame[0]}
    present = {index for index, frame in enumerate(frames) if frame[1]}
    scores = temporal_iou(*zip(*frames, strict=True))
    if not predicted | present:
        assert scores == {"tIoU": 1, "vIoU": 1}
        return
    assert scores["tIoU"] == len(predicted & present) / len(predicted | present)
    overlap = sum(frames[index][2] for index in predicted & present)
    assert scores["vIoU"] == pytest.approx(overlap / len(predicted | present))
    assert 0 <= scores["vIoU"] <= scores["tIoU"] + 1e-12


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 predicted frames, 1 target frames and 2"):
        temporal_iou([True, False], [True], np.zeros(2))
