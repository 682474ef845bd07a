"""Read and check `meta_expressions.json`, which all datasets of the Refer-YouTube-VOS family share.

{"videos": {<video>: {"expressions": {<id>: {"exp": text, ...}}, "frames": [<stem>, ...], ...}}}
"""

from __future__ import annotations

import functools

from ..errors import DatasetContentError, DatasetFileError
from ..rows import first_repeated
from ..safe_files import Stamp
from .dataset_files import check_name
from .strict_json import cached_json, file_stamp


def read_videos(path: str) -> dict[str, dict]:
    """The `videos` table of an expression file. Do not change it: it is kept for the next call.

    Raises:
        DatasetFileError: the file has another form, or a video's id is no plain name.
    """
    return _checked_videos(path, file_stamp(path))


@functools.lru_cache(maxsize=4)
def _checked_videos(path: str, stamp: Stamp) -> dict[str, dict]:
    content = cached_json(path)
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict):
        raise DatasetFileError(f"{path}: must hold an object 'videos'; pass the expression file of the dataset")
    for video_id, video in videos.items():
        check_name(video_id, "video", path)
        if not isinstance(video, dict) or not isinstance(video.get("expressions"), (dict, list)):
            raise DatasetContentError(f"{path}: video {video_id!r} has no 'expressions'")
    return videos


def video_frames(path: str, video_id: str, video: dict) -> list[str]:
    """Frame stems of a video in the file's order, which is that of its masks.

    Raises:
        DatasetFileError: there are none, one appears twice, or one is no plain name.
    """
    frames = video.get("frames")
    if not isinstance(frames, list) or not frames:
        raise DatasetContentError(f"{path}: video {video_id!r} has no 'frames'")
    for frame in frames:
        check_name(frame, f"frame of video {video_id!r}", path)
    if (twice := first_repeated(frames)) is not None:
        raise DatasetContentError(f"{path}: video {video_id!r} lists the frame {twice!r} twice")
    return frames


def video_expressions(path: str, video_id: str, video: dict) -> list[tuple[str, dict]]:
    """`(expression id, expression)` of a video in the file's order."""
    expressions = video["expressions"]
    if not isinstance(expressions, dict):
        raise DatasetContentError(f"{path}: video {video_id!r}: 'expressions' must be an object of id and expression")
    for expression_id, expression in expressions.items():
        if not isinstance(expression, dict) or "exp" not in expression:
            raise DatasetContentError(f"{path}: video {video_id!r}, expression {expression_id!r} has no 'exp'")
    return list(expressions.items())


def id_list(path: str, where: str, expression: dict, key: str) -> list[str] | None:
    """Ids under `key` as strings, None where the key is missing; files write one id or a list, numbers or strings.

    Example:
        >>> id_list("meta_expressions.json", "video 'a', expression '0'", {"obj_id": [0, 1]}, "obj_id")
        ['0', '1']
    """
    if key not in expression:
        return None
    ids = expression[key]
    ids = ids if isinstance(ids, list) else [ids]
    for item in ids:
        if isinstance(item, bool) or not isinstance(item, (int, str)):
            raise DatasetContentError(f"{path}: {where}: '{key}' holds {item!r}, which is no id")
    return [str(item) for item in ids]


def target_ids(path: str, objects_path: str | None, video_id: str, expression_id: str, expression: dict) -> list[str]:
    """Object ids of an expression that must have some.

    Args:
        path: file of the expression.
        objects_path: `meta.json`, which must list them too: `{"videos": {<video>: {"objects": {<id>: ...}}}}`. None
            takes every id.
    """
    where = f"video {video_id!r}, expression {expression_id!r}"
    ids = id_list(path, where, expression, "obj_id")
    if not ids:
        raise DatasetContentError(f"{path}: {where} has no 'obj_id'")
    if objects_path is None:
        return ids
    known = cached_json(objects_path)
    for key in ("videos", video_id, "objects"):
        known = known.get(key, {}) if isinstance(known, dict) else None
    if not isinstance(known, dict):
        raise DatasetContentError(f"{objects_path}: video {video_id!r}: must hold 'videos' and the 'objects' of each")
    if unknown := [item for item in ids if item not in known]:
        raise DatasetContentError(f"{path}: {where}: unknown object id {unknown[0]!r}: {objects_path} has no such")
    return ids
