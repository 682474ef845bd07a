"""Frames and sound, encoded into mp4, mov or webm."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from .sound import Sound
from .writer_tag import KEY, TAG


CODECS = {
    ".mp4": ("libx264", {"crf": "14", "preset": "veryfast"}, {"movflags": "+faststart"}),
    ".mov": ("libx264", {"crf": "14", "preset": "veryfast"}, {"movflags": "+faststart"}),
    ".webm": ("libvpx-vp9", {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4"}, {}),
}


def write_remedy(suffix: str) -> str:
    """What to do about frames that an encoder refuses."""
    return f"choose another format or smaller frames; {suffix} may have no more than 16384 pixels a side"


def write_encoded(path: Path, frames: Iterator[np.ndarray], fps: float, sound: Sound | None = None) -> None:
    """Write frames `[height, width, 3]` uint8 in the codec of the path's suffix, with a sound if there is one."""
    codec, options, container_options = CODECS[path.suffix.lower()]
    stream = None
    sound = None if sound is None or sound.source is None else sound
    with av.open(str(path), "w", options=container_options) as container:
        container.metadata[KEY] = TAG
        for index, frame in enumerate(frames):
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.colorspace = Colorspace.ITU709
                if sound is not None:
                    sound.add_to(container)
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            container.mux(stream.encode(picture))
            if sound is not None:
                sound.write_until((index + 1) / fps)
        container.mux(stream.encode(None))


__all__ = ["CODECS", "write_encoded", "write_remedy"]
