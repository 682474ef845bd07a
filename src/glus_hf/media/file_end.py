"""Whether a video file ends before its own structure says: decoders take such an end for the end of the video, and
pass over what they cannot read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from .mp4_tables import table_problem


_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_TS_PACKET = 188
_REORDERED = 16  # pictures, at most, between the place of one in the file and the time at which it is shown
_TS_END = 1 << 22  # bytes that are looked at, from the end
_FLV_TAG = 11
_GIF_EXTENSION, _GIF_IMAGE, _GIF_END = b"\x21", b"\x2c", b"\x3b"
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")  # what an mp4 or mov starts with
_BROKEN = "a part of it is damaged"


def missing_end(path: Path) -> str | None:
    """What tells that an mp4, Matroska, WebM, GIF, Flash or MPEG transport file is cut short or damaged; None if
    nothing does.

    The headers of other containers announce their frames.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_TS_PACKET + 1)
        if head.startswith(_EBML):
            return _matroska_problem(file, size)
        if head.startswith((b"GIF87a", b"GIF89a")):
            return _gif_problem(file, size)
        if head.startswith(b"FLV"):
            return None if _ends_with_a_tag(file, size) else "it ends in the middle of a tag"
        if head[4:8] in _MP4_BOXES:
            return table_problem(file, size)
        if head[:1] == head[-1:] == b"G" and len(head) > _TS_PACKET:
            return "it ends in the middle of a packet" if size % _TS_PACKET else _transport_problem(file, size)
    return None


# --- MPEG transport --------------------------------------------------------------------------------------------------


def _transport_problem(file: BinaryIO, size: int) -> str | None:
    """Whether the last part of each stream has the bytes that it announces. Parts of pictures mostly announce none:
    their decoders notice."""
    start = max(0, size - _TS_END) // _TS_PACKET * _TS_PACKET
    file.seek(start)
    missing: dict[int, int] = {}  # bytes by stream
    for _ in range(start, size, _TS_PACKET):
        packet = file.read(_TS_PACKET)
        begins, stream = packet[1] & 0x40, (packet[1] & 0x1F) << 8 | packet[2]
        payload = packet[4 + (1 + packet[4] if packet[3] & 0x20 else 0) :] if packet[3] & 0x10 else b""
        if begins:
            missing.pop(stream, None)
            length = int.from_bytes(payload[4:6], "big")
            if payload.startswith(b"\0\0\1") and length:
                missing[stream] = 6 + length
        if stream in missing:
            missing[stream] -= len(payload)
    return "it ends in the middle of a part of a stream" if max(missing.values(), default=0) > 0 else None


def _ends_with_a_tag(file: BinaryIO, size: int) -> bool:
    """Whether the tags of a Flash video fill it: 11 bytes, as many as these say, and the length of it all again."""
    file.seek(5)
    end = int.from_bytes(file.read(4), "big") + 4
    while end + _FLV_TAG <= size:
        file.seek(end + 1)
        end += _FLV_TAG + int.from_bytes(file.read(3), "big") + 4
    return end == size


def has_gap_at_end(times: Sequence[int]) -> bool:
    """Whether pictures that come at one rate have a gap among the last of them, as where a file is cut: pictures are
    stored after those that they refer to, so the last that is there may be shown after some that are not.

    Example:
        >>> has_gap_at_end([*range(40), 42]), has_gap_at_end([*range(10), *range(12, 40)])
        (True, False)
    """
    steps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    usual, last = steps[:-_REORDERED], steps[-_REORDERED:]
    if len(usual) < _REORDERED or max(usual) - min(usual) > 1 or min(usual) <= 0:
        return False
    return max(last) >= 2 * min(usual)


# --- GIF -------------------------------------------------------------------------------------------------------------


def _gif_problem(file: BinaryIO, size: int) -> str | None:
    """Blocks from the header to the end mark."""
    file.seek(10)
    _skip_colours(file)
    while (kind := file.read(1)) != _GIF_END:
        if not kind or file.tell() > size:
            return "it has no end mark"
        if kind == _GIF_EXTENSION:
            file.seek(1, os.SEEK_CUR)
        elif kind == _GIF_IMAGE:
            file.seek(8, os.SEEK_CUR)
            _skip_colours(file, after=0)
            file.seek(1, os.SEEK_CUR)
        else:
            return _BROKEN
        while length := file.read(1)[:1].rjust(1, b"\0")[0]:
            file.seek(length, os.SEEK_CUR)
    return None


def _skip_colours(file: BinaryIO, after: int = 2) -> None:
    """A byte that says how large the table of colours is, so many bytes after it, and the table."""
    flags = file.read(1 + after)[:1].rjust(1, b"\0")[0]
    if flags & 0x80:
        file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)


# --- Matroska --------------------------------------------------------------------------------------------------------


def _matroska_problem(file: BinaryIO, size: int) -> str | None:
    """Whether the file holds its whole segment, and its clusters what they say."""
    file.seek(len(_EBML))
    header = _read_size(file)
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return None
    length = _read_size(file)
    if length is None:  # of a stream, whose writer did not know
        return None
    end = file.tell() + length
    if end > size:
        return f"its header announces {end} bytes, it has {size}"
    return None if _is_filled(file, end) else _BROKEN


def _is_filled(file: BinaryIO, end: int, inside: bytes = _SEGMENT) -> bool:
    """Whether elements, one after another, lead to `end`; those of clusters too."""
    while file.tell() < end:
        name = _read_name(file)
        length = _read_size(file)
        if name is None:
            return False
        if length is None:
            return inside == _SEGMENT and name == _CLUSTER  # of a stream
        last = file.tell() + length
        if last > end or (name == _CLUSTER and not _is_filled(file, last, _CLUSTER)):
            return False
        file.seek(last)
    return file.tell() == end


def _read_name(file: BinaryIO) -> bytes | None:
    """The name of an element: as many bytes as the first has zeros in front, and one."""
    first = file.read(1)
    extra = 8 - first[0].bit_length() if first else 8
    return None if extra > 3 else first + file.read(extra)


def _read_size(file: BinaryIO) -> int | None:
    """A length of EBML: as many bytes as the first has zeros in front, and one; all ones is an unknown length."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> extra)]) + file.read(extra), "big")
    return None if value == (1 << 7 * (extra + 1)) - 1 else value


__all__ = ["has_gap_at_end", "missing_end"]
