"""What a video may ask for, wherever one is read."""

import numpy as np
import pytest

from glus_hf.data.frames import read_frame, read_frames
from glus_hf.errors import VideoError
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.media.decode_limits import DecodeLimits
from glus_hf.media.video import write_video
from glus_hf.pipelines.inputs import FrameAddresses, load_input
from glus_hf.pipelines.parameters import check_parameters


SMALL = DecodeLimits(memory=3 * 32 * 48 * 3)


@pytest.fixture
def clip(tmp_path):
    write_video(tmp_path / "clip.mp4", np.stack([np.full((32, 48, 3), 20 * index, np.uint8) for index in range(5)]))
    return tmp_path / "clip.mp4"


def test_inputs_of_the_pipeline(clip):
    addresses = [f"motion_shapes://test/0/64/8/0/{index}" for index in range(4)]
    for source in (clip, f"file://{clip}", clip.read_bytes(), FrameAddresses(addresses, list("0123"))):
        assert not isinstance(load_input(source, None, None, SMALL).frames, list)  # they are not held together
        assert isinstance(load_input(source, None, None, None).frames, list)
    with pytest.raises(VideoError, match="memory"):
        load_input((np.zeros((32, 48, 3), np.uint8) for _ in range(5)), None, None, SMALL)
    with pytest.raises(ValueError, match="limits must be a DecodeLimits or None, got 5"):
        check_parameters({"limits": 5})


def test_frames_of_rows(clip):
    with pytest.raises(VideoError, match="frame_pixels"):
        read_frame(f"video://0::{clip}", DecodeLimits(frame_pixels=100))
    assert read_frame(f"video://4::{clip}", SMALL).shape == (32, 48, 3)
    assert len(read_frames([f"video://{index}::{clip}" for index in range(5)])) == 5


def test_limits_are_no_setting_of_an_evaluation():
    assert EvaluationOptions(limits=SMALL).settings() == EvaluationOptions().settings()
