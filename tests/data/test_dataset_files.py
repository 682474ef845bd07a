import os
import tarfile
import time

import pytest

from glus_hf.data import restricted_pickle
from glus_hf.data.dataset_files import FrameFolder, SourceFiles, check_name
from glus_hf.data.restricted_pickle import load_plain_pickle
from glus_hf.errors import DatasetFileError
from tests.media.limited_child import run_limited


@pytest.mark.parametrize(
    "name",
    ["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a\\b", "C:a", "c:/a", "a\x00b", "a\nb", "a::b", 3,
     None],
)  # fmt: skip
def test_names_that_could_leave_their_folder(name):
    with pytest.raises(DatasetFileError, match="^file: frame of video 'v' ") as caught:
        check_name(name, "frame of video 'v'", "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["00000", "UVO/all/2E4T5NCywcE", "_-x", "a..b", "...", "clip 1", "ü", "clip:1"])
def test_plain_names(name):
    assert check_name(name, "video", "file") == name


def test_the_fingerprint_follows_every_change(tmp_path):
    metadata, folder = tmp_path / "meta.json", tmp_path / "Annotations"
    (folder / "deep").mkdir(parents=True)
    metadata.write_text("1")
    (folder / "deep" / "a.png").write_text("1")
    tar = tmp_path / "JPEGImages.tar"
    tar.write_text("1")
    files = SourceFiles((str(metadata),), (str(folder),), str(tar))
    seen = [files.fingerprint()]
    assert files.fingerprint() == seen[0]
    for change in (
        lambda: metadata.write_text("22"),
        lambda: os.utime(metadata, ns=(0, 5)),
        lambda: (folder / "deep" / "b.png").write_text(""),
        lambda: (folder / "deep" / "a.png").write_text("22"),
        lambda: os.utime(folder / "deep" / "a.png", ns=(0, 5)),
        lambda: (folder / "deep" / "a.png").rename(folder / "deep" / "c.png"),
        lambda: (folder / "deep" / "b.png").unlink(),
        lambda: tar.write_text("22"),
    ):
        change()
        assert files.fingerprint() not in seen
        seen.append(files.fingerprint())


def test_links_in_a_circle_and_to_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a" / "round").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "nothing").symlink_to("gone")
    (tmp_path / "a" / "itself").symlink_to("itself")
    (tmp_path / "a" / "folder").symlink_to(tmp_path / "elsewhere")
    files = SourceFiles(annotations=(str(tmp_path / "a"),))
    before = files.fingerprint()
    (tmp_path / "elsewhere" / "mask.png").write_text("1")
    assert files.fingerprint() != before
    with pytest.raises(DatasetFileError, match="gone.json: cannot be read"):
        SourceFiles((str(tmp_path / "gone.json"),)).fingerprint()


def test_pickles_with_persistent_ids_and_extensions(tmp_path):
    file = tmp_path / "file.pkl"
    for content in (b"Pabc\n.", b"\x80\x02\x82\x01.", b"c_codecs\nencode\n(Vx\nVutf-16\ntR.", b"cos\nsystem\n."):
        file.write_bytes(content)
        with pytest.raises(DatasetFileError, match="file.pkl") as caught:
            load_plain_pickle(file)
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetFileError, match="gone.pkl: no such file"):
        load_plain_pickle(tmp_path / "gone.pkl")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"(l" + b"]a" * 5_000_000 + b".", "holds more than"),
        (b"(lp4000000000\n.", "impossible number"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "impossible number"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f].", "cannot be read as a pickle"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00.", "cannot be read as a pickle"),
    ],
)
def test_pickles_that_take_far_more_memory_than_their_file(content, words, tmp_path, monkeypatch):
    monkeypatch.setattr(restricted_pickle, "MAX_OPCODES", 100_000)
    (tmp_path / "file.pkl").write_bytes(content)
    outcome = run_limited(lambda: load_plain_pickle(tmp_path / "file.pkl"))
    assert outcome.kind == "DatasetFileError"
    assert words in outcome.error
    assert outcome.added_mb < 100


def test_an_edit_that_keeps_size_and_time_changes_the_fingerprint(tmp_path):
    for folder in ("masks", "."):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.json").write_text("1")
    files = SourceFiles((str(tmp_path / "a.json"),), (str(tmp_path / "masks"),))
    for file in (tmp_path / "a.json", tmp_path / "masks" / "a.json"):
        before, times = files.fingerprint(), os.stat(file)
        assert files.fingerprint() == before
        time.sleep(0.02)  # a file system's clock ticks every few milliseconds
        file.write_text("2")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert files.fingerprint() != before


def test_masks_beside_the_frames_of_a_tar(tmp_path):
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        for name in ("GT/v/00000.png", "JPEGImages/v/00000.jpg"):
            archive.addfile(tarfile.TarInfo(name))
    (path,) = FrameFolder(tmp_path / "data.tar").paths("v", ["00000"])
    assert path.startswith("tar://JPEGImages/v/00000.jpg::")
