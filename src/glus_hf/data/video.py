"""One small reader and one small writer for videos.

Whatever a user has (a file, a folder of frames, images, an array) becomes one [`Video`]: uint8 RGB frames of one size.
Files are opened as local files only, and only by the container formats listed here, so that a playlist dressed up as a
video cannot make the decoder open other files or addresses.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Real
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import Colorspace
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers.utils import logging

from .atomic_write import atomic_path


logger = logging.get_logger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_CONTAINER_FORMATS = "mov,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,asf,ogg,ivf,mxf,h264,hevc,av1,obu,m4v,mpegvideo"
_CODECS = {
    ".mp4": ("libx264", {"crf": "14", "preset": "medium"}, {"movflags": "+faststart"}),
    ".mov": ("libx264", {"crf": "14", "preset": "medium"}, {"movflags": "+faststart"}),
    ".webm": ("libvpx-vp9", {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4"}, {}),
}


class VideoError(ValueError):
    """A video cannot be read or written. The message is one line: what is wrong and what to do about it."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))


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
        path = _existing_path(source)
        video = _load_folder(path, max_frames) if path.is_dir() else _load_file(path, max_frames)
    elif isinstance(source, (list, tuple)):
        video = Video([_to_frame(image, f"frame {index}") for index, image in enumerate(source[:max_frames])])
    elif isinstance(source, (np.ndarray, torch.Tensor)):
        video = Video(_array_to_frames(source, max_frames))
    else:
        raise VideoError(
            f"a video cannot be a {type(source).__name__}: pass a file, a folder, a list of images or an array"
        )
    if not video.frames:
        raise VideoError("the video has no frames: pass at least one image")
    _check_sizes(video, f"{source}: " if isinstance(source, (str, os.PathLike)) else "")
    return video


