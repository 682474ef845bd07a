"""The sound of one media file, put under the pictures of another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

import av
from transformers.utils import logging


logger = logging.get_logger(__name__)

COPIED = {  # codecs that a container takes as they are
    ".mp4": ("aac", "mp3", "ac3", "eac3", "alac", "opus"),
    ".mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le"),
    ".webm": ("opus", "vorbis"),
}
ENCODERS = {".mp4": ("aac", None), ".mov": ("aac", None), ".webm": ("libopus", 48000)}  # with their sample rate
LAYOUTS = {1: "mono"}  # of more channels, two are kept where the sound is encoded anew


class Sound:
    """Sound of a file, copied where the new container takes it as it is, else encoded anew.

    Args:
        container: the file, opened with PyAV.
        name: of the file, for warnings.
        suffix: of the new file: `.mp4`, `.mov` or `.webm`.
    """

    def __init__(self, container: av.container.InputContainer, name: str | os.PathLike, suffix: str):
        self.container, self.name = container, name
        self.source = container.streams.best("audio")
        self.start = _video_start(container)
        self.is_copied = self.source is not None and self.source.codec_context.name in COPIED[suffix]
        self.suffix = suffix

    def add_to(self, output: av.container.OutputContainer) -> None:
        """Add the stream to a container of which nothing is written yet."""
        if self.is_copied:
            stream = output.add_stream_from_template(self.source)
            packets = self._copied(stream)
        else:
            codec, rate = ENCODERS[self.suffix]
            stream = output.add_stream(codec, rate=rate or self.source.codec_context.sample_rate)
            stream.layout = LAYOUTS.get(self.source.codec_context.channels, "stereo")
            packets = self._encoded(stream)
        self.output, self.packets, self.next = output, self._until_damage(packets), None

    def write_until(self, seconds: float) -> None:
        """Write what sounds before a time in the new file."""
        while True:
            self.next = self.next or next(self.packets, None)
            if self.next is None or self.next[0] >= seconds:
                return
            self.output.mux(self.next[1])
            self.next = None

    def _copied(self, stream) -> Iterator[tuple[float, av.Packet]]:
        """Packets with their times in the new file, from 0."""
        for packet in self.container.demux(self.source):
            if packet.dts is None or packet.pts is None:
                continue
            time = packet.pts * packet.time_base - self.start
            if time < 0:
                continue
            shift = round(self.start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = stream
            yield float(time), packet

    def _encoded(self, stream) -> Iterator[tuple[float, av.Packet]]:
        context = stream.codec_context
        resampler = av.AudioResampler(
            context.format or "fltp", context.layout, context.sample_rate, context.frame_size
        )
        for frame in [*self._frames(), None]:
            for part in resampler.resample(frame):
                yield from self._timed(stream.encode(part))
        yield from self._timed(stream.encode(None))

    def _frames(self) -> Iterator[av.AudioFrame]:
        for frame in self.container.decode(self.source):
            if frame.pts is not None and frame.time >= self.start:
                frame.pts -= round(self.start / frame.time_base)
                yield frame

    @staticmethod
    def _timed(packets) -> Iterator[tuple[float, av.Packet]]:
        return ((float((packet.pts or 0) * packet.time_base), packet) for packet in packets)

    def _until_damage(self, packets: Iterator) -> Iterator:
        try:
            yield from packets
        except (av.error.FFmpegError, ValueError) as error:
            logger.warning(f"{self.name}: its sound is damaged and ends early in the new file ({error})")


def _video_start(container: av.container.InputContainer) -> Fraction:
    """Seconds at which the first picture is shown."""
    stream = container.streams.best("video")
    if stream is None or stream.start_time is None:
        return Fraction(0)
    return Fraction(stream.start_time) * stream.time_base


__all__ = ["Sound"]
