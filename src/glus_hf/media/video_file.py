"""Decode a video file: local containers only, within limits, turned as players show it."""

from __future__ import annotations

import errno
import itertools
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer

from ..errors import VideoError
from ..safe_files import check_regular
from .decode_limits import UNLIMITED, DecodeLimits, FrameBudget
from .display_matrix import turn_frame
from .file_end import has_gap_at_end, missing_end
from .sizes import check_like_first


_CONTAINER_FORMATS = "mov,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,asf,ogg,ivf,mxf,h264,hevc,av1,obu,m4v,mpegvideo"
_COVER = 0x0400  # AV_DISPOSITION_ATTACHED_PIC
_DEFAULT = 0x0001  # AV_DISPOSITION_DEFAULT
USUAL_BITS = 12  # of a pixel, where the header does not say
PADDING_PIXELS = 5_000_000  # a column of 65535 pixels is padded to a width of 64
UNREADABLE = (av.error.FFmpegError, OSError, ValueError)


@dataclass
class DecodedFile:
    """Frames `[height, width, 3]`, all or the first, and their number; frames per second or None; and what is wrong
    with the file, if it was readable in part."""

    frames: Sequence[np.ndarray]
    num_frames: int
    fps: float | None
    damage: str | None


@dataclass
class Reading:
    """What one way through a file tells: how many pictures it gave, frames per second or None, and what is wrong."""

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
    shown, frames = ShownPictures(path), []

    def take(index: int, picture: av.VideoFrame) -> None:
        frame = shown.frame(index, picture)
        if not (only_first and frames):
            frames.append(frame)

    found = read_pictures(path, take, max_frames, limits, holds_frames=not only_first)
    return DecodedFile(frames, found.num_frames, found.fps, found.damage)


def read_pictures(
    path: Path,
    take: Callable[[int, av.VideoFrame], None],
    max_frames: int | None = None,
    limits: DecodeLimits | None = None,
    holds_frames: bool = True,
) -> Reading:
    """Decode a file once, from its start; `take` gets the index of every picture and the picture, and `holds_frames`
    or lets go of them before the next.

    Raises:
        VideoError: as [`decode_file`].
    """
    budget = FrameBudget(path, limits, holds_frames)
    _check_file(path, budget)
    try:
        _check_length(path, max_frames, budget)
        with _open(path, budget) as container:
            return _decode(container, path, take, max_frames, budget)
    except MemoryError:
        raise _out_of_memory(path) from None


def _check_file(path: Path, budget: FrameBudget) -> None:
    size = check_regular(path, "video", VideoError).st_size
    if size == 0:
        raise VideoError(f"{path}: the file is empty: download or copy it again")
    budget.check_file(size)


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
    except UNREADABLE as error:
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
        _count_decoder(container, path, budget)
        if max_frames is None:
            budget.check_seconds(_duration(container, stream))
        if budget.memory >= UNLIMITED:
            return
        count = _announced_frames(container, stream)
        if count:
            budget.check_count(min(count, max_frames or count), height, width)
            return
        for count, _ in enumerate(itertools.islice(_packets(container, stream), max_frames), start=1):
            if count % 100 == 0:
                budget.check_count(count, height, width, more=True)
        budget.check_count(count, height, width)


def _count_decoder(container: av.container.InputContainer, path: Path, budget: FrameBudget) -> None:
    stream = _video_stream(container, path)
    bits, is_intra = _bits_per_pixel(stream), stream.codec_context.codec.intra_only
    budget.count_decoder(stream.height, stream.width, bits, is_intra)


def _bits_per_pixel(stream: av.VideoStream) -> int:
    """What a decoded picture takes for each pixel, as the header says."""
    format = stream.codec_context.format
    return format.padded_bits_per_pixel if format is not None else USUAL_BITS


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except UNREADABLE as error:
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