def write_video(path: str | os.PathLike, frames: Iterable, fps: float = 12) -> None:
    """Write frames as a video file, complete or not at all.

    The suffix chooses the format: `.mp4` and `.mov` (H.264, 4:2:0, plays everywhere), `.webm` (VP9) or `.gif` (one
    palette for all frames; its clock ticks in 1/100 s, and equal neighbours are stored once). H.264 and VP9 need even
    sides: an odd height or width grows by one row or column that repeats the edge. The file appears under `path` only
    when it is complete; an error or an interruption leaves no trace.

    Args:
        path: where to write; parent folders are created.
        frames: a [`Video`], an array or any iterable of images as in [`load_video`]; a generator is consumed lazily.
        fps: frames per second.

    Raises:
        VideoError: no frames, frames of different sizes, an unknown suffix or a bad `fps`.

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
    with atomic_path(path) as temporary:
        if suffix == ".gif":
            _write_gif(temporary, frames, fps)
        else:
            _write_encoded(temporary, frames, fps, *_CODECS[suffix])


# --- reading files -------------------------------------------------------------------------------------------------


def _existing_path(source: str | os.PathLike) -> Path:
    text = os.fspath(source)
    if isinstance(text, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise VideoError(f"{text}: addresses are not opened: download it first and pass the local file")
    path = Path(text)
    try:
        exists = bool(text) and path.exists()
    except OSError:  # such as a name that is too long
        exists = False
    if not exists:
        raise VideoError(f"{text or 'an empty path'}: no such file or folder: check the path")
    return path


def _load_file(path: Path, max_frames: int | None) -> Video:
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty: download or copy it again")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoError(f"{path}: is an image, not a video: pass a list of images or a folder of frames")
    try:
        # the prefix keeps a name such as "concat:a" from being read as a protocol
        container = av.open(
            f"file:{path}", options={"format_whitelist": _CONTAINER_FORMATS, "protocol_whitelist": "file"}
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path}: cannot be opened as a video ({_reason(error)}): re-export it as mp4") from None
    with container:
        return _decode(container, path, max_frames)


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
    files = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."]
    if not files:
        state = "holds no frames" if any(path.iterdir()) else "is an empty folder"
        raise VideoError(f"{path}: {state}: put {', '.join(IMAGE_SUFFIXES)} images into it")
    files = sorted(files, key=_natural_order)[:max_frames]
    names = [file.stem for file in files]
    for first, second in zip(files, files[1:], strict=False):
        if first.stem == second.stem:
            raise VideoError(f"{path}: {first.name} and {second.name} have one name: keep one of them")
    return Video([_to_frame(file, str(file)) for file in files], None, names)


def _natural_order(path: Path) -> tuple[list, str]:
    # the split alternates text and number and starts with text, so two keys always compare like with like
    return [int(part) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", path.stem)], path.name


def _check_sizes(video: Video, origin: str) -> None:
    first = video.frames[0].shape
    for name, frame in zip(video.frame_names, video.frames, strict=True):
        if frame.shape != first:
            raise VideoError(
                f"{origin}frame {name} is {frame.shape[1]}x{frame.shape[0]} but the first is {first[1]}x{first[0]}: "
                "resize the frames to one size"
            )


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


# --- images and arrays ---------------------------------------------------------------------------------------------


def _to_frame(image, name: str) -> np.ndarray:
    """Turn a path, PIL image, array or tensor into `[height, width, 3]` uint8; `name` goes into errors."""
    if isinstance(image, (str, os.PathLike)):
        return _open_image(_existing_path(image))
    if isinstance(image, Image.Image):
        return _image_to_frame(image)
    if not isinstance(image, (np.ndarray, torch.Tensor)):
        raise VideoError(f"{name} is a {type(image).__name__}: pass a PIL image, an array or a tensor")
    array = _to_uint8(_to_numpy(image), name)
    if array.ndim == 2:
        array = array[..., None]
    frame = _channels_last(array) if array.ndim == 3 else None
    if frame is None or 0 in frame.shape:
        raise VideoError(f"{name} has shape {array.shape}: pass [height, width, 3] with at least one pixel")
    return np.ascontiguousarray(frame)


def _array_to_frames(source: np.ndarray | torch.Tensor, max_frames: int | None) -> list[np.ndarray]:
    array = _to_numpy(source[:max_frames] if source.ndim else source)
    expected = "pass [frames, height, width, 3] with at least one pixel"
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        raise VideoError(f"an array of shape {array.shape} is one image, not a video: pass a list of images")
    if array.ndim not in (3, 4):
        raise VideoError(f"an array of shape {array.shape} is not a video: {expected}")
    frames = _channels_last(array[..., None] if array.ndim == 3 else array)
    if frames is None or 0 in frames.shape[1:]:
        raise VideoError(f"an array of shape {array.shape} is not a video: {expected}")
    return list(_to_uint8(np.ascontiguousarray(frames), "the array"))


def _channels_last(array: np.ndarray) -> np.ndarray | None:
    """`[..., height, width, 3]` from 1, 3 or 4 channels in the last or, failing that, third last axis; else None."""
    if array.shape[-1] not in (1, 3, 4):
        if array.shape[-3] not in (1, 3, 4):
            return None
        array = np.moveaxis(array, -3, -1)
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]


def _to_numpy(array: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        return (array.float() if array.is_floating_point() else array).numpy()
    return array


def _to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise VideoError(f"{name} is {array.dtype}: pass uint8 in 0..255 or floating point in [0, 1]")
    if not array.size:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise VideoError(f"{name} holds NaN or infinite values: replace them first")
    if low < -1e-3 or high > 1 + 1e-3:
        raise VideoError(f"{name} holds values from {low:g} to {high:g}: scale floating point to [0, 1] or pass uint8")
    return np.rint(array.clip(0, 1) * 255).astype(np.uint8)


def _open_image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return _image_to_frame(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise VideoError(f"{path}: cannot be read as an image: remove or replace it") from None


def _image_to_frame(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip at 255
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode == "F":
        return _to_frame(np.asarray(image), "a floating-point image")
    return np.array(image.convert("RGBA" if "transparency" in image.info else "RGB"))[..., :3]


# --- writing -------------------------------------------------------------------------------------------------------


def _same_size_frames(path: Path, frames: Iterable) -> Iterator[np.ndarray]:
    if isinstance(frames, Video):
        frames = frames.frames
    elif isinstance(frames, (np.ndarray, torch.Tensor)):
        frames = _array_to_frames(frames, None)
    elif isinstance(frames, (str, os.PathLike)) or not isinstance(frames, Iterable):
        raise VideoError(f"{path}: frames must be images, got {type(frames).__name__}: read it with load_video first")
    return _checked_frames(path, frames)


def _checked_frames(path: Path, frames: Iterable) -> Iterator[np.ndarray]:
    first = None
    for index, image in enumerate(frames):
        frame = _to_frame(image, f"{path}: frame {index}")
        first = frame.shape if first is None else first
        if frame.shape != first:
            raise VideoError(f"{path}: frame {index} is {frame.shape[:2]} but the first is {first[:2]}: use one size")
        yield frame
    if first is None:
        raise VideoError(f"{path}: there are no frames to write: pass at least one image")


def _write_encoded(
    path: Path, frames: Iterator[np.ndarray], fps: float, codec: str, options: dict, container_options: dict
) -> None:
    stream = None
    with av.open(str(path), "w", options=container_options) as container:
        for frame in frames:
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.colorspace = Colorspace.ITU709
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _write_gif(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    palette = _common_palette(images)
    images = [image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for image in images]
    milliseconds = max(20, round(100 / fps) * 10)  # browsers slow down anything faster than 20 ms
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0, optimize=False)


def _common_palette(images: Sequence[Image.Image]) -> Image.Image:
    """256 colours fitted to up to 8 evenly spaced frames: one palette for all keeps still regions from flickering."""
    sample = [images[index] for index in np.linspace(0, len(images) - 1, min(8, len(images))).astype(int)]
    strip = np.concatenate([np.asarray(image) for image in sample])
    return Image.fromarray(strip).quantize(256, method=Image.Quantize.MEDIANCUT)
