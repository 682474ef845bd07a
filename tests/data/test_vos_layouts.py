"""DAVIS, YouTube-VOS and MOSE on disk: their videos, and where their objects start."""

import numpy as np
import pytest
from PIL import Image

from glus_hf.data.motion_shapes import generate_clip
from glus_hf.data.vos_layouts import find_vos_videos
from glus_hf.errors import DatasetFileError
from tests.fixtures.vos_layouts import LATE, given_frames, ids_of, write_layout


SPLITS = [("davis", "val"), ("youtube-vos", "train"), ("youtube-vos", "valid"), ("mose", "valid")]


@pytest.mark.parametrize(("layout", "split"), SPLITS)
def test_videos_frames_and_starts(tmp_path, layout, split):
    write_layout(tmp_path, layout, split, num_videos=3, size=32, begin=LATE, num_frames=6)
    videos = find_vos_videos(tmp_path, layout, split)
    assert [video.video_id for video in videos] == [f"clip{LATE + number:03d}" for number in range(3)]
    later = 0
    for index, video in enumerate(videos):
        clip = generate_clip(LATE + index, split="test", size=32, num_frames=6)
        ids = ids_of(clip.masks, only_first=layout != "youtube-vos")
        assert video.frames == tuple(f"{frame:05d}" for frame in range(6)) and video.size == (32, 32)
        np.testing.assert_array_equal(np.asarray(Image.open(video.frame_paths[4])), clip.frames[4])
        assert sorted(video.masks) == (given_frames(ids) if split == "valid" else list(range(6)))
        np.testing.assert_array_equal(video.ids(0), ids[0])
        wanted = {n: int(np.flatnonzero((ids == n).any((1, 2)))[0]) for n in range(1, ids.max() + 1)}
        assert video.starts() == wanted
        later += sum(start > 0 for start in wanted.values())
    assert (later > 0) == (layout == "youtube-vos")


def test_void_is_no_object(tmp_path):
    write_layout(tmp_path, "davis", "val", num_videos=1, size=32, num_frames=2)
    path = tmp_path / "Annotations" / "480p" / "clip000" / "00000.png"
    image = Image.open(path)
    image.putpixel((0, 0), 255)
    image.save(path)
    (video,) = find_vos_videos(tmp_path, "davis", "val")
    assert 255 not in video.starts() and video.ids(0)[0, 0] == 255


def test_what_is_missing_is_named(tmp_path):
    write_layout(tmp_path, "davis", "val", num_videos=1, size=32, num_frames=2)
    for layout, split, message in [
        ("davis", "train", "train.txt: no such list"),
        ("mose", "valid", "JPEGImages: no such folder"),
        ("coco", "val", "no layout 'coco'"),
        ("mose", "../up", "not a plain name"),
    ]:
        with pytest.raises(DatasetFileError, match=message):
            find_vos_videos(tmp_path, layout, split)
    listed = tmp_path / "ImageSets" / "2017" / "val.txt"
    listed.write_text("clip000\nclip009\n")
    with pytest.raises(DatasetFileError, match="clip009: no such folder"):
        find_vos_videos(tmp_path, "davis", "val")
    listed.write_text("clip000\n")
    (tmp_path / "JPEGImages" / "480p" / "clip000" / "00001.png").unlink()
    with pytest.raises(DatasetFileError, match="there is no frame 00001"):
        find_vos_videos(tmp_path, "davis", "val")
