"""Videos of a manifest from wherever they are: the same frames, or one line that names the address."""

import tarfile

import fsspec
import numpy as np
import pytest
from PIL import Image

from glus_hf.data.listed_video import VideoReader, relative_length
from glus_hf.errors import UserError, VideoError
from glus_hf.media.download import DownloadOptions
from glus_hf.media.images import list_images
from glus_hf.media.video import load_video, write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 48, 3), dtype=np.uint8)
    write_video(folder / "dog.mp4", frames, fps=8)
    (folder / "frames").mkdir()
    for index in range(11):
        Image.fromarray(frames[index % 4]).save(folder / "frames" / f"{index}.png")
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for name in ("dog.mp4", "frames"):
            tar.add(folder / name, arcname=f"clips/{name}")
    with fsspec.open("memory://bucket/dog.mp4", "wb") as file:
        file.write((folder / "dog.mp4").read_bytes())
    return folder


def test_a_file_in_a_tar_and_in_a_store_is_the_file(folder):
    expected = load_video(folder / "dog.mp4")
    addresses = [str(folder / "dog.mp4"), f"tar://clips/dog.mp4::{folder / 'shard.tar'}", "memory://bucket/dog.mp4"]
    for address in addresses:
        video = VideoReader().open(address)
        assert video.fps == expected.fps == 8
        assert np.array_equal(np.stack(list(video.frames)), np.stack(expected.frames)), address
        assert len(VideoReader(max_frames=3).open(address)) == 3


def test_a_folder_of_frames_in_a_tar(folder):
    video = VideoReader().open(f"tar://clips/frames::{folder / 'shard.tar'}")
    assert video.frame_names == [path.stem for path in list_images(folder / "frames")]
    assert video.frame_names[-1] == "10"  # in natural order
    assert np.array_equal(np.stack(list(video.frames)), np.stack(load_video(folder / "frames").frames))


REFUSED = {
    "tar://clips/cat.mp4::{folder}/shard.tar": "no such file and no folder of frames in the tar",
    "tar://clips/dog.mp4::{folder}/none.tar": "no such file",
    "tar://clips/dog.mp4::{folder}/dog.mp4": "not a readable uncompressed tar",
    "memory://bucket/none.mp4": "memory://bucket/none.mp4: cannot be read",
    "file:///etc/passwd": "write the path of a local file without file://",
    "simplecache::http://127.0.0.1/a": "addresses of this kind are not opened",
    "simplecache://x::http://127.0.0.1/a": "addresses of this kind are not opened",
    "reference://x": "addresses of this kind are not opened",
    "webhdfs://127.0.0.1/a.mp4": "addresses of this kind are not opened",
    "zip://a.mp4": "addresses of this kind are not opened",
    "asynclocal:///etc/passwd": "write the path of a local file without asynclocal://",
    "nothing://x/y.mp4": "nothing is known that reads nothing://",
    "http://127.0.0.1:9/a.mp4": "127.0.0.1",
    "{folder}/none.mp4": "no such file or folder",
}


@pytest.mark.parametrize("address", REFUSED)
def test_what_cannot_be_read_is_named_in_one_line(folder, address):
    with pytest.raises(UserError, match=REFUSED[address]) as error:
        VideoReader().open(address.format(folder=folder))
    assert "\n" not in str(error.value)


def test_copies_are_bounded(folder):
    reader = VideoReader(download=DownloadOptions(max_bytes=1000))
    for address in ("memory://bucket/dog.mp4", f"tar://clips/dog.mp4::{folder / 'shard.tar'}"):
        with pytest.raises(VideoError, match="is larger than 1,000 bytes") as error:
            reader.open(address)
        assert str(error.value).startswith(address)


def test_relative_length_is_the_size_of_a_file(folder):
    assert relative_length(str(folder / "dog.mp4")) == (folder / "dog.mp4").stat().st_size
    assert relative_length(str(folder / "none.mp4")) == relative_length("s3://bucket/a.mp4")
