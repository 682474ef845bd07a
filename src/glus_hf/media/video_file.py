"""Decode a video file: local containers only, within limits, turned as players show it."""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from ..errors import VideoError
from ..safe_files import check_regular
from .decode_limits import DecodeLimits, FrameBudget
from .display_matrix import turn_frame
from .file_end import missing_end
from .sizes import check_like_first


_CONTAINER_FORMATS = "mov,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,asf,ogg,ivf,mxf,h264,hevc,av1,obu,m4v,mpegvideo"
_COVER = 0x0400  # AV_DISPOSITION_ATTACHED_PIC
_DEFAULT = 0x0001  # AV_DISPOSITION_DEFAULT
USUAL_BITS = 12  # of a pixel, where the header does not say
PADDING_PIXELS = 5_000_000  # a column of 65535 pixels is padded to a width of 64
_UNREADABLE = (av.error.FFmpegError, OSError, ValueError)


@dataclass
class DecodedFile:
    """Frames `[height, width, 3]`, all or the first, and their number; frames per second or None; and what is wrong
    with the file, if it was readable in part."""

    frames: list[np.ndarray]
    num_frames: int
    fps: float | None
    damage: str | None


def decode_file(
    path: Path, max_frames: int | None = None, limits: DecodeLimits | None = None, only_first: bool = False
) -> DecodedFile:
    """Decode the frames of a video file.

    Args:
        path: the file.
        max_frames: only so many, from the start.
        limits: what it may ask for; checked from its header before anything is decoded, and while it is decoded.
        only_first: keep the first frame, decode and count the others.

    Raises:
        VideoError: it cannot be decoded, asks for too much, or changes the size of its frames. One line.
    """
    budget = FrameBudget(path, limits, holds_frames=not only_first)
    size = check_regular(path, "video", VideoError).st_size
    if size == 0:
        raise VideoError(f"{path}: the file is empty: download or copy it again")
    budget.check_file(size)
    try:
        _check_length(path, max_frames, budget)
        with _open(path, budget) as container:
            return _decode(container, path, max_frames, budget, only_first)
    except MemoryError:
        raise _out_of_memory(path) from None


def _out_of_memory(path: Path) -> VideoError:
    return VideoError(f"{path}: memory ran out while it was decoded: read its start with max_frames, or free memory")


def _open(path: Path, budget: FrameBudget) -> av.container.InputContainer:
    options = {
        "format_whitelist": _CONTAINER_FORMATS,
        "protocol_whitelist": "file",
        "max_pixels": _decoder_pixels(budget),  # for the decoders that probe
    }
    try:
        # the prefix keeps a name such as "concat:a" from being read as a protocol
        return av.open(f"file:{path}", options=options)
    except _UNREADABLE as error:
        if _is_memory(error):
            raise _out_of_memory(path) from None
        raise VideoError(f"{path}: cannot be opened as a video ({_reason(error)}): re-export it as mp4") from None


def open_container(path: Path) -> av.container.InputContainer:
    """A media file, opened as [`decode_file`] opens it.

    Raises:
        VideoError: it is no regular file or no container that is read. One line.
    """
    check_regular(path, "video", VideoError)
    return _open(path, FrameBudget(path, None))


