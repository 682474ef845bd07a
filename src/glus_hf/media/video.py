"""One small reader and one small writer for videos.

Whatever a user has (a file, a folder of frames, images, an array) becomes one [`Video`]: uint8 RGB frames of one size.
Files are opened as local files only, and only by the container formats listed here, so that a playlist dressed up as a
video cannot make the decoder open other files or addresses.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Real
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import Colorspace
from PIL import Image
from scipy.spatial import KDTree
from transformers.utils import logging

from ..atomic_write import atomic_path
from ..errors import VideoError
from .images import IMAGE_SUFFIXES, array_to_frames, existing_path, list_images, to_frame
from .sizes import check_like_first, check_same_size
from .sound import Sound


logger = logging.get_logger(__name__)

_CONTAINER_FORMATS = "mov,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,asf,ogg,ivf,mxf,h264,hevc,av1,obu,m4v,mpegvideo"
_CODECS = {
    ".mp4": ("libx264", {"crf": "14", "preset": "veryfast"}, {"movflags": "+faststart"}),
    ".mov": ("libx264", {"crf": "14", "preset": "veryfast"}, {"movflags": "+faststart"}),
    ".webm": ("libvpx-vp9", {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4"}, {}),
}
_PATTERN = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=np.int16) // 2 - 4  # Bayer's


@dataclass
class Video:
    """A decoded video.

    Attributes:
        frames: list of `[height, width, 3]` uint8 RGB arrays of one size, in display order.
        fps: frames per second; None where the source has no clock (a folder of frames, images, an array).
        frame_names: one name per frame: file stems for a folder, else five-digit indices `"00000"`, `"00001"`, ...
    """

    frames: list[np.ndarray]
    fps: float | None = None
    frame_names: list[str] = field(default_factory=list)

    def __post_init__(self):
        if not self.frame_names:
            self.frame_names = [f"{index:05d}" for index in range(len(self.frames))]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def height(self) -> int:
        return self.frames[0].shape[0]

    @property
    def width(self) -> int:
        return self.frames[0].shape[1]


def load_video(source, max_frames: int | None = None) -> Video:
    """Read a video from a file, a folder of frames, a sequence of images or an array.

    Args:
        source: one of

            - path of a video file (mp4, mov, webm, mkv, avi, gif, ...). Of several video streams the best one is read
              (the largest, as players do). The rotation that phones store is applied.
            - path of a folder of frames (jpg, jpeg, png, webp, bmp), read in natural order (`2.jpg` before `10.jpg`).
              EXIF orientation is applied.
            - list or tuple of images: PIL images, paths, or arrays and tensors `[height, width, 3]`,
              `[3, height, width]`, `[height, width]` (grey) or `[height, width, 4]`
            - array or tensor `[frames, height, width, 3]`, `[frames, 3, height, width]`, `[frames, height, width]`
              (grey) or with 1 or 4 channels. Where both could be meant, the last axis is the channels.
            - a [`Video`], returned as it is (cut to `max_frames`)

            Arrays are uint8, or floating point in `[0, 1]`. Alpha is dropped, grey is repeated, 16-bit images keep
            their upper 8 bits.
        max_frames: read only this many frames, from the start.

    Returns:
        [`Video`] with at least one frame. A file that is damaged after some frames gives those frames and a warning.

    Raises:
        VideoError: nothing can be read, or the frames differ in size. One line that names the file and the remedy.

    Example:
        >>> video = load_video(np.zeros((2, 48, 64, 3), dtype=np.uint8))
        >>> len(video), video.height, video.width, video.frame_names
        (2, 48, 64, ['00000', '00001'])
    """
    if max_frames is not None and (not isinstance(max_frames, int) or max_frames < 1):
        raise VideoError(f"max_frames must be a positive integer or None, got {max_frames!r}")
    if isinstance(source, Video):
        video = Video(source.frames[:max_frames], source.fps, source.frame_names[:max_frames])
    elif isinstance(source, (str, os.PathLike)):
        path = existing_path(source)
        video = _load_folder(path, max_frames) if path.is_dir() else _load_file(path, max_frames)
    elif isinstance(source, (list, tuple)):
        video = Video([to_frame(image, f"frame {index}") for index, image in enumerate(source[:max_frames])])
    elif isinstance(source, (np.ndarray, torch.Tensor)):
        video = Video(array_to_frames(source, max_frames))
    else:
        raise VideoError(
            f"a video cannot be a {type(source).__name__}: pass a file, a folder, a list of images or an array"
        )
    if not video.frames:
        raise VideoError("the video has no frames: pass at least one image")
    origin = f"{source}: " if isinstance(source, (str, os.PathLike)) else ""
    check_same_size(video.frames, video.frame_names, origin)
    return video


def write_video(
    path: str | os.PathLike, frames: Iterable, fps: float = 12, sound: str | os.PathLike | None = None
) -> None:
    """Write frames as a video file, complete or not at all.

    The suffix chooses the format: `.mp4` and `.mov` (H.264, 4:2:0, plays everywhere), `.webm` (VP9) or `.gif` (one
    palette for all frames; its clock ticks in 1/100 s, and equal neighbours are stored once). H.264 and VP9 need even
    sides: an odd height or width grows by one row or column that repeats the edge. The file appears under `path` only
    when it is complete; an error or an interruption leaves no trace.

    Args:
        path: where to write; parent folders are created.
        frames: a [`Video`], an array or any iterable of images as in [`load_video`]; a generator is consumed lazily.
        fps: frames per second.
        sound: a media file whose sound goes under the pictures, cut to their length: copied where the format takes it
            as it is, else as AAC (`.mp4`, `.mov`) or Opus (`.webm`). A file without sound adds none, nor does a GIF.

    Raises:
        VideoError: no frames, frames of different sizes, an unknown suffix or a bad `fps`; or `sound` cannot be opened.

    Example:
        >>> write_video("clip.mp4", np.zeros((12, 48, 64, 3), dtype=np.uint8), fps=12)  # doctest: +SKIP
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix != ".gif" and suffix not in _CODECS:
        raise VideoError(f"{path}: cannot write '{suffix}' videos: use .mp4, .mov, .webm or .gif")
    if path.is_dir():
        raise VideoError(f"{path}: is a folder: choose a file name")
    if not isinstance(fps, Real) or not 0.01 <= fps <= 1000:
        raise VideoError(f"{path}: fps must be a number from 0.01 to 1000, got {fps!r}")
    frames = _same_size_frames(path, frames)
    with atomic_path(path) as temporary, ExitStack() as stack:
        if suffix == ".gif":
            _write_gif(temporary, frames, fps)
            return
        added = None
        if sound is not None:
            added = Sound(stack.enter_context(_open_file(existing_path(sound))), sound, suffix)
        _write_encoded(temporary, frames, fps, *_CODECS[suffix], sound=added)


