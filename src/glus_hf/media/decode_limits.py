"""How much a video may ask for when it is decoded, and an account of what its frames hold."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from numbers import Real

from ..errors import UserError, VideoError
from ..safe_files import GB, readable_size


DEFAULT_MEMORY = 1_000_000_000  # features, masks, model and libraries add 2 GB: the process stays under 3 GB
LEAST_MEMORY = 500_000_000  # for frames, whatever the decoder keeps
DECODER_MEMORY = 1_200_000_000
DECODER_PICTURES = 18  # at most 16 that later ones refer to, the one being decoded and the one shown
THREAD_MEMORY = 64_000_000  # each thread of a decoder holds a picture more
MAX_THREADS = 16
UNLIMITED = 1 << 62
HOW_TO_RAISE = "(limits=DecodeLimits(...) or --decode-limit)"
FREE_SHARE = 3  # masks, features and the model need the rest
FRAME_OVERHEAD = 256  # bytes of an array beside its pixels


@dataclass(frozen=True)
class DecodeLimits:
    """What a video may ask for. With the defaults a process stays under 3 GB.

    Attributes:
        memory: bytes that the decoded frames hold at once, 3 per pixel. None: 1 GB less what the decoder keeps (but at
            least 0.5 GB), or a third of the memory that is free if that is less. The decoder itself may keep 1.2 GB,
            or so many bytes if that is more.
        frame_pixels: width x height of a frame.
        seconds: duration, where `max_frames` does not bound it.
        file_bytes: size of the file.

    Example:
        >>> DecodeLimits(memory=12 * 10**9).seconds
        14400
    """

    memory: int | None = None
    frame_pixels: int = 50_000_000
    seconds: float = 4 * 3600
    file_bytes: int = 16 * GB

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            is_default = value is None and field.default is None
            if not is_default and (not isinstance(value, Real) or isinstance(value, bool) or not value > 0):
                raise UserError(f"the limit {field.name} must be a positive number, got {value!r}")

    @property
    def usable_memory(self) -> int:
        if self.memory is not None:
            return int(self.memory)
        free = free_memory()
        return DEFAULT_MEMORY if free is None else min(DEFAULT_MEMORY, max(0, free) // FREE_SHARE)


class FrameBudget:
    """Counts frames as they are decoded and refuses the one that is too much.

    Args:
        name: of the video in errors.
        limits: what it may ask for.
        holds_frames: False where each frame is let go before the next one.
    """

    def __init__(self, name: object, limits: DecodeLimits | None = None, holds_frames: bool = True):
        self.name, self.limits = name, limits or DecodeLimits()
        self.memory, self.held = self.limits.usable_memory if holds_frames else UNLIMITED, 0
        self.threads = 0  # as many as the decoder likes
        self.start: float | None = None

    def count_decoder(self, height: int, width: int, bits: int, is_intra: bool = False) -> None:
        """Count the pictures that a decoder keeps, before it is opened, and refuse too many bytes of them.

        Args:
            height: of a picture.
            width: of a picture.
            bits: that a pixel takes.
            is_intra: no picture refers to another one.
        """
        picture = max(1, height * width * bits // 8)
        self.threads = max(1, min(os.cpu_count() or 1, MAX_THREADS, THREAD_MEMORY // picture))
        needed = ((2 if is_intra else DECODER_PICTURES) + self.threads) * picture
        raised = self.limits.memory or 0
        if needed > max(DECODER_MEMORY, raised if raised < UNLIMITED else 0):
            raise VideoError(
                f"{self.name}: its decoder may take {readable_size(needed)} for frames of {width} x {height} pixels: "
                f"make it smaller, or raise the limit memory {HOW_TO_RAISE}"
            )
        if self.limits.memory is None:
            self.memory = max(min(self.memory, LEAST_MEMORY), self.memory - needed)

    def check_size(self, height: int, width: int) -> None:
        """Refuse frames that are too large, before one is decoded."""
        if height * width > self.limits.frame_pixels:
            raise VideoError(
                f"{self.name}: has frames of {width} x {height} pixels, more than the {self.limits.frame_pixels:.0f} "
                f"that a frame may have: make it smaller, or raise the limit frame_pixels {HOW_TO_RAISE}"
            )

    def check_count(self, num_frames: int, height: int, width: int, more: bool = False) -> None:
        """Refuse so many frames, before they are decoded; `more`: that there may be more of them."""
        needed = self.held + num_frames * (height * width * 3 + FRAME_OVERHEAD)
        if needed > self.memory:
            self._refuse(f"{'more than ' * more}{num_frames} frames of {width} x {height} pixels take", needed)

    def add(self, height: int, width: int) -> None:
        """Count a frame that is about to be held."""
        self.check_size(height, width)
        self.hold(height * width * 3)

    def hold(self, num_bytes: int) -> None:
        """Count a frame of so many bytes."""
        self.held += num_bytes + FRAME_OVERHEAD
        if self.held > self.memory:
            self._refuse("its frames take more than", self.memory)

    def check_seconds(self, seconds: float) -> None:
        if seconds > self.limits.seconds:
            raise VideoError(
                f"{self.name}: lasts {seconds / 3600:.3g} hours, more than the {self.limits.seconds / 3600:.3g} that "
                f"a video may last: cut it, read its start with max_frames, or raise the limit seconds {HOW_TO_RAISE}"
            )

    def check_time(self, seconds: float) -> None:
        """Refuse a frame that is shown too long after the first."""
        self.start = seconds if self.start is None else self.start
        self.check_seconds(seconds - self.start)

    def check_file(self, num_bytes: int) -> None:
        if num_bytes > self.limits.file_bytes:
            raise VideoError(
                f"{self.name}: has {readable_size(num_bytes)}, more than the "
                f"{readable_size(self.limits.file_bytes)} of a video: cut it, or raise the limit file_bytes "
                f"{HOW_TO_RAISE}"
            )

    def _refuse(self, what: str, needed: int) -> None:
        raise VideoError(
            f"{self.name}: {what} {readable_size(needed)} of memory, {readable_size(self.memory)} are allowed: read "
            f"its start with max_frames, make it smaller, or raise the limit memory {HOW_TO_RAISE}"
        )


def free_memory() -> int | None:
    """Bytes that this process can still take: of the machine, of its control group and of its limit of address space;
    None where the system does not tell."""
    found = [_free_of_machine(), _free_of_group(), _free_address_space()]
    return min((value for value in found if value is not None), default=None)


def _free_of_machine() -> int | None:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _free_of_group() -> int | None:
    limit, used = (next(iter(_lines(f"/sys/fs/cgroup/memory.{name}")), "") for name in ("max", "current"))
    return int(limit) - int(used) if limit.isdecimal() and used.isdecimal() else None


def _free_address_space() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = next(iter(_lines("/proc/self/statm")), "").split()
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE")


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().splitlines()
    except OSError:
        return []


__all__ = ["DecodeLimits", "FrameBudget", "free_memory"]
