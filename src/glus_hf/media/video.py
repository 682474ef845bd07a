"""One small reader and one small writer for videos.

Whatever a user has (a file, a folder of frames, images, an array) becomes one [`Video`]: uint8 RGB frames of one size.
Files are opened as local files only (an address is downloaded first), and only by the container formats listed here,
so that a playlist dressed up as a video cannot make the decoder open other files or addresses.
"""

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from numbers import Real
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from transformers.utils import logging

from ..atomic_write import atomic_path
from ..errors import VideoError
from .decode_limits import DecodeLimits, FrameBudget
from .download import DownloadOptions
from .encoding import CODECS, write_encoded, write_remedy
from .file_frames import open_file
from .frames_on_demand import FrameRange, FramesOnDemand, fits
from .gif import write_gif
from .images import IMAGE_SUFFIXES, array_to_frames, existing_path, list_images, to_frame
from .sizes import check_like_first, check_same_size, frame_size
from .sound import Sound
from .video_file import decode_file, open_container
from .video_sources import decoder_fps, decoder_frames, is_decoder, is_to_copy, local_copy, plain_source


logger = logging.get_logger(__name__)


@dataclass
class Video:
    """A decoded video.

    Attributes:
        frames: `[height, width, 3]` uint8 RGB arrays of one size, in display order: a list, or of [`open_video`] a
            sequence that reads them.
        fps: frames per second; None where the source has no clock (a folder of frames, images, an array).
        frame_names: one name per frame: file stems for a folder, else five-digit indices `"00000"`, `"00001"`, ...
        damage: why a file gave fewer frames than it should have; None where it gave all.
    """

    frames: Sequence[np.ndarray]
    fps: float | None = None
    frame_names: list[str] = field(default_factory=list)
    damage: str | None = None

    def __post_init__(self):
        if not self.frame_names:
            self.frame_names = [f"{index:05d}" for index in range(len(self.frames))]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def height(self) -> int:
        return frame_size(self.frames)[0]

    @property
    def width(self) -> int:
        return frame_size(self.frames)[1]


def load_video(
    source,
    max_frames: int | None = None,
    limits: DecodeLimits | None = None,
    download: DownloadOptions | None = None,
) -> Video:
    """Read a video from a file, an address, a folder of frames, a sequence of images or an array.

    Args:
        source: one of

            - path of a video file (mp4, mov, webm, mkv, avi, gif, ...). Of several video streams one marked as default
              is read before others, then the one with most pixels, then the first; never the cover of a sound file.
              The turn and the mirroring that it stores are applied.
            - path of a folder of frames (jpg, jpeg, png, webp, bmp), read in natural order (`2.jpg` before `10.jpg`).
              EXIF orientation is applied.
            - list or tuple of images: PIL images, paths, or arrays and tensors `[height, width, 3]`,
              `[3, height, width]`, `[height, width]` (grey) or `[height, width, 4]`
            - array or tensor `[frames, height, width, 3]`, `[frames, 3, height, width]`, `[frames, height, width]`
              (grey) or with 1 or 4 channels. Where both could be meant, the last axis is the channels.
            - one image in any of these forms but `[3, height, width]` and grey arrays: a video of one frame
            - an iterator of images: the frames of a clip that ends
            - http(s) address or `file://` address of a video or an image
            - `bytes`, or a file open for reading, of a video or an image
            - `{"bytes": ..., "path": ...}`, a row of `datasets.Video(decode=False)`; or the decoder of torchcodec that
              a decoded row is
            - a [`Video`], returned as it is (cut to `max_frames`)

            Arrays are uint8, or floating point in `[0, 1]`. Alpha is dropped, grey is repeated, 16-bit images keep
            their upper 8 bits.
        max_frames: read only this many frames, from the start.
        limits: what a file or folder may ask for: memory of its frames, pixels of a frame, duration, size of the file.
            Checked from the header before anything is decoded, and again while it is decoded. Arrays are not counted.
        download: what a download may take, see [`DownloadOptions`]: 1 GiB, 10 minutes, no private addresses.

    Returns:
        [`Video`] with at least one frame. A file that is damaged after some frames gives those frames, a warning and
        `damage`.

    Raises:
        VideoError: nothing can be read, the frames differ in size or memory runs out, or the source asks for more than
            `limits`. One line that names the file and the remedy.

    Example:
        >>> video = load_video(np.zeros((2, 48, 64, 3), dtype=np.uint8))
        >>> len(video), video.height, video.width, video.frame_names
        (2, 48, 64, ['00000', '00001'])
    """
    return _read_video(source, max_frames, limits, download, _Readers(_load_file, _load_folder))


