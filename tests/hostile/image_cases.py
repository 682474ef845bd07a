"""Images: in folders of frames, as masks, and given to the Python functions."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from tests.hostile.cases import PROBLEMS, WORKS, Case
from tests.hostile.ingredients import anew, check, fifo, frame_folder, link, own_data, put, replaced, sparse
from tests.hostile.small_media import clip_frames, image_bytes


SEGMENT = ("segment", "frames", "the red square", "-o", "out.mp4", "-q")
EPS = (
    "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 48\n%%EndComments\n"
    "(../outside/secret.txt) (r) file pop\nshowpage\n"
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="48" height="48"><image href="../outside/secret.txt"/></svg>'
XPM = '/* XPM */\nstatic char *x[] = {\n"1 1 1 1",\n"a c #ffffff",\n"a"\n};\n'


def png(width: int, height: int, data: bytes | None = None, bits: int = 1, kind: int = 0) -> bytes:
    """A PNG of one colour, without holding its pixels; `data` goes in place of the compressed rows."""
    rows = zlib.compressobj(9)
    if data is None:
        row, parts = bytes(1 + (width * bits + 7) // 8), []
        for _ in range(height):
            parts.append(rows.compress(row))
        data = b"".join(parts) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def frame(content: bytes | str, name: str = "00002.png"):
    """A folder of frames, one of them with this content."""
    return replaced(lambda work: frame_folder(work), anew(f"frames/{name}", put, content))


def many(content: bytes, count: int):
    def make(work: Path) -> None:
        for index in range(count):
            put(work / "frames" / f"{index:05d}.png", content)

    return make


def refused(name: str, make, words=("00002.png",), **more) -> Case:
    return Case(f"image: {name}", make, SEGMENT, words=words, **more)


def images(*frames):
    """A call of the reader with a list of arrays or anything else."""

    def call(work: Path) -> None:
        from glus_hf.media.video import load_video

        load_video([item() if callable(item) else item for item in frames])

    return call


def mask(content: bytes | str, name: str) -> Case:
    make = replaced(own_data, anew("data/masks/park/00001.png", put, content))
    return Case(f"image: as a mask, {name}", make, check(), PROBLEMS, words=("00001.png",))


GOOD = image_bytes(clip_frames(1, 48, 48)[0])
BIG = np.zeros((48, 48, 3), np.uint8)

CASES = [
    refused("a PostScript file named .png", frame(EPS)),
    Case(
        "image: a PostScript file named .jpg",
        replaced(frame(EPS, "00002.jpg"), lambda work: (work / "frames" / "00002.png").unlink()),
        SEGMENT,
        words=("00002.jpg",),
    ),
    refused("a drawing named .png", frame(SVG)),
    refused("an XPM named .png", frame(XPM)),
    refused("a PDF named .png", frame("%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n")),
    refused("an icon of another format", frame(image_bytes(BIG, "ICO"))),
    refused("empty", frame(b"")),
    refused("cut short", frame(GOOD[: len(GOOD) // 2])),
    refused("one changed byte", frame(GOOD[:60] + bytes([GOOD[60] ^ 0xFF]) + GOOD[61:])),
    refused("60000 x 60000", frame(png(60000, 60000, b"x"))),
    refused("2147483647 x 1", frame(png(2**31 - 1, 1, b"x"))),
    refused("no pixels", frame(png(0, 0, b"x"))),
    refused("rows that never come", frame(png(4000, 4000, zlib.compress(b"")))),
    refused("another size", frame(image_bytes(clip_frames(1, 20, 20)[0])), words=("frames",)),
    refused("a FIFO", replaced(frame_folder, anew("frames/00002.png", fifo))),
    refused("a device", replaced(frame_folder, anew("frames/00002.png", link, "/dev/zero"))),
    refused("a link to nothing", replaced(frame_folder, anew("frames/00002.png", link, "gone.png"))),
    refused("a folder", replaced(frame_folder, anew("frames/00002.png", lambda path: path.mkdir()))),
    refused("8 TB", replaced(frame_folder, anew("frames/00002.png", sparse, 8 << 40, GOOD))),
    refused("two of one name", replaced(frame_folder, lambda work: put(work / "frames" / "00002.jpg", b"x"))),
    refused("40 of 12000 x 12000", many(png(12000, 12000), 40), words=("frames",)),
    Case("image: a list of numbers", lambda work: None, images(1, 2), words=("frame 0",)),
    Case("image: NaN", lambda work: None, images(np.full((4, 4, 3), np.nan)), words=("NaN",)),
    Case("image: infinite", lambda work: None, images(np.full((4, 4, 3), np.inf)), words=("infinite",)),
    Case("image: values up to 255 in floats", lambda work: None, images(np.full((4, 4, 3), 255.0)), words=("255",)),
    Case("image: seven channels", lambda work: None, images(np.zeros((5, 5, 7), np.uint8)), words=("shape",)),
    Case("image: no height", lambda work: None, images(np.zeros((0, 4, 3), np.uint8)), words=("shape",)),
    Case("image: objects", lambda work: None, images(np.full((4, 4, 3), None)), words=("frame 0",)),
    Case("image: an empty list", lambda work: None, images(), words=("frames",)),
    Case("image: sizes that differ", lambda work: None, images(BIG, BIG[:20]), words=("00001",)),
    Case(
        "image: 16 bits",
        lambda work: None,
        images(lambda: __import__("PIL.Image").Image.fromarray(np.full((48, 48), 40000, np.uint16))),
        WORKS,
    ),
    mask(GOOD, "in colours"),
    mask(image_bytes(np.full((48, 48), 300, np.uint16)), "16 bits"),
    mask(GOOD[:40], "cut short"),
    mask(EPS, "a PostScript file"),
    mask(image_bytes(np.zeros((9, 9), np.uint8)), "of another size"),
    mask(png(60000, 60000, b"x"), "60000 x 60000"),
    Case(
        "image: as a mask, a FIFO",
        replaced(own_data, anew("data/masks/park/00001.png", fifo)),
        check(),
        PROBLEMS,
        words=("00001.png",),
    ),
]