def open_stream(path: Path, limits: DecodeLimits | None) -> tuple[av.container.InputContainer, av.VideoStream]:
    """A file and its stream of pictures, set up to decode as [`read_pictures`] does."""
    budget = FrameBudget(path, limits, holds_frames=False)
    container = _open(path, budget)
    _count_decoder(container, path, budget)
    return container, _prepared_stream(container, path, budget)


def announced_frames(path: Path, limits: DecodeLimits | None) -> int:
    """How many frames the header of a file announces, 0 if it does not say."""
    budget = FrameBudget(path, limits, holds_frames=False)
    _check_file(path, budget)
    with _open(path, budget) as container:
        return _announced_frames(container, _video_stream(container, path))


def _prepared_stream(container: av.container.InputContainer, path: Path, budget: FrameBudget) -> av.VideoStream:
    stream = _video_stream(container, path)
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = budget.threads
    stream.codec_context.options = {"max_pixels": _decoder_pixels(budget)}
    return stream


def _decode(
    container: av.container.InputContainer,
    path: Path,
    take: Callable[[int, av.VideoFrame], None],
    max_frames: int | None,
    budget: FrameBudget,
) -> Reading:
    stream = _prepared_stream(container, path, budget)
    count, broken, damage, times = 0, 0, None, array("q")
    try:
        for picture in container.decode(stream):
            broken += picture.is_corrupt
            budget.add(picture.height, picture.width)
            if max_frames is None and picture.time is not None:
                budget.check_time(picture.time)
            take(count, picture)
            times.append(picture.pts or 0)
            count += 1
            if count == max_frames:
                break
    except VideoError:
        raise
    except UNREADABLE as error:
        if _is_memory(error):
            raise _out_of_memory(path) from None
        context = stream.codec_context
        budget.check_size(context.height, context.width)  # it may have grown to what the decoder refuses
        damage = _reason(error)
    if not count:
        raise VideoError(f"{path}: no frame could be decoded ({damage or 'no frames'}): re-export it as mp4")
    announced = _announced_frames(container, stream)
    if damage is None and count < min(announced, max_frames or announced):
        damage = f"its header announces {announced}"
    if damage is None and count != max_frames:
        damage = missing_end(path)
        if damage is None and "mpegts" in container.format.name and has_gap_at_end(times):
            damage = "pictures are missing before its last one"
    if damage is None and broken:
        damage = f"{broken} of them damaged"
    return Reading(count, _rate(stream), damage)


class ShownPictures:
    """Pictures of one file as players show them: turned, in RGB, all of one size."""

    def __init__(self, path: Path):
        self.path = path
        self.frame_size: tuple[int, int] | None = None
        self._stored: tuple | None = None  # size and matrix of pictures that are shown with `frame_size`

    def frame(self, index: int, picture: av.VideoFrame) -> np.ndarray:
        """`uint8 [height, width, 3]`.

        Raises:
            VideoError: it has another size than the first, or cannot be turned.
        """
        stored = self._storage(picture)
        frame = turn_frame(picture.to_ndarray(format="rgb24"), stored[-1], self.path)
        if self.frame_size is None:
            self.frame_size, self._stored = frame.shape[:2], stored
        check_like_first(f"{self.path}: frame {index:05d}", frame, np.broadcast_to(np.uint8(0), self.frame_size))
        return frame

    def check(self, index: int, picture: av.VideoFrame) -> None:
        """Refuse what `frame` refuses, mostly without making the frame."""
        if self._storage(picture) != self._stored:
            self.frame(index, picture)

    @staticmethod
    def _storage(picture: av.VideoFrame) -> tuple:
        # picture.side_data would refer back to the picture: 1280 x 720 took 300 MB until the garbage collector came
        matrix = SideDataContainer(picture).get("DISPLAYMATRIX")
        return picture.height, picture.width, None if matrix is None else bytes(matrix)


def _rate(stream: av.VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and math.isfinite(rate) and 0.01 <= rate <= 1000 else None


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


__all__ = [
    "UNREADABLE",
    "DecodedFile",
    "Reading",
    "ShownPictures",
    "announced_frames",
    "decode_file",
    "open_container",
    "open_stream",
    "read_pictures",
]
