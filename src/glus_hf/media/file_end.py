"""Whether a video file ends before its own header says: decoders take such an end for the end of the video."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO


_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_TS_PACKET = 188
_TAIL = 4096


def missing_end(path: Path) -> str | None:
    """What tells that a Matroska, WebM, GIF or MPEG transport file is cut short; None if nothing does.

    The headers of other containers announce their frames.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_TS_PACKET + 1)
        if head.startswith(_EBML):
            end = _end_of_segment(file)
            return f"its header announces {end} bytes, it has {size}" if end is not None and end > size else None
        if head.startswith((b"GIF87a", b"GIF89a")):
            file.seek(max(0, size - _TAIL))
            return None if file.read().rstrip(b"\0").endswith(b";") else "it has no end mark"
        if head[:1] == head[-1:] == b"G" and len(head) > _TS_PACKET and size % _TS_PACKET:
            return "it ends in the middle of a packet"
    return None


def _end_of_segment(file: BinaryIO) -> int | None:
    """Where the segment of a Matroska file ends; None if its header leaves that open."""
    file.seek(len(_EBML))
    header = _read_size(file)
    if header is None:
        return None
    file.seek(header, 1)
    if file.read(4) != _SEGMENT:
        return None
    length = _read_size(file)
    return None if length is None else file.tell() + length


def _read_size(file: BinaryIO) -> int | None:
    """A length of EBML: as many bytes as the first has zeros in front, and one; all ones is an unknown length."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> extra)]) + file.read(extra), "big")
    return None if value == (1 << 7 * (extra + 1)) - 1 else value


__all__ = ["missing_end"]
