"""Videos that this package wrote are told from those of others."""

import av
import numpy as np
import pytest

from glus_hf.media.video import write_video
from glus_hf.media.writer_tag import is_footage


FRAMES = [np.full((32, 48, 3), 40 * index, np.uint8) for index in range(3)]


def write_as_others(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.webm"])
def test_our_videos_are_no_footage(tmp_path, name):
    write_video(tmp_path / name, FRAMES, fps=8)
    assert not is_footage(tmp_path / name)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_other_videos_are(tmp_path, name):
    write_as_others(tmp_path / name)
    assert is_footage(tmp_path / name)


def test_folders_images_and_damaged_files_are_none(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "image.png").write_bytes(b"no video")
    assert not any(is_footage(tmp_path / name) for name in (".", "broken.mp4", "image.png", "none.mp4"))
