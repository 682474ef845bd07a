"""Small videos and images with known content, made in memory."""

import io
from fractions import Fraction

import av
import numpy as np
from PIL import Image


CODECS = {
    "mp4": "libx264",
    "mov": "libx264",
    "matroska": "libx264",
    "mkv": "libx264",
    "webm": "libvpx",
    "avi": "mjpeg",
    "gif": "gif",
    "mpegts": "mpeg2video",
    "flv": "flv1",
}
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8"}
CONTAINERS = {"mkv": "matroska"}


def clip_frames(count: int, height: int, width: int, seed: int = 0) -> list[np.ndarray]:
    """Frames of a square that moves over a still ground: `[height, width, 3]` uint8."""
    ground = np.random.default_rng(seed).integers(0, 60, (1, 1, 3), dtype=np.uint8) + np.uint8(40)
    frames = []
    for index in range(count):
        frame = np.broadcast_to(ground, (height, width, 3)).copy()
        left = index % max(1, width - width // 3)
        frame[height // 4 : height // 4 * 3, left : left + width // 3] = (220, 30, 30)
        frames.append(frame)
    return frames


def video_bytes(format: str, frames: list[np.ndarray], fps: int = 8, options: dict | None = None) -> bytes:
    """A video file of the container `format`."""
    content, codec = io.BytesIO(), CODECS[format]
    with av.open(content, "w", format=CONTAINERS.get(format, format)) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = PIXELS.get(codec, "yuv420p")
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return content.getvalue()


def image_bytes(frame: np.ndarray, format: str = "PNG", **options) -> bytes:
    """An image file."""
    content = io.BytesIO()
    Image.fromarray(frame).save(content, format, **options)
    return content.getvalue()