def open_video(
    source,
    max_frames: int | None = None,
    limits: DecodeLimits | None = None,
    download: DownloadOptions | None = None,
) -> Video:
    """As [`load_video`], for videos of any length: frames of a file or a folder are read when they are asked for.

    A file is decoded once, without making frames, to know how many it has. Up to 256 MB of frames are held; those of
    longer videos are read anew when they are asked for again, by seeking. The file must stay as it is meanwhile.

    Args:
        source, max_frames, download: as for [`load_video`].
        limits: as for [`load_video`], but `memory` only bounds the frames that are held.

    Returns:
        [`Video`], equal to that of [`load_video`].

    Raises:
        VideoError: as [`load_video`]; an image of a folder that cannot be read is found when it is asked for.

    Example:
        >>> video = open_video("an_hour.mp4")  # doctest: +SKIP
        >>> len(video), video.frames[90_000].shape  # doctest: +SKIP
        (108000, (720, 1280, 3))
    """
    return _read_video(source, max_frames, limits, download, _Readers(_open_file, _open_folder))


@dataclass(frozen=True)
class _Readers:
    """How a file and a folder are read: from path, `max_frames` and limits to a [`Video`]."""

    file: Callable[[Path, int | None, DecodeLimits], Video]
    folder: Callable[[Path, int | None, DecodeLimits], Video]


def _read_video(source, max_frames, limits, download, readers: _Readers) -> Video:
    if max_frames is not None and (type(max_frames) is bool or not isinstance(max_frames, int) or max_frames < 1):
        raise VideoError(f"max_frames must be a positive integer or None, got {max_frames!r}")
    limits = limits or DecodeLimits()
    source = plain_source(source)
    if is_to_copy(source):
        return _read_copy(source, max_frames, limits, download or DownloadOptions(), readers)
    if isinstance(source, Video):
        video = Video(source.frames[:max_frames], source.fps, source.frame_names[:max_frames], source.damage)
    elif isinstance(source, (str, os.PathLike)):
        path = existing_path(source)
        video = (readers.folder if path.is_dir() else readers.file)(path, max_frames, limits)
    elif isinstance(source, (list, tuple)):
        images = source[:max_frames]
        video = Video(
            _load_images(images, [f"frame {index:05d}" for index in range(len(images))], "the images", limits)
        )
    elif isinstance(source, (np.ndarray, torch.Tensor)):
        video = Video(array_to_frames(source, max_frames))
    elif is_decoder(source):
        video = Video(_load_stream(islice(decoder_frames(source), max_frames), limits), decoder_fps(source))
    elif isinstance(source, Iterator):
        video = Video(_load_stream(islice(source, max_frames), limits))
    else:
        raise VideoError(
            f"a video cannot be a {type(source).__name__}: pass a file, a folder, a list of images or an array"
        )
    if not len(video.frames):
        raise VideoError("the video has no frames: pass at least one image")
    origin = f"{source}: " if isinstance(source, (str, os.PathLike)) else ""
    check_same_size(video.frames, video.frame_names, origin)
    return video


