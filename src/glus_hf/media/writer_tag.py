"""The mark of video files that this package wrote: drawn clips can be told from footage."""

from __future__ import annotations

from pathlib import Path

from ..errors import VideoError
from .video_file import open_container


KEY, TAG = "comment", "glus_hf"
CONTAINERS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ts", ".3gp")


def is_footage(path: str | Path) -> bool:
    """Whether a path is a video file of another program.

    Folders, images and addresses are none, nor is a file that cannot be opened.

    Example:
        >>> is_footage("no-such-clip.mp4")
        False
    """
    path = Path(path)
    if path.suffix.lower() not in CONTAINERS or not path.is_file():
        return False
    try:
        with open_container(path) as container:
            written_by = {key.lower(): value for key, value in container.metadata.items()}  # webm has "COMMENT"
            return written_by.get(KEY) != TAG
    except VideoError:  # reading it says what is wrong
        return False


__all__ = ["KEY", "TAG", "is_footage"]
