"""Videos that this package wrote are told from those of others."""

import pytest

from glus_hf.media.video import write_video
from glus_hf.media.writer_tag import is_footage
from tests.media.other_videos import FRAMES, write_as_others


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