def _read_copy(source, max_frames, limits: DecodeLimits, download: DownloadOptions, readers: _Readers) -> Video:
    """The video of a local copy, which stays as long as its frames are read from it."""
    with ExitStack() as stack:
        path = stack.enter_context(local_copy(source, download))
        video = _read_video(path, max_frames, limits, None, readers)
        if isinstance(video.frames, (FramesOnDemand, FrameRange)):
            weakref.finalize(video.frames, stack.pop_all().close)
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
        VideoError: no frames, frames of different sizes or too large for the format, an unknown suffix or a bad `fps`;
            or `sound` cannot be opened.

    Example:
        >>> write_video("clip.mp4", np.zeros((12, 48, 64, 3), dtype=np.uint8), fps=12)  # doctest: +SKIP
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix != ".gif" and suffix not in CODECS:
        raise VideoError(f"{path}: cannot write '{suffix}' videos: use .mp4, .mov, .webm or .gif")
    if path.is_dir():
        raise VideoError(f"{path}: is a folder: choose a file name")
    if not isinstance(fps, Real) or not 0.01 <= fps <= 1000:
        raise VideoError(f"{path}: fps must be a number from 0.01 to 1000, got {fps!r}")
    frames = _same_size_frames(path, frames)
    with atomic_path(path) as temporary, ExitStack() as stack:
        if suffix == ".gif":
            write_gif(temporary, frames, fps)
            return
        added = None
        if sound is not None:
            added = Sound(stack.enter_context(open_container(existing_path(sound))), sound, suffix)
        try:
            write_encoded(temporary, frames, fps, added)
        except av.error.FFmpegError as error:
            raise VideoError(f"{path}: cannot be written ({error.strerror}): {write_remedy(suffix)}") from None


# --- reading files -------------------------------------------------------------------------------------------------


def _load_file(path: Path, max_frames: int | None, limits: DecodeLimits) -> Video:
    return _video_of_file(path, decode_file, max_frames, limits)


def _open_file(path: Path, max_frames: int | None, limits: DecodeLimits) -> Video:
    return _video_of_file(path, open_file, max_frames, limits)


def _video_of_file(path: Path, decode: Callable, max_frames: int | None, limits: DecodeLimits) -> Video:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoError(f"{path}: is an image, not a video: pass a list of images or a folder of frames")
    decoded = decode(path, max_frames, limits)
    if decoded.damage is not None:
        logger.warning(
            f"{path}: only {len(decoded.frames)} frames could be decoded ({decoded.damage}); the file may be cut short"
        )
    return Video(decoded.frames, decoded.fps, damage=decoded.damage)


def _load_folder(path: Path, max_frames: int | None, limits: DecodeLimits) -> Video:
    files = _files_of_folder(path, max_frames)
    names = [file.stem for file in files]
    return Video(_load_images(files, [f"{path}: frame {name}" for name in names], path, limits), None, names)


def _open_folder(path: Path, max_frames: int | None, limits: DecodeLimits) -> Video:
    files = _files_of_folder(path, max_frames)
    size = to_frame(files[0], "frame 0").shape[:2]
    if fits(len(files), *size, limits):
        return _load_folder(path, max_frames, limits)
    read = lambda index: to_frame(files[index], f"frame {index}")
    names = [file.stem for file in files]
    frames = FramesOnDemand(len(files), size, read, [f"{path}: frame {name}" for name in names])
    return Video(frames, None, names)


def _files_of_folder(path: Path, max_frames: int | None) -> list[Path]:
    files = list_images(path)[:max_frames]
    if not files:
        state = "holds no frames" if any(path.iterdir()) else "is an empty folder"
        raise VideoError(f"{path}: {state}: put {', '.join(IMAGE_SUFFIXES)} images into it")
    for first, second in zip(files, files[1:], strict=False):
        if first.stem == second.stem:
            raise VideoError(f"{path}: {first.name} and {second.name} have one name: keep one of them")
    return files


def _load_images(images: Sequence, names: Sequence[str], origin: object, limits: DecodeLimits) -> list[np.ndarray]:
    """Images as frames, refused as soon as they hold too much."""
    budget, frames = FrameBudget(origin, limits), []
    for index, (image, name) in enumerate(zip(images, names, strict=True)):
        frame = to_frame(image, f"frame {index}")
        if isinstance(image, (str, os.PathLike, Image.Image)):
            budget.name = image if len(images) == 1 and not isinstance(image, Image.Image) else origin
            budget.add(*frame.shape[:2])
        check_like_first(name, frame, frames[0] if frames else frame)
        frames.append(frame)
    return frames


def _load_stream(images: Iterable, limits: DecodeLimits) -> list[np.ndarray]:
    """Frames that are made one by one, refused as soon as they hold too much."""
    budget, frames = FrameBudget("the frames", limits), []
    for index, image in enumerate(images):
        frame = to_frame(image, f"frame {index}")
        budget.add(*frame.shape[:2])
        check_like_first(f"frame {index:05d}", frame, frames[0] if frames else frame)
        frames.append(frame)
    return frames


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
