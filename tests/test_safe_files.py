import os
import socket
import stat

import pytest

from glus_hf import safe_files
from glus_hf.errors import DatasetFileError, UserError
from glus_hf.safe_files import KINDS, check_regular, open_file, read_bytes, read_text, readable_size


READERS = [check_regular, open_file, read_bytes, read_text]


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    return tmp_path / "pipe.json"


@pytest.mark.parametrize("reader", READERS)
class TestRefused:
    def test_named_pipe(self, reader, fifo):
        with pytest.raises(UserError, match=r"pipe.json: is a named pipe, not a JSON file: copy its content"):
            reader(fifo, "json")

    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
    def test_device(self, reader, device):
        with pytest.raises(UserError, match=f"{device}: is a device, not an image"):
            reader(device, "image")

    def test_socket(self, reader, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s.mp4")
            with pytest.raises(UserError, match="s.mp4: is a socket, not a video"):
                reader("s.mp4", "video")

    def test_folder(self, reader, tmp_path):
        with pytest.raises(DatasetFileError, match="is a folder, not a tar: pass a file"):
            reader(tmp_path, "tar", DatasetFileError)

    def test_missing(self, reader, tmp_path):
        with pytest.raises(UserError, match="none.json: no such file: check the path"):
            reader(tmp_path / "none.json", "json")

    def test_link_to_nothing(self, reader, tmp_path):
        (tmp_path / "link").symlink_to("nothing")
        with pytest.raises(UserError, match="link: is a link to nothing"):
            reader(tmp_path / "link", "json")

    @pytest.mark.parametrize("path", ["a\0b", "x" * 5000, ""])
    def test_impossible_name(self, reader, path):
        with pytest.raises(UserError) as info:
            reader(path, "json")
        assert "\n" not in str(info.value)

    def test_too_large(self, reader, tmp_path):
        with open(tmp_path / "large.yaml", "wb") as file:
            file.truncate(1_500_000)  # a hole: takes no space
        with pytest.raises(UserError, match=r"large.yaml: has 1.5 MB, a YAML file may have 1 MB"):
            reader(tmp_path / "large.yaml", "yaml")


def test_what_is_opened_is_looked_at_too(fifo, monkeypatch):
    """A file that becomes a pipe after the first look."""
    regular = os.stat(__file__)
    monkeypatch.setattr(safe_files, "check_regular", lambda *_: regular)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError, match="named pipe"):
        open_file(fifo, "json")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_grows_stays_within_the_limit(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_bytes(b"x" * 11)
    monkeypatch.setitem(KINDS, "json", ("a JSON file", 10))
    monkeypatch.setattr(safe_files, "_check_status", lambda *_: None)
    with pytest.raises(UserError, match="11 bytes, a JSON file may have 10 bytes"):
        read_bytes(tmp_path / "a.json", "json")


def test_content(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf{} \xc3\xa9")
    assert read_bytes(tmp_path / "a.json", "json") == b"\xef\xbb\xbf{} \xc3\xa9"
    assert read_text(tmp_path / "a.json", "json") == "{} é"
    assert stat.S_ISREG(check_regular(tmp_path / "a.json", "json").st_mode)
    with open_file(tmp_path / "a.json", "json") as file:
        assert file.read(3) == b"\xef\xbb\xbf"


def test_not_utf8(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"ab\xff")
    with pytest.raises(UserError, match=r"a.yaml: is not UTF-8 text \(byte 2\)"):
        read_text(tmp_path / "a.yaml", "yaml")


@pytest.mark.parametrize(("size", "text"), [(7, "7 bytes"), (1500, "1.5 kB"), (256 * 10**6, "256 MB")])
def test_readable_size(size, text):
    assert readable_size(size) == text
