"""Key frames in the JSON file of the original code: `{"<video>_<expression id>": number of the frame}`.

The number is the name of the frame's file as an integer (Refer-YouTube-VOS counts in steps of 5), not its index.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from ..atomic_write import atomic_path
from ..bounded_json import decode_json
from ..errors import UserError
from ..safe_files import read_bytes


NUMBER = r"[0-9]{1,18}"  # Python reads no number of thousands of digits


def key_frame_name(video: str, expression_id: str | int) -> str:
    """Name under which the file has an expression of a video.

    Example:

        >>> key_frame_name("0b97736357", 3)
        '0b97736357_3'
    """
    return f"{video}_{expression_id}"


def frame_number(name: str | int) -> int:
    """Number of a frame from the name of its file, with or without suffix.

    Raises:
        `ValueError`: the name is no number; one line.

    Example:

        >>> frame_number("00025.jpg"), frame_number(7)
        (25, 7)
    """
    stem = PurePath(str(name)).stem
    if not re.fullmatch(NUMBER, stem):
        raise UserError(f"frame {str(name)[:80]!r} has no number for a name; rename the frames to numbers")
    return int(stem)


def read_key_frames(path: str | os.PathLike) -> dict[str, int]:
    """Key frames by `"<video>_<expression id>"`, as numbers of frames.

    Raises:
        `ValueError`: the file is missing, damaged or holds something else; one line.
    """
    data = read_bytes(path, "json")
    try:
        content = decode_json(data)
    except ValueError as error:
        raise UserError(f"{path}: key frames cannot be read ({error}); pass a key-frame JSON file") from None
    if not isinstance(content, dict):
        raise UserError(f'{path}: is no JSON object of "<video>_<expression id>": number of the frame; correct it')
    for name, number in content.items():
        if type(number) is not int or number < 0:
            raise UserError(
                f"{path}: the key frame of {name!r} is {str(number)[:40]!r}, not the number of a frame; correct it"
            )
    return content


def write_key_frames(path: str | os.PathLike, key_frames: Mapping[str, str | int]) -> None:
    """Write key frames, completely or not at all.

    Args:
        path: file to write.
        key_frames (`Mapping[str, str | int]`): by [`key_frame_name`], the number or the file name of the frame.

    Raises:
        `ValueError`: the name of a frame is no number; one line, and nothing is written.

    Example:

        >>> write_key_frames("key_frames.json", {key_frame_name("clip", 0): "00025.jpg"})  # doctest: +SKIP
    """
    content = key_frames_text(key_frames)
    with atomic_path(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def key_frames_text(key_frames: Mapping[str, str | int]) -> str:
    """Content of the file that [`write_key_frames`] writes."""
    return json.dumps({name: frame_number(frame) for name, frame in key_frames.items()}, indent=1) + "\n"


def key_frame_index(
    key_frames: Mapping[str, int], video: str, expression_id: str | int, frame_names: Sequence[str]
) -> int:
    """Index of the key frame among the video's frames; 0 for an expression without one, as in the original code.

    Args:
        key_frames (`Mapping[str, int]`): of [`read_key_frames`].
        video, expression_id: as in the dataset.
        frame_names (`Sequence[str]`): names of the video's frames without suffix, in their order. A name that is no
            number is no key frame.

    Raises:
        `ValueError`: the video has no such frame; one line.

    Example:

        >>> key_frame_index({"clip_0": 25}, "clip", 0, ["00000", "00005", "00025", "00030"])
        2
        >>> key_frame_index({"clip_0": 25}, "clip", 1, ["00000", "00005"])
        0
    """
    number = key_frames.get(key_frame_name(video, expression_id))
    if number is None:
        return 0
    for index, name in enumerate(frame_names):
        if re.fullmatch(NUMBER, name) and int(name) == number:
            return index
    shown = f"{frame_names[0]} to {frame_names[-1]}" if frame_names else "no frames"
    raise UserError(
        f"video {video}, expression {expression_id}: no frame is named {number}; the video has {shown}; take key "
        "frames and video from the same dataset"
    )


__all__ = [
    "frame_number",
    "key_frame_index",
    "key_frame_name",
    "key_frames_text",
    "read_key_frames",
    "write_key_frames",
]
