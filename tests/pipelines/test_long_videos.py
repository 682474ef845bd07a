"""Videos that are longer than memory: the same answers as of frames that are all held."""

import json
import subprocess
import sys

import numpy as np
import pytest

from glus_hf import pipeline
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.errors import VideoError
from glus_hf.media import frames_on_demand
from glus_hf.media.file_frames import FileFrames
from glus_hf.media.rle import decode_rle
from glus_hf.media.video import load_video, open_video, write_video
from tests.paths import ROOT


NUM_FRAMES, SIZE = 26, 96
TEXTS = ["the red circle", "the blue square"]


@pytest.fixture(scope="module")
def pipe():
    return pipeline("referring-video-segmentation", model="glus-tiny")


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A clip whose frames are not held."""
    monkeypatch.setattr(frames_on_demand, "HELD_BYTES", 0)
    monkeypatch.setattr(frames_on_demand, "HELD_FRAMES", 17)
    write_video(tmp_path / "clip.mp4", generate_clip(0, split="test", size=SIZE, num_frames=NUM_FRAMES).frames)
    return tmp_path / "clip.mp4"


def test_same_answers_from_few_frames_at_once(pipe, path):
    key_frame = [20, 3]
    expected = pipe(load_video(path), TEXTS, key_frame=key_frame)
    held, video = [], open_video(path)
    assert isinstance(video.frames, FileFrames)
    note = lambda frame: held.append(len(video.frames._held))
    found = pipe(video, TEXTS, key_frame=key_frame, output="file", on_frame=note)
    assert max(held) == 17 and video.frames._store.capacity >= 24
    for one, other in zip(expected, found, strict=True):
        assert np.array_equal(one["masks"], np.stack(list(other["masks"])))
        assert np.array_equal(one["scores"], other["scores"])
        assert other["masks"].shape == one["masks"].shape and other["masks"].area == one["masks"].sum()
        assert other["masks"].num_visible == one["masks"].any(axis=(1, 2)).sum()
        assert one["missing_seg_frames"] == other["missing_seg_frames"] and one["same_as"] == other["same_as"]
    assert any(result["masks"].any() for result in expected)


def test_frames_are_read_ahead_until_the_caller_stops(pipe, path):
    """The thread ends with the loop: at its end, when the generator is closed, and on an error."""
    frames = (video := open_video(path)).frames
    session = pipe.processor.init_video_session(video, TEXTS[0])
    outputs = pipe.model.propagate_in_video_iterator(session, key_frame=3)
    next(outputs)
    assert frames._ahead and frames._thread is not None
    outputs.close()
    assert not frames._ahead and frames._thread is None
    list(pipe.model.propagate_in_video_iterator(session, key_frame=24))
    assert not frames._ahead and frames._thread is None


def test_a_frame_that_cannot_be_read_ahead_is_one_line(pipe, path, monkeypatch):
    video, read = open_video(path), FileFrames._read

    def fail(frames, index):
        if index == 9:
            raise VideoError("frame 9 cannot be decoded again")
        return read(frames, index)

    monkeypatch.setattr(FileFrames, "_read", fail)
    with pytest.raises(VideoError, match="^frame 9 cannot be decoded again$"):
        pipe(video, TEXTS[0], context_frames=[0, 1, 2, 3])
    assert not video.frames._ahead and video.frames._thread is None


def test_outputs(pipe, path):
    """Run lengths and logits tell the same masks."""
    settings = {"max_frames": 3, "threshold": 0.5}
    masks = pipe(path, TEXTS[0], **settings)["masks"]
    (rle,), (logits,) = (pipe(path, TEXTS[:1], output=output, **settings) for output in ("rle", "logits"))
    assert "masks" not in rle and "masks" not in logits
    assert np.array_equal(np.stack([decode_rle(counts, (SIZE, SIZE)) for counts in rle["rle"]]), masks)
    assert logits["logits"].dtype == np.float32 and np.array_equal(logits["logits"] > 0.5, masks)
    with pytest.raises(ValueError, match="output must be one of mask, rle, logits, file, got 'png'"):
        pipe(path, TEXTS[0], output="png")


def test_masks_beyond_the_free_memory_are_refused_before_the_work(pipe, path, monkeypatch):
    monkeypatch.setattr("glus_hf.inference.kept_masks.free_memory", lambda: 1000)
    with pytest.raises(
        ValueError, match="the masks take 239.6 kB of memory, 1 kB are free: use output='rle' or 'file'"
    ):
        pipe(path, TEXTS[0])


@pytest.mark.slow
def test_peak_memory_of_the_command(tmp_path):
    """The last thousand frames of 1200 take no memory that the first 200 did not; nor are they slower."""
    command = [sys.executable, "benchmarks/memory.py", "--minutes", "0.66667", "--texts", "1", "--key-frame", "middle"]
    subprocess.run([*command, "--json", str(tmp_path / "found.json")], cwd=ROOT, check=True)
    (row,) = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert row["peak_mb_end"] - row["peak_mb_early"] < 350 and row["peak_mb_end"] < 2500  # 3.3 GB of frames
    assert row["frames_with_mask"][0] > 0