def _decoder_pixels(budget: FrameBudget) -> str:
    """How many pixels a decoder may take memory for: those of a frame, and what it adds at the edges."""
    return str(int(budget.limits.frame_pixels * 1.1) + PADDING_PIXELS)


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream that ffmpeg would take: one marked as default before others, then the one with most pixels, then the
    first. Covers of sound files are not looked at."""
    streams = [stream for stream in container.streams.video if not int(stream.disposition) & _COVER]
    if not streams:
        found = "has a cover picture but no video" if container.streams.video else "has no video stream"
        raise VideoError(f"{path}: {found}: pass a file with moving pictures")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise VideoError(f"{path}: its video codec is not supported: re-export it as mp4 (H.264)")
    return max(decodable, key=lambda stream: (int(stream.disposition) & _DEFAULT, stream.width * stream.height))


# --- before decoding -------------------------------------------------------------------------------------------------


def _check_length(path: Path, max_frames: int | None, budget: FrameBudget) -> None:
    """Refuse what is too long or too large, from the header, or from the packets where it does not say."""
    with _open(path, budget) as container:
        stream = _video_stream(container, path)
        height, width = stream.height, stream.width
        budget.check_size(height, width)
        budget.count_decoder(height, width, _bits_per_pixel(stream), stream.codec_context.codec.intra_only)
        if max_frames is None:
            budget.check_seconds(_duration(container, stream))
        count = _announced_frames(container, stream)
        if count:
            budget.check_count(min(count, max_frames or count), height, width)
            return
        for count, _ in enumerate(itertools.islice(_packets(container, stream), max_frames), start=1):
            if count % 100 == 0:
                budget.check_count(count, height, width, more=True)
        budget.check_count(count, height, width)


def _bits_per_pixel(stream: av.VideoStream) -> int:
    """What a decoded picture takes for each pixel, as the header says."""
    format = stream.codec_context.format
    return format.padded_bits_per_pixel if format is not None else USUAL_BITS


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except _UNREADABLE as error:
        if _is_memory(error):
            raise _out_of_memory(Path(container.name)) from None


def _duration(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    found = [0.0]
    if container.duration is not None:
        found.append(container.duration / av.time_base)
    if stream.duration is not None and stream.time_base:
        found.append(float(stream.duration * stream.time_base))
    return max(found)


def _announced_frames(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """How many frames the header announces, 0 if it does not say. Cuts of an mp4 that its edit list hides do not
    count."""
    indexed = len(stream.index_entries) if "mov" in container.format.name else 0
    return min(stream.frames, indexed) if indexed else stream.frames


# --- decoding --------------------------------------------------------------------------------------------------------


def _decode(
    container: av.container.InputContainer,
    path: Path,
    max_frames: int | None,
    budget: FrameBudget,
    only_first: bool = False,
) -> DecodedFile:
    stream = _video_stream(container, path)
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = budget.threads
    stream.codec_context.options = {"max_pixels": _decoder_pixels(budget)}
    frames: list[np.ndarray] = []
    count, broken, damage = 0, 0, None
    try:
        for picture in container.decode(stream):
            broken += picture.is_corrupt
            frame = _frame(picture, f"{path}: frame {count:05d}", path, frames, max_frames, budget)
            count += 1
            if not (only_first and frames):
                frames.append(frame)
            if count == max_frames:
                break
    except VideoError:
        raise
    except _UNREADABLE as error:
        if _is_memory(error):
            raise _out_of_memory(path) from None
        context = stream.codec_context
        budget.check_size(context.height, context.width)  # it may have grown to what the decoder refuses
        damage = _reason(error)
    if not frames:
        raise VideoError(f"{path}: no frame could be decoded ({damage or 'no frames'}): re-export it as mp4")
    announced = _announced_frames(container, stream)
    if damage is None and count < min(announced, max_frames or announced):
        damage = f"its header announces {announced}"
    if damage is None and count != max_frames:
        damage = missing_end(path)
    if damage is None and broken:
        damage = f"{broken} of them damaged"
    return DecodedFile(frames, count, _rate(stream), damage)


def _frame(
    picture: av.VideoFrame,
    name: str,
    path: Path,
    frames: list[np.ndarray],
    max_frames: int | None,
    budget: FrameBudget,
) -> np.ndarray:
    budget.add(picture.height, picture.width)
    if max_frames is None and picture.time is not None:
        budget.check_time(picture.time)
    matrix = picture.side_data.get("DISPLAYMATRIX")
    frame = turn_frame(picture.to_ndarray(format="rgb24"), None if matrix is None else bytes(matrix), path)
    check_like_first(name, frame, frames[0] if frames else frame)
    return frame


def _rate(stream: av.VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and math.isfinite(rate) and 0.01 <= rate <= 1000 else None


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


__all__ = ["DecodedFile", "decode_file"]
