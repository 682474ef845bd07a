import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glus_hf.data.frames import read_frame, read_frames
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.data.tar_frames import open_tar
from glus_hf.errors import TarError
from glus_hf.media.video import load_video, write_video
from tests.data.dataset_trees import TREES


FOLDER = TREES / "mevis/train/JPEGImages/0ab4afe7fb46"


def make_tar(path, *, mode="w", names=("v/00000.jpg", "v/00001.jpg"), format=tarfile.PAX_FORMAT):
    with tarfile.open(path, mode, format=format) as archive:
        archive.add(FOLDER, "v", recursive=False)
        for index, name in enumerate(names):
            archive.add(FOLDER / f"{index:05d}.jpg", name)
    return path


def test_a_path_equals_the_video_reader(tmp_path):
    frames = read_frames(sorted(str(file) for file in FOLDER.iterdir()))
    np.testing.assert_array_equal(frames, load_video(FOLDER).frames)
    assert frames[0].dtype == np.uint8 and frames[0].shape == (48, 64, 3)
    assert frames[0].flags.writeable


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_of_a_tar(format, tmp_path):
    long_name = "/".join(["folder" * 8] * 4) + "/ü.jpg"
    tar = make_tar(tmp_path / "JPEGImages.tar", names=("v/00000.jpg", long_name), format=format)
    for index, name in enumerate(("v/00000.jpg", long_name)):
        expected = read_frame(FOLDER / f"{index:05d}.jpg")
        np.testing.assert_array_equal(read_frame(f"tar://{name}::{tar}"), expected)
    assert sorted(open_tar(str(tar))) == sorted(["v/00000.jpg", long_name])


def test_a_changed_tar_is_indexed_again(tmp_path):
    tar = make_tar(tmp_path / "a.tar")
    read_frame(f"tar://v/00001.jpg::{tar}")
    make_tar(tar, names=("w/00000.jpg",))
    np.testing.assert_array_equal(read_frame(f"tar://w/00000.jpg::{tar}"), read_frame(FOLDER / "00000.jpg"))


def test_forked_processes_share_an_index(tmp_path):
    tar = make_tar(tmp_path / "a.tar")
    address = f"tar://v/00001.jpg::{tar}"
    expected = read_frame(address)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if all((read_frame(address) == expected).all() for _ in range(50)) else 1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]


def test_unusable_tars(tmp_path):
    tar = make_tar(tmp_path / "a.tar")
    with pytest.raises(TarError, match=r"a\.tar: no member v/9\.jpg"):
        read_frame(f"tar://v/9.jpg::{tar}")
    with pytest.raises(TarError, match=r"no member v: download the archive again$"):
        read_frame(f"tar://v::{tar}")
    with pytest.raises(TarError, match=r"gone\.tar: no such file"):
        read_frame(f"tar://v/9.jpg::{tmp_path / 'gone.tar'}")
    compressed = make_tar(tmp_path / "b.tar", mode="w:gz")
    with pytest.raises(TarError, match=r"b\.tar: not a readable uncompressed tar"):
        read_frame(f"tar://v/00000.jpg::{compressed}")
    whole = tar.read_bytes()
    for length in (0, 100, 512, 1600, 2048, len(whole) // 2, len(whole.rstrip(b"\0")) // 512 * 512 + 512):
        tar.write_bytes(whole[:length])
        with pytest.raises(TarError, match=r"a\.tar: (is cut short|not a readable)"):
            read_frame(f"tar://v/00000.jpg::{tar}")
    for address in ("tar://v/00000.jpg", "tar://::x.tar", "tar://a::"):
        with pytest.raises(ValueError, match="not an address"):
            read_frame(address)


def test_links_in_a_tar_are_no_members(tmp_path):
    tar = tmp_path / "links.tar"
    with tarfile.open(tar, "w") as archive:
        link = tarfile.TarInfo("v/00000.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(TarError, match="no member"):
        read_frame(f"tar://v/00000.jpg::{tar}")


def test_damaged_images(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((FOLDER / "00000.jpg").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"broken\.jpg: cannot be read as an image"):
        read_frame(broken)
    with pytest.raises(ValueError, match=r"gone\.jpg: no such file"):
        read_frame(tmp_path / "gone.jpg")
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as archive:
        entry = tarfile.TarInfo("v/0.jpg")
        entry.size = 300
        archive.addfile(entry, io.BytesIO(broken.read_bytes()))
    with pytest.raises(ValueError, match=r"tar://v/0\.jpg.*cannot be read as an image"):
        read_frame(f"tar://v/0.jpg::{tar}")


def test_orientation_is_applied_alike(tmp_path):
    image = Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    from glus_hf.data.dataset_files import image_size

    assert read_frame(tmp_path / "turned.png").shape == (64, 48, 3)
    assert image_size(str(tmp_path / "turned.png")) == (64, 48)


def test_frames_of_a_video_file(tmp_path):
    file = tmp_path / "clip.mp4"
    write_video(file, np.stack([np.full((48, 64, 3), 20 * t, np.uint8) for t in range(6)]))
    frames = load_video(file).frames
    for index in (5, 0, 3):
        np.testing.assert_array_equal(read_frame(f"video://{index}::{file}"), frames[index])
    for address, reason in (
        (f"video://6::{file}", "frames 0 to 5"),
        (f"video://x::{file}", "frames 0 to 5"),
        (f"video://0::{tmp_path / 'gone.mp4'}", "no such file"),
        ("video://0", "not an address"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_frame(address)


def test_motion_shapes_addresses():
    clip = generate_clip(4, "train", seed=2, size=40)
    np.testing.assert_array_equal(read_frame("motion_shapes://train/2/40/auto/4/7"), clip.frames[7])
    frame = read_frame("motion_shapes://train/2/40/auto/4/7")
    frame[:] = 0  # a copy: the kept clip stays as it is
    np.testing.assert_array_equal(read_frame("motion_shapes://train/2/40/auto/4/7"), clip.frames[7])
    for address in ("motion_shapes://train/2/40/auto/4", "motion_shapes://train/2/40/auto/4/x"):
        with pytest.raises(ValueError, match="not an address"):
            read_frame(address)
    with pytest.raises(ValueError, match="frames 0 to"):
        read_frame("motion_shapes://train/2/40/8/4/8")
    with pytest.raises(ValueError, match="no split 'no'"):
        read_frame("motion_shapes://no/2/40/8/4/7")


def test_paths_may_be_objects():
    assert read_frame(Path(FOLDER / "00000.jpg")).shape == (48, 64, 3)
