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
    queued: int = 16
    per_user: int = 2
    kept: int = 32
    keep_seconds: float = 1800
    job_seconds: float = 3600

    def decode_limits(self) -> DecodeLimits:
        """The same for the decoder."""
        return DecodeLimits(frame_pixels=self.frame_pixels, seconds=self.seconds, file_bytes=self.file_bytes)


__all__ = ["ServiceLimits"]
