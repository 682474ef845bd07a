"""The frames of a video file, decoded when they are asked for, equal to those of decoding it from its start.

A file is first decoded once without making frames. That tells what its header may get wrong: how many frames it has,
their times, which of them can be decoded alone (key pictures), where damage ends it; and a checksum of each. Then a
frame is found by seeking to the key picture before it and decoding on. What follows a key picture is not always what
it is from the start (pictures of an open group refer to what lies before it, and a file may call a picture a key that
is none), so checksums are compared: a key picture that fails is not used again, and the way starts further ahead.

Whoever goes back through the file finds the frames between two key pictures in a [`FrameStore`].
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right
from pathlib import Path

import av
import numpy as np

from ..errors import VideoError
from .decode_limits import UNLIMITED, DecodeLimits
from .frame_store import FrameStore
from .frames_on_demand import FramesOnDemand, fits
from .video_file import (
    UNREADABLE,
    DecodedFile,
    ShownPictures,
    announced_frames,
    open_stream,
    read_pictures,
)


CHECKED_ROWS = 16  # every so many rows of a picture go into its checksum


class PictureIndex:
    """What is known of every picture of a file: times, key pictures, checksums; and the frames, if they are few.

    Args:
        path: of the file.
        limits: how many frames may be held.
        num_frames: how many to expect, 0 where nobody knows; if they are too many, none is held.
    """

    def __init__(self, path: Path, limits: DecodeLimits | None = None, num_frames: int = 0):
        self.shown, self.limits, self.num_frames = ShownPictures(path), limits, num_frames
        self.times, self.checksums, self.keys = array("q"), array("L"), [0]
        self.has_times = True
        self.frames: list[np.ndarray] | None = []

    def take(self, index: int, picture: av.VideoFrame) -> None:
        """Note the next picture."""
        if self.frames is not None:
            self.frames.append(self.shown.frame(index, picture))
            if not fits(max(len(self.frames), self.num_frames), *self.shown.frame_size, self.limits):
                self.frames = None
        else:
            self.shown.check(index, picture)
        later = picture.pts is not None and (not self.times or picture.pts > self.times[-1])
        self.has_times = self.has_times and later
        self.times.append(picture.pts or 0)
        self.checksums.append(checksum(picture))
        if picture.key_frame and index > 0:
            self.keys.append(index)

    def find(self, picture: av.VideoFrame) -> int:
        """Index of a picture by its time; that of the one before where no picture has it, -1 before the first."""
        return -1 if picture.pts is None else bisect_right(self.times, picture.pts) - 1


class FileFrames(FramesOnDemand):
    """The frames of a file that does not fit in memory; made by [`open_file`]."""

    def __init__(self, path: Path, index: PictureIndex):
        self.path, self.index, self.shown = path, index, index.shown
        self.keys = list(index.keys) if index.has_times else [0]
        self._store = FrameStore(index.shown.frame_size)
        self._container, self._pictures = None, iter(())
        self._next, self._from = -1, 0  # of the stream of pictures, which is not open
        super().__init__(len(index.times), index.shown.frame_size, None)

    def _read(self, index: int) -> np.ndarray:
        if index in self._store:
            return self._store.read(index)
        goes_back = index < self._next
        while True:
            try:
                if not self._key_before(index) <= self._next <= index:
                    self._start_at(self._key_before(index))
                return self._read_on(index, goes_back)
            except _OtherPictures:
                self.keys.remove(self._from)
                self._next = -1

    def _key_before(self, index: int) -> int:
        return self.keys[bisect_right(self.keys, index) - 1]

    def _start_at(self, key: int) -> None:
        """Let the next picture be number `key`."""
        if self._container is None or key == 0:
            self._container, self._stream = open_stream(self.path, self.index.limits)
        self._next, self._from = key, key
        if key > 0:
            try:
                self._container.seek(self.index.times[key], stream=self._stream)
            except UNREADABLE:
                raise _OtherPictures from None
        self._pictures = iter(self._container.decode(self._stream))

    def _read_on(self, index: int, goes_back: bool) -> np.ndarray:
        """Decode up to a frame; what lies before it is stored for those who go back."""
        kept = index
        if goes_back:
            kept = max(self._next, index + 1 - self._store.capacity)
            self._store.begin(kept)
        while True:
            position, picture = self._next, self._next_picture()
            if position < kept:
                continue
            frame = self.shown.frame(position, picture)
            if goes_back:
                self._store.append(frame)
            if position == index:
                return frame

    def _next_picture(self) -> av.VideoFrame:
        """Picture number `self._next`, if it is the one that decoding from the start gave."""
        try:
            picture = next(self._pictures)
            while self._from > 0 and self.index.find(picture) < self._from:
                picture = next(self._pictures)  # of the group before, or of an open group: not whole
        except (StopIteration, *UNREADABLE) as error:
            raise self._lost() from (None if isinstance(error, StopIteration) else error)
        is_at = self.index.find(picture) if self._from > 0 else self._next
        if is_at != self._next or (self._from > 0 and checksum(picture) != self.index.checksums[is_at]):
            raise _OtherPictures
        self._next += 1
        return picture

    def _lost(self) -> Exception:
        """What to raise where pictures end early."""
        if self._from > 0:
            return _OtherPictures()
        return VideoError(
            f"{self.path}: frame {self._next:05d} cannot be decoded again: was the file changed? run this again"
        )


class _OtherPictures(Exception):
    """Decoding from a key picture gave other pictures than decoding from the start."""


def open_file(path: Path, max_frames: int | None = None, limits: DecodeLimits | None = None) -> DecodedFile:
    """A video file, looked through once; its frames are decoded when they are asked for, or held if they are few.

    Args:
        path: the file.
        max_frames: only so many, from the start.
        limits: what it may ask for; `memory` only bounds what is held.

    Raises:
        VideoError: as [`~video_file.decode_file`].
    """
    expected = min(announced_frames(path, limits), max_frames or UNLIMITED)
    index = PictureIndex(path, limits, expected)
    found = read_pictures(path, index.take, max_frames, limits, holds_frames=False)
    frames = index.frames if index.frames is not None else FileFrames(path, index)
    return DecodedFile(frames, found.num_frames, found.fps, found.damage)


def checksum(picture: av.VideoFrame) -> int:
    """Of some rows of a picture, as they are stored: its brightness, or all its colours."""
    plane = picture.planes[0]
    width = plane.width if picture.format.bits_per_pixel >= 8 else plane.width // 8
    if not 0 < width <= plane.line_size:
        return 0
    rows = np.frombuffer(plane, np.uint8, plane.line_size * plane.height).reshape(plane.height, plane.line_size)
    return zlib.crc32(rows[::CHECKED_ROWS, :width].tobytes())


__all__ = ["FileFrames", "PictureIndex", "checksum", "open_file"]
