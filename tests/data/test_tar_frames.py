import io
import os
import tarfile

import pytest

from glus_hf.data.tar_frames import TarFrames, open_tar
from glus_hf.errors import TarError
from tests.media.limited_child import run_limited


def header(name="v/a.jpg", size=0, kind=tarfile.REGTYPE) -> bytes:
    """A header with any size, also one that tarfile would not write."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(attributes: bytes, size=None) -> bytes:
    block = attributes.ljust(-(-len(attributes) // 512) * 512, b"\0")
    return header("PaxHeader", len(attributes) if size is None else size, tarfile.XHDTYPE) + block


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n"
    length = len(body) + len(str(len(body)))
    return f"{length + (len(str(length)) > len(str(len(body))))}{body}".encode()


END = bytes(1024)
FIRST = header(size=3) + b"abc".ljust(512, b"\0")
HUGE = 1 << 40
HOSTILE = {
    "negative": FIRST + header("v/b.jpg", -1024) + END,
    "back to the start": FIRST + header("v/b.jpg", -2048) + END,
    "negative long name": FIRST + header("././@LongLink", -512, tarfile.GNUTYPE_LONGNAME) + END * 50,
    "huge": FIRST + header("v/b.jpg", HUGE) + END,
    "huge long name": FIRST + header("././@LongLink", HUGE, tarfile.GNUTYPE_LONGNAME) + END,
    "huge attributes": FIRST + pax(b"", HUGE) + END,
    "negative attributes": FIRST + pax(b"", -512) + END,
    "negative size in attributes": FIRST + pax(record("size", "-5000")) + header("v/b.jpg") + END,
    "huge size in attributes": FIRST + pax(record("size", str(HUGE))) + header("v/b.jpg") + END,
    "endless sparse map": pax(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0"))
    + header("v/b.jpg", 512)
    + b"999999999\n",
    "sparse of huge size": header("v/b.jpg", 0, tarfile.GNUTYPE_SPARSE)[:482] + b"\1" + bytes(29) + END,
    "attributes of attributes": pax(record("a", "b")) * 3000 + FIRST + END,
    "long name of zeros": header("././@LongLink", 900_000, tarfile.GNUTYPE_LONGNAME) + b"a" * 900_096 + FIRST + END,
    "not a number": FIRST.replace(b"00000000003", b"zzzzzzzzzzz") + END,
    "zeros": bytes(10_240),
    "noise": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_headers_end_in_one_line(name, tmp_path):
    (tmp_path / "a.tar").write_bytes(HOSTILE[name])
    outcome = run_limited(lambda: TarFrames(str(tmp_path / "a.tar")).read("v/b.jpg"), address_space_gb=1)
    assert outcome.kind == "TarError", outcome.error
    assert "a.tar: " in outcome.error and "\n" not in outcome.error
    assert outcome.added_mb < 50


def test_a_large_member_is_not_read(tmp_path):
    """A hole of 3 GB takes no space on the disk, and would take it in memory."""
    with open(tmp_path / "a.tar", "wb") as file:
        file.write(header("v/b.jpg", 3 << 30))
        file.seek(3 << 30, os.SEEK_CUR)
        file.write(END)
    outcome = run_limited(lambda: TarFrames(str(tmp_path / "a.tar")).read("v/b.jpg"))
    assert "member v/b.jpg has 3.221 GB, an image may have 256 MB" in outcome.error
    assert outcome.added_mb < 50


def test_not_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(TarError, match=r"a.tar: is a named pipe, not a tar"):
        open_tar(str(tmp_path / "a.tar"))
    with pytest.raises(TarError, match="/dev/zero: is a device"):
        open_tar("/dev/zero")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_good_archives_of_every_format(tmp_path, format):
    names = ["v/a.jpg", f"{'long/' * 40}a.jpg" if format != tarfile.USTAR_FORMAT else "w/b.jpg", "ä/ö.jpg"]
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(b"x" * len(name)))
    frames = TarFrames(str(tmp_path / "a.tar"))
    assert list(frames) == names
    assert [len(frames.read(name)) for name in names] == [len(name) for name in names]


def test_an_edit_that_keeps_size_and_time_is_noticed(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(FIRST + END)
    times = os.stat(path)
    assert open_tar(str(path)).read("v/a.jpg") == b"abc"
    assert open_tar(str(path)) is open_tar(str(path))
    path.write_bytes(header("v/z.jpg", 3) + b"xyz".ljust(512, b"\0") + END)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert open_tar(str(path)).read("v/z.jpg") == b"xyz"