# --- reading files -------------------------------------------------------------------------------------------------


def _load_file(path: Path, max_frames: int | None) -> Video:
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty: download or copy it again")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoError(f"{path}: is an image, not a video: pass a list of images or a folder of frames")
    with _open_file(path) as container:
        return _decode(container, path, max_frames)


def _open_file(path: Path) -> av.container.InputContainer:
    try:
        # the prefix keeps a name such as "concat:a" from being read as a protocol
        return av.open(f"file:{path}", options={"format_whitelist": _CONTAINER_FORMATS, "protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path}: cannot be opened as a video ({_reason(error)}): re-export it as mp4") from None


def _decode(container: av.container.InputContainer, path: Path, max_frames: int | None) -> Video:
    stream = container.streams.best("video")
    if stream is None:
        raise VideoError(f"{path}: has no video stream: pass a file with pictures")
    if stream.codec_context is None:
        raise VideoError(f"{path}: its video codec is not supported: re-export it as mp4 (H.264)")
    stream.thread_type = "AUTO"
    frames, damage = [], None
    try:
        for frame in container.decode(stream):
            frames.append(_upright(frame))
            if len(frames) == max_frames:
                break
    except (av.error.FFmpegError, ValueError) as error:
        damage = _reason(error)
    if not frames:
        raise VideoError(f"{path}: no frame could be decoded ({damage or 'no frames'}): re-export it as mp4")
    if damage is None and len(frames) < min(stream.frames, max_frames or stream.frames):
        damage = f"its header announces {stream.frames}"
    if damage is not None:
        logger.warning(f"{path}: only {len(frames)} frames could be decoded ({damage}); the file may be cut short")
    rate = stream.average_rate or stream.guessed_rate
    return Video(frames, float(rate) if rate else None)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90 turns
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))


