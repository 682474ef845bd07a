"""Raw frames from a pipe: however the bytes arrive."""

import io
import logging

import numpy as np
import pytest

from glus_hf.errors import VideoError
from glus_hf.media.decode_limits import DecodeLimits
from glus_hf.media.raw_frames import parse_size, read_raw_frames


FRAMES = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, content: bytes, step: int):
        self.content, self.step = content, step

    def readable(self):
        return True

    def readinto(self, buffer):
        count = min(self.step, len(buffer))
        part, self.content = self.content[:count], self.content[count:]
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("step", [1, 5, 36])
def test_short_reads(step):
    np.testing.assert_array_equal(np.stack(list(read_raw_frames(Trickle(FRAMES.tobytes(), step), (4, 6)))), FRAMES)


def test_a_frame_comes_before_the_next_is_there():
    stream = io.BytesIO(FRAMES.tobytes())
    frames = read_raw_frames(stream, (4, 6))
    np.testing.assert_array_equal(next(frames), FRAMES[0])
    assert stream.tell() == 72


def test_a_cut_last_frame_is_left_out(caplog):
    with caplog.at_level(logging.WARNING):
        found = list(read_raw_frames(io.BytesIO(FRAMES.tobytes()[:-1]), (4, 6)))
    assert len(found) == 2 and "ended within frame 00002 (71 of 72 bytes), which is left out" in caplog.text


@pytest.mark.parametrize("content", [b"", b"1" * 71])
def test_no_frame_at_all(content):
    with pytest.raises(VideoError, match=f"ended after {len(content)} of 72 bytes of a 6x4 frame: check --size"):
        list(read_raw_frames(io.BytesIO(content), (4, 6)))


@pytest.mark.parametrize("text", ["640", "640x", "0x4", "-1x4", "640x360x3", "6" * 9 + "x1"])
def test_what_is_no_size(text):
    with pytest.raises(VideoError, match="is no size: write WIDTHxHEIGHT"):
        parse_size(text)


def test_a_size_beyond_the_limit():
    assert parse_size("10000x5000") == (5000, 10000)
    with pytest.raises(VideoError, match="more than the 1000 pixels"):
        parse_size("40x40", DecodeLimits(frame_pixels=1000))
