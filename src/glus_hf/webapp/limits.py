"""What one user of the service may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from ..media.decode_limits import DecodeLimits


@dataclass(frozen=True)
class ServiceLimits:
    """Bounds of a service that others reach. Nothing larger is begun.

    Attributes:
        file_bytes: of an uploaded video.
        seconds: duration of a video.
        frames: of a video.
        frame_pixels: width x height of a frame.
        expressions: of a job.
        letters: of an expression.
        corrections: masks of a user in one job.
        queued: jobs that wait, of all users.
        per_user: jobs of one user that wait or run.
        kept: finished jobs whose files are kept, of all users; the oldest go first.
        keep_seconds: how long the files of a finished job are kept.
        job_seconds: how long a job may run.

    Example:
        >>> ServiceLimits(seconds=10).decode_limits().seconds
        10
    """

    file_bytes: int = 200_000_000
    seconds: float = 60
    frames: int = 1800
    frame_pixels: int = 1920 * 1080
    expressions: int = 8
    letters: int = 300
    corrections: int = 32
    queued: int = 16
    per_user: int = 2
    kept: int = 32
    keep_seconds: float = 1800
    job_seconds: float = 3600

    @property
    def mask_bytes(self) -> int:
        """Of the PNG of a mask: no less than one of noise takes."""
        return 4 * self.frame_pixels + 100_000

    def decode_limits(self) -> DecodeLimits:
        """The same for the decoder."""
        return DecodeLimits(frame_pixels=self.frame_pixels, seconds=self.seconds, file_bytes=self.file_bytes)


__all__ = ["ServiceLimits"]
