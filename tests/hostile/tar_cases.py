"""Tars of frames, read in place."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

from tests.hostile.cases import WORKS, Case
from tests.hostile.fuzz_headers import with_checksums
from tests.hostile.ingredients import fifo, link, put


def archive(*members, format: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar of (name, fields of the header) with 20 bytes each."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format) as tar:
        for name, fields in members:
            member = tarfile.TarInfo(name)
            member.size = 20
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(b"0123456789" * 2) if member.isreg() else None)
    return content.getvalue()


def size_field(field: bytes) -> bytes:
    """A tar whose first member claims this size, in the header's own notation."""
    content = bytearray(archive(("v/0.jpg", {})))
    content[124:136] = field.ljust(12, b"\0")
    return with_checksums(bytes(content))


def read(work: Path) -> None:
    """Read every member, and say how many bytes each has."""
    from glus_hf.data.tar_frames import TarFrames

    index = TarFrames("frames.tar")
    for name in index:
        index.read(name)
    print(len(index))


def case(name: str, content: bytes, expect: str = "one line", words=("frames.tar",), **more) -> Case:
    return Case(f"tar: {name}", lambda work: put(work / "frames.tar", content), read, expect, words, **more)


def special(name: str, make) -> Case:
    return Case(f"tar: {name}", lambda work: make(work / "frames.tar"), read, words=("frames.tar",))


GOOD = archive(("v/0.jpg", {}), ("v/1.jpg", {}))

CASES = [
    case("good", GOOD, WORKS, ("2",)),
    case("empty", b""),
    case("text", b"not a tar\n" * 200),
    case("compressed", gzip.compress(GOOD)),
    case("cut short in a member", GOOD[:520]),
    case("cut short in a header", GOOD[:1100]),
    case("without its end", GOOD[:2048]),
    case("a negative size", size_field(b"\xff" * 12)),
    case("a size of minus one", size_field(b"-0000000001")),
    case("a size of 2^80", size_field(b"\x80\0" + b"\xff" * 10)),
    case("a size of 8 GB", size_field(b"77777777777")),
    case("a size that is no number", size_field(b"banana")),
    case(
        "a size of minus one in an extended header",
        archive(("v/0.jpg", {"pax_headers": {"size": "-1"}}), format=tarfile.PAX_FORMAT),
    ),
    case(
        "a size without end in an extended header",
        archive(("v/0.jpg", {"pax_headers": {"size": "9" * 5000}}), format=tarfile.PAX_FORMAT),
    ),
    case(
        "a sparse member",
        archive(
            (
                "v/0.jpg",
                {
                    "pax_headers": {
                        "GNU.sparse.major": "1",
                        "GNU.sparse.minor": "0",
                        "GNU.sparse.name": "x",
                        "GNU.sparse.realsize": str(1 << 60),
                    }
                },
            ),
            format=tarfile.PAX_FORMAT,
        ),
    ),
    case(
        "a sparse member of the old kind",
        with_checksums(archive(("v/0.jpg", {})).replace(b"0" + bytes(100), b"S" + bytes(100), 1)),
        WORKS,
        ("0",),
    ),
    case(
        "a sparse map that is no map",
        archive(
            ("v/0.jpg", {"pax_headers": {"GNU.sparse.map": "a,b", "GNU.sparse.size": "x"}}), format=tarfile.PAX_FORMAT
        ),
    ),
    case("a name above the folder", archive(("../../outside/x", {})), WORKS, ("1",)),
    case(
        "a link to a secret",
        archive(("v/0.jpg", {"type": tarfile.SYMTYPE, "linkname": "../outside/secret.txt", "size": 0})),
        WORKS,
        ("0",),
    ),
    case("a device", archive(("v/0.jpg", {"type": tarfile.CHRTYPE, "size": 0})), WORKS, ("0",)),
    case(
        "10000 empty members",
        archive(*[(f"v/{index}.jpg", {"type": tarfile.DIRTYPE, "size": 0}) for index in range(10000)]),
        WORKS,
        ("0",),
    ),
    special("a FIFO", fifo),
    special("a device in its place", lambda path: link(path, "/dev/zero")),
    special("a folder in its place", lambda path: path.mkdir()),
    special("a link to nothing", lambda path: link(path, "gone.tar")),
    special("missing", lambda path: None),
    Case(
        "tar: cut short after it was indexed",
        lambda work: put(work / "frames.tar", GOOD),
        lambda work: _read_after_cut(),
        words=("frames.tar",),
        writes=("frames.tar",),
    ),
]


def _read_after_cut() -> None:
    from glus_hf.data.tar_frames import TarFrames

    index = TarFrames("frames.tar")
    os.truncate("frames.tar", 600)
    for name in index:
        index.read(name)
