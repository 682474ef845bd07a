import ast
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from glus_hf.errors import DatasetFileError, VideoError
from glus_hf.media.images import open_image, to_frame
from glus_hf.media.mask_png import read_mask_values
from glus_hf.media.open_image import FORMATS, orientation, upright
from tests.paths import ROOT


LETTER = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)  # no turn of it is like another
UPRIGHT = {
    1: LETTER,
    2: LETTER[:, ::-1],
    3: LETTER[::-1, ::-1],
    4: LETTER[::-1],
    5: LETTER.T,
    6: np.rot90(LETTER, -1),
    7: np.rot90(LETTER.T, 2),
    8: np.rot90(LETTER),
}
EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
(ran) = showpage
%%EOF
"""


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program of that name, and the file that it leaves when it is started."""
    trace = tmp_path / "started"
    for name in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {trace}\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    return trace


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and ends in the middle of its pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(100))[:-6]]
    body = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def calls_of_image_open() -> list[str]:
    files = [file for folder in ("src", "datasets_scripts", "examples") for file in (ROOT / folder).rglob("*.py")]
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Attribute) and node.attr == "open" and "Image" in ast.unparse(node.value)
            is_import = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("PIL")
            if is_call or (is_import and any(alias.name == "open" for alias in node.names)):
                found.append(str(file.relative_to(ROOT)))
    return found


def test_images_are_opened_in_one_place():
    assert calls_of_image_open() == ["src/glus_hf/media/open_image.py"]


@pytest.mark.parametrize("name", ["frame.png", "frame.jpg", "frame.eps"])
def test_eps_starts_no_program(name, tmp_path, ghostscript):
    (tmp_path / name).write_bytes(EPS)
    with pytest.raises(VideoError, match=f"{name}: cannot be read as an image .not a PNG, JPEG"):
        to_frame(tmp_path / name, "frame 0")
    with pytest.raises(DatasetFileError, match="cannot be read as an image"):
        read_mask_values(tmp_path / name, (8, 8))
    with pytest.raises(VideoError, match="frame 0: is an EPS file"):
        to_frame(Image.open(tmp_path / name), "frame 0")
    assert not ghostscript.exists()


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(suffix, tmp_path):
    Image.fromarray(np.repeat(LETTER[..., None], 3, -1)).save(tmp_path / "frame", format=suffix)
    assert to_frame(tmp_path / "frame", "").shape == (2, 3, 3)


@pytest.mark.parametrize("number", [*UPRIGHT, 0, 9, 257])
@pytest.mark.parametrize("suffix", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation(number, suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = number
    options = {"lossless": True} if suffix == "WEBP" else {}
    Image.fromarray(np.repeat(LETTER[..., None], 3, -1)).save(tmp_path / "a", format=suffix, exif=exif, **options)
    np.testing.assert_array_equal(to_frame(tmp_path / "a", "")[..., 0], UPRIGHT.get(number, LETTER))
    np.testing.assert_array_equal(to_frame(Image.open(tmp_path / "a"), "")[..., 0], UPRIGHT.get(number, LETTER))
    image = open_image(tmp_path / "a")
    assert upright(image).size == UPRIGHT.get(number, LETTER).shape[::-1]


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_damaged_exif_turns_nothing(exif):
    file = io.BytesIO()
    Image.fromarray(LETTER).save(file, format="JPEG", exif=exif)
    file.seek(0)
    assert orientation(open_image(file)) == 1


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (1, 2**30)])
def test_too_many_pixels_are_refused_before_they_are_decoded(size, tmp_path, recwarn):
    (tmp_path / "a.png").write_bytes(png_header(*size))
    with pytest.raises(VideoError, match=r"a.png: has .*(too many|x \d+) pixels, an image may have 100000000"):
        to_frame(tmp_path / "a.png", "")
    assert not recwarn.list


def test_other_images_of_a_caller(tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(8, 8))
    with pytest.raises(VideoError, match="frame 3: cannot be read as an image"):
        to_frame(Image.open(tmp_path / "a.png"), "frame 3")
    with pytest.raises(VideoError, match="frame 3: has 0 x 4 pixels"):
        to_frame(Image.new("RGB", (0, 4)), "frame 3")


def test_not_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    for read in (lambda path: to_frame(path, ""), lambda path: read_mask_values(path, (8, 8))):
        with pytest.raises(ValueError, match="a.png: is a named pipe"):
            read(tmp_path / "a.png")
        with pytest.raises(ValueError, match="b.png: is a folder"):
            read(tmp_path / "b.png")
