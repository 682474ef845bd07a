"""Open a video of a manifest: a path, an http(s) address, a member of a tar, or a file of a store known to fsspec."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ..errors import UserError, VideoError
from ..media.decode_limits import DecodeLimits
from ..media.download import DownloadOptions, is_url, without_query
from ..media.images import IMAGE_SUFFIXES, natural_order
from ..media.video import Video, open_video
from .frames import open_frames
from .tar_frames import TarFrames, open_tar


LOCAL = ("file", "local", "asynclocal")
ON_HOSTS = ("http", "https", "webdav", "webhdfs", "jupyter", "jlab", "pyscript")
ON_OTHERS = (
    "reference",
    "dask",
    "data",
    "git",
    "dir",
    "zip",
    "libarchive",
    "generic",
    "async_wrapper",
    "asyncwrapper",
)
CACHES = ("cached", "blockcache", "filecache", "simplecache")
REFUSED = frozenset([*ON_HOSTS, *ON_OTHERS, *CACHES])
"""Schemes that fsspec knows and that are not opened through it: our own downloads are bounded and refuse private
addresses, and the others lead on to further addresses or into local files."""


@dataclass(frozen=True)
class VideoReader:
    """How the videos of a manifest are opened.

    Attributes:
        limits: what a video may ask for when it is read.
        download: what an address may take; also the largest file of a store or a tar.
        max_frames: read only this many frames of each, from the start.
    """

    limits: DecodeLimits | None = None
    download: DownloadOptions = field(default_factory=DownloadOptions)
    max_frames: int | None = None

    def open(self, address: str) -> Video:
        """Open the video at an address. A local file or folder is read when its frames are asked for; everything else
        is copied to a temporary file first.

        Args:
            address: a path of a file or of a folder of frames, `http(s)://...`, `tar://MEMBER::FILE` with a video
                file or a folder of frames as the member, or `SCHEME://...` of a store that fsspec has a package for.

        Raises:
            UserError: it cannot be read; one line that names it.

        Example:
            >>> VideoReader().open("tar://clips/dog.mp4::/data/shard-0.tar").fps  # doctest: +SKIP
            25.0
        """
        if address.startswith("tar://"):
            return self._open_member(address)
        scheme, separator, _ = address.partition("://")
        if not separator or is_url(address):
            return self._open(address)
        return self._open_stored(address, scheme.lower())

    def _open(self, source) -> Video:
        return open_video(source, self.max_frames, self.limits, self.download)

    def _open_member(self, address: str) -> Video:
        member, _, file = address.removeprefix("tar://").partition("::")
        tar = open_tar(file)
        if member in tar:
            return self._open_copy(tar.stream(member))
        names = _images_below(tar, member)
        if not names:
            raise VideoError(f"{address}: there is no such file and no folder of frames in the tar: check the name")
        names = names[: self.max_frames]
        paths = [f"tar://{name}::{file}" for name in names]
        frames = open_frames(paths, self.limits)
        return Video(frames, frame_names=[os.path.splitext(name.rpartition("/")[2])[0] for name in names])

    def _open_stored(self, address: str, scheme: str) -> Video:
        name = shown_address(address)
        if scheme in LOCAL:
            raise VideoError(f"{name}: write the path of a local file without {scheme}://")
        if scheme in REFUSED or "::" in address:
            raise VideoError(f"{name}: addresses of this kind are not opened: download it and write its path")
        import fsspec

        if scheme not in fsspec.available_protocols():
            raise VideoError(f"{name}: nothing is known that reads {scheme}://; write a path or another address")
        try:
            with fsspec.open(address, "rb") as file:
                return self._open_copy(_Named(file, name))
        except UserError:
            raise
        except Exception as error:  # every store has errors of its own
            reason = " ".join(str(error).replace(address, name).split())[:200] or type(error).__name__
            raise VideoError(
                f"{name}: cannot be read ({reason}): check the address, the access to it and the packages"
            ) from None

    def _open_copy(self, file) -> Video:
        try:
            return self._open(file)
        except VideoError as error:
            raise VideoError(str(error).replace(f"the open file {file.name}", file.name)) from None


class _Named:
    """A file of a store, under its address."""

    def __init__(self, file, name: str):
        self.read, self.name = file.read, name


def _images_below(tar: TarFrames, folder: str) -> list[str]:
    """The images right in a folder of a tar, in natural order."""
    from pathlib import Path

    prefix = folder.rstrip("/") + "/"
    inside = [name for name in tar if name.startswith(prefix) and "/" not in name[len(prefix) :]]
    images = [name for name in inside if name.lower().endswith(IMAGE_SUFFIXES) and name[len(prefix)] != "."]
    return sorted(images, key=lambda name: natural_order(Path(name)))


def shown_address(video: str) -> str:
    """A video of a manifest as outputs and messages name it: what signs an address, and a password, are secrets.

    Example:
        >>> shown_address("https://host/dog.mp4?sig=1"), shown_address("clips/who?.mp4")
        ('https://host/dog.mp4', 'clips/who?.mp4')
    """
    return video if "://" not in video or video.startswith("tar://") else without_query(video)


def relative_length(address: str) -> int:
    """How long a video is compared with others, by the size of its file: bytes, or the same for all that is not here.

    Example:
        >>> relative_length("s3://bucket/clip.mp4")
        1000000
    """
    try:
        return max(os.stat(address).st_size, 1) if "://" not in address and os.path.isfile(address) else UNKNOWN
    except (OSError, ValueError):
        return UNKNOWN


UNKNOWN = 1_000_000


__all__ = ["VideoReader", "relative_length", "shown_address"]
