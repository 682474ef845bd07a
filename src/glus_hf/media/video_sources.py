"""What a video may come as besides files, folders, lists and arrays, and how it becomes one of these.

An address, bytes, an open file and an undecoded row of `datasets.Video` become a local file for as long as they are
read; a decoder of torchcodec gives its frames.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import torch
from PIL import Image

from ..errors import VideoError
from .download import CHUNK, DownloadOptions, download, is_url, without_query
from .images import IMAGE_SUFFIXES


BYTES = (bytes, bytearray, memoryview)
FRAME_SUFFIXES = (*IMAGE_SUFFIXES, ".tif", ".tiff", ".avif", ".ppm", ".pgm", ".jfif", ".jp2", ".tga")
"""Suffixes of files that are frames where they stand in a list."""
_HEAD = 16


def is_file_row(source) -> bool:
    """Whether this is a row of `datasets.Video(decode=False)` or `Image(decode=False)`.

    Example:
        >>> is_file_row({"bytes": None, "path": "clip.mp4"})
        True
    """
    return isinstance(source, Mapping) and set(source) == {"bytes", "path"}


def is_decoder(source) -> bool:
    """Whether this is a `torchcodec.decoders.VideoDecoder`, which a decoded `datasets.Video` column holds."""
    return hasattr(source, "get_frame_at") and hasattr(source, "metadata") and hasattr(source, "__getitem__")


def is_to_copy(source) -> bool:
    """Whether a source must become a local file first: an http(s) address, bytes, an open file, or a row with bytes.

    Example:
        >>> is_to_copy(b"..."), is_to_copy("clip.mp4")
        (True, False)
    """
    if is_file_row(source):
        return source["bytes"] is not None
    return is_url(source) or isinstance(source, BYTES) or hasattr(source, "read")


@contextmanager
def local_copy(source, options: DownloadOptions) -> Iterator[Path]:
    """A local file with the content of a source of [`is_to_copy`], until the block ends.

    Errors of reading the file name the source instead.

    Raises:
        VideoError: it is empty, beyond a limit or cannot be downloaded; one line.
    """
    name = name_of(source)
    with tempfile.TemporaryDirectory(prefix="glus-hf-") as folder:
        path = Path(folder) / "source"
        _fill(path, source, name, options)
        path = path.rename(path.with_suffix(_suffix(path)))
        try:
            yield path
        except VideoError as error:
            raise VideoError(str(error).replace(str(path), name)) from None


@contextmanager
def as_local(source, options: DownloadOptions) -> Iterator:
    """A source as it is; of a `file://` address its path; of one to copy its [`local_copy`], until the block ends."""
    if is_to_copy(source):
        with local_copy(source, options) as path:
            yield path
    else:
        yield _path_of(source) if _is_file_url(source) else source


def name_of(source) -> str:
    """A source of [`is_to_copy`] as messages name it."""
    if is_url(source):
        return without_query(source)
    if is_file_row(source):
        return str(source["path"] or "the bytes")
    if isinstance(source, BYTES):
        return "the bytes"
    name = getattr(source, "name", None)
    return f"the open file {name}" if isinstance(name, str) else "the open file"


def _fill(path: Path, source, name: str, options: DownloadOptions) -> None:
    if is_url(source):
        download(source, path, options)
    elif hasattr(source, "read"):
        _copy_open_file(path, source, name, options.max_bytes)
    else:
        path.write_bytes(source["bytes"] if is_file_row(source) else source)
    if path.stat().st_size == 0:
        raise VideoError(f"{name}: holds nothing: pass a whole video file")


def _copy_open_file(path: Path, source, name: str, max_bytes: int) -> None:
    """Copy a file from its start, or, where it cannot be wound back, from where it is."""
    if hasattr(source, "seekable") and source.seekable():
        source.seek(0)
    size = 0
    with open(path, "wb") as file:
        while chunk := _read_bytes(source, CHUNK, name):
            size += len(chunk)
            if size > max_bytes:
                raise VideoError(f"{name}: is larger than {max_bytes:,} bytes: raise max_download_bytes")
            file.write(chunk)


def _read_bytes(source, size: int, name: str) -> bytes:
    is_text = isinstance(source, io.TextIOBase)
    data = "" if is_text else source.read(size)
    if isinstance(data, str):
        raise VideoError(f"{name}: is open as text: open it with mode 'rb'")
    return data


def _suffix(path: Path) -> str:
    with open(path, "rb") as file:
        return image_suffix(file.read(_HEAD)) or ".video"


def image_suffix(head: bytes) -> str | None:
    """The suffix of an image by the first 16 bytes of its file; None for anything else.

    Example:
        >>> image_suffix(b"BM" + bytes(14)), image_suffix(bytes(16))
        ('.bmp', None)
    """
    if head.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return ".webp"
    return ".bmp" if head.startswith(b"BM") else None


def plain_source(source):
    """A source as a path, list or array: of a `file://` address its path, of one image a list.

    Example:
        >>> plain_source("file:///data/my%20clip.mp4")
        '/data/my clip.mp4'
    """
    if is_file_row(source) and source["bytes"] is None:
        source = source["path"] or ""
    if _is_file_url(source):
        source = _path_of(source)
    if isinstance(source, Image.Image) or is_image_array(source) or is_image_file(source):
        return [source]
    return source


def is_image_array(source) -> bool:
    """Whether an array or tensor is one image: `[height, width, 3]`, or 4 with alpha."""
    return isinstance(source, (np.ndarray, torch.Tensor)) and source.ndim == 3 and source.shape[-1] in (3, 4)


def is_image_file(source) -> bool:
    """Whether a path is that of an image, by its suffix; a folder is none."""
    if not isinstance(source, (str, os.PathLike)) or is_url(source):
        return False
    path = Path(source)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()


def _is_file_url(source) -> bool:
    return isinstance(source, str) and source.startswith("file://")


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise VideoError(f"{url}: names the host {parts.netloc}: write file:///path for a local file")
    return url2pathname(parts.path)


def is_frame(source) -> bool:
    """Whether an element of a list is a frame, not a video: a PIL image, an array of at most 3 dimensions, an image
    file by its suffix or content, an address that ends as one.

    Example:
        >>> is_frame("00000.jpg"), is_frame("clip.mp4"), is_frame(np.zeros((4, 48, 64, 3), np.uint8))
        (True, False, False)
    """
    if is_file_row(source):
        source = source["path"] if source["bytes"] is None else source["bytes"]
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return source.ndim < 4
    if isinstance(source, (str, os.PathLike)):
        path = Path(urlsplit(without_query(source)).path if is_url(source) else source)
        return not path.is_dir() and (path.suffix.lower() in FRAME_SUFFIXES or _starts_as_image(path))
    if isinstance(source, BYTES):
        return image_suffix(bytes(source[:_HEAD])) is not None
    if hasattr(source, "read"):
        return image_suffix(_head_of_open_file(source)) is not None
    return isinstance(source, Image.Image)


def _starts_as_image(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return image_suffix(file.read(_HEAD)) is not None


def _head_of_open_file(source) -> bytes:
    if not (hasattr(source, "seekable") and source.seekable()):
        return b""
    source.seek(0)
    head = _read_bytes(source, _HEAD, name_of(source))
    source.seek(0)
    return head


def decoder_frames(decoder) -> Iterator:
    """Frames of a torchcodec decoder, tensors `[3, height, width]` or `[height, width, 3]` of uint8, one by one.

    Raises:
        VideoError: a frame cannot be decoded; one line.
    """
    try:
        for index in range(len(decoder)):
            yield decoder[index]
    except (RuntimeError, IndexError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise VideoError(f"the decoder failed ({reason}): pass the file's path or bytes") from None


def decoder_fps(decoder) -> float | None:
    """Frames per second of a torchcodec decoder; None where the file does not tell."""
    rate = getattr(decoder.metadata, "average_fps", None)
    return float(rate) if rate else None


__all__ = [
    "FRAME_SUFFIXES",
    "as_local",
    "decoder_fps",
    "decoder_frames",
    "image_suffix",
    "is_decoder",
    "is_file_row",
    "is_frame",
    "is_to_copy",
    "local_copy",
    "plain_source",
]