def _load_folder(path: Path, max_frames: int | None) -> Video:
    files = list_images(path)[:max_frames]
    if not files:
        state = "holds no frames" if any(path.iterdir()) else "is an empty folder"
        raise VideoError(f"{path}: {state}: put {', '.join(IMAGE_SUFFIXES)} images into it")
    names = [file.stem for file in files]
    for first, second in zip(files, files[1:], strict=False):
        if first.stem == second.stem:
            raise VideoError(f"{path}: {first.name} and {second.name} have one name: keep one of them")
    return Video([to_frame(file, str(file)) for file in files], None, names)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


# --- writing -------------------------------------------------------------------------------------------------------


def _same_size_frames(path: Path, frames: Iterable) -> Iterator[np.ndarray]:
    if isinstance(frames, Video):
        frames = frames.frames
    elif isinstance(frames, (np.ndarray, torch.Tensor)):
        frames = array_to_frames(frames, None)
    elif isinstance(frames, (str, os.PathLike)) or not isinstance(frames, Iterable):
        raise VideoError(f"{path}: frames must be images, got {type(frames).__name__}: read it with load_video first")
    return _checked_frames(path, frames)


def _checked_frames(path: Path, frames: Iterable) -> Iterator[np.ndarray]:
    first = None
    for index, image in enumerate(frames):
        frame = to_frame(image, f"{path}: frame {index}")
        first = frame if first is None else first
        check_like_first(f"{path}: frame {index}", frame, first)
        yield frame
    if first is None:
        raise VideoError(f"{path}: there are no frames to write: pass at least one image")


def _write_encoded(
    path: Path,
    frames: Iterator[np.ndarray],
    fps: float,
    codec: str,
    options: dict,
    container_options: dict,
    sound: Sound | None = None,
) -> None:
    stream = None
    sound = None if sound is None or sound.source is None else sound
    with av.open(str(path), "w", options=container_options) as container:
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


def _write_gif(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    frames = list(frames)
    palette = _common_palette(frames)
    nearest = _nearest_colours(palette)
    images = [_with_palette(frame, palette, nearest) for frame in frames]
    milliseconds = max(20, round(100 / fps) * 10)  # browsers slow down anything faster than 20 ms
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0, optimize=False)


def _common_palette(frames: Sequence[np.ndarray]) -> np.ndarray:
    """256 colours `[256, 3]` fitted to up to 8 evenly spaced frames: one palette for all keeps still regions from
    flickering."""
    chosen = np.linspace(0, len(frames) - 1, min(8, len(frames))).astype(int)
    strip = Image.fromarray(np.concatenate([frames[index] for index in chosen]))
    colours = np.array(strip.quantize(256, method=Image.Quantize.MEDIANCUT).getpalette(), dtype=np.uint8)
    return np.resize(colours.reshape(-1, 3), (256, 3))  # a picture of few colours has a shorter palette


def _nearest_colours(palette: np.ndarray) -> np.ndarray:
    """`[32768]` uint8: the palette's nearest colour for the middle of every cube of 8 x 8 x 8 colours."""
    levels = np.arange(32) * 8 + 4
    cubes = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    return KDTree(palette.astype(np.float32)).query(cubes)[1].astype(np.uint8)


def _with_palette(frame: np.ndarray, palette: np.ndarray, nearest: np.ndarray) -> Image.Image:
    """The frame in the palette's colours. What lies between two is mixed by a fixed pattern: what stands still stays
    equal from frame to frame, which keeps files small."""
    height, width = frame.shape[:2]
    pattern = np.tile(_PATTERN, (-(-height // 4), -(-width // 4)))[:height, :width, None]
    cubes = (frame.astype(np.int16) + pattern).clip(0, 255).astype(np.int32) >> 3
    indices = nearest[(cubes[..., 0] << 10) | (cubes[..., 1] << 5) | cubes[..., 2]]
    image = Image.fromarray(indices)
    image.putpalette(palette.ravel().tolist())
    return image
