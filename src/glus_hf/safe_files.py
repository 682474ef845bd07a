"""Files are read only if they are regular and no larger than files of their kind have reason to be.

A named pipe would be waited for without end, a device read until memory ends. [`open_file`] cannot be led into either,
not even by a file that is exchanged meanwhile: it opens without waiting and then looks at what it has opened.
"""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from .errors import UserError


MB = 10**6
GB = 10**9
KINDS = {  # what a message calls it, and how many bytes it may have
    "json": ("a JSON file", 256 * MB),
    "annotations": ("an annotation file", 2 * GB),
    "object annotations": ("an annotation file", 64 * GB),  # read row by row
    "jsonl": ("a JSON lines file", 2 * GB),
    "yaml": ("a YAML file", 1 * MB),
    "text": ("a text file", 64 * MB),
    "csv": ("a CSV file", 64 * MB),
    "xml": ("an XML file", 128 * MB),
    "config": ("a configuration", 4 * MB),
    "tokenizer": ("a tokenizer file", 64 * MB),
    "parquet": ("a Parquet file", 2 * GB),
    "manifest": ("a manifest", 512 * MB),
    "pickle": ("a pickle", 512 * MB),
    "image": ("an image", 256 * MB),
    "mask": ("a mask", 64 * MB),
    "video": ("a video", 64 * GB),
    "tar": ("a tar", None),
    "zip": ("a zip archive", None),
    "weights": ("a weight file", None),
}
_TYPES = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def check_regular(path: str | os.PathLike, kind: str, error: type[UserError] = UserError) -> os.stat_result:
    """Refuse what is not a regular file of a usual size. For libraries that open the path themselves.

    Args:
        path: the file; links are followed.
        kind: a key of `KINDS`: its limit in bytes, and its name in messages.
        error: what to raise.

    Returns:
        Its status.

    Raises:
        UserError: it is missing, a folder, a named pipe, a device, a socket or too large; or `error`. One line.

    Example:
        >>> check_regular("clip.mp4", "video").st_size  # doctest: +SKIP
        180211
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as reason:
        raise error(_cannot_open(path, reason)) from None
    _check_status(path, status, kind, error)
    return status


def open_file(path: str | os.PathLike, kind: str, error: type[UserError] = UserError) -> BinaryIO:
    """Open a file for reading, if [`check_regular`] lets it pass. Never waits. The caller closes it.

    Example:
        >>> with open_file("frame.png", "image") as file:  # doctest: +SKIP
        ...     header = file.read(8)
    """
    check_regular(path, kind, error)  # opening alone can set a device going
    try:
        handle = os.open(path, _FLAGS)
    except (OSError, ValueError) as reason:
        raise error(_cannot_open(path, reason)) from None
    try:
        _check_status(path, os.fstat(handle), kind, error)
    except BaseException:
        os.close(handle)
        raise
    return open(handle, "rb")


def read_bytes(path: str | os.PathLike, kind: str, error: type[UserError] = UserError) -> bytes:
    """Content of a file that [`open_file`] opens. It stays within the limit even if the file grows meanwhile.

    Example:
        >>> read_bytes("config.json", "config")[:1]  # doctest: +SKIP
        b'{'
    """
    limit = KINDS[kind][1]
    with open_file(path, kind, error) as file:
        try:
            content = file.read() if limit is None else file.read(limit + 1)
        except (OSError, MemoryError) as reason:
            raise error(_cannot_open(path, reason, "read")) from None
    content = content or b""  # None of a file in /proc that would wait
    if limit is not None and len(content) > limit:
        raise error(_too_large(path, len(content), kind))
    return content


def read_text(path: str | os.PathLike, kind: str, error: type[UserError] = UserError) -> str:
    """[`read_bytes`] as UTF-8, with or without a byte order mark.

    Raises:
        UserError: as [`check_regular`] raises, or it is not UTF-8; or `error`.

    Example:
        >>> read_text("tiny.yaml", "yaml").splitlines()[0]  # doctest: +SKIP
        'model: glus-tiny'
    """
    content = read_bytes(path, kind, error)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"{path}: is not UTF-8 text (byte {reason.start}): save it as UTF-8 or get it again") from None


Stamp = tuple[int, int, int, int, bytes]


def file_stamp(path: str | os.PathLike, kind: str, error: type[UserError] = UserError) -> Stamp:
    """What tells one state of a file from another: size, times of change, inode and its first bytes.

    An edit that keeps the size and sets the time of change back still changes the time that the inode has.

    Example:
        >>> file_stamp("meta_expressions.json", "json")[0]  # doctest: +SKIP
        51234
    """
    with open_file(path, kind, error) as file:
        status = os.fstat(file.fileno())
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, file.read(4096)


def _check_status(path: str | os.PathLike, status: os.stat_result, kind: str, error: type[UserError]) -> None:
    name, limit = KINDS[kind]
    if stat.S_ISDIR(status.st_mode):
        raise error(f"{path}: is a folder, not {name}: pass a file")
    if not stat.S_ISREG(status.st_mode):
        found = next((text for is_type, text in _TYPES if is_type(status.st_mode)), "no regular file")
        raise error(f"{path}: is {found}, not {name}: copy its content to a file and pass that")
    if limit is not None and status.st_size > limit:
        raise error(_too_large(path, status.st_size, kind))


def _too_large(path: str | os.PathLike, size: int, kind: str) -> str:
    name, limit = KINDS[kind]
    return f"{path}: has {readable_size(size)}, {name} may have {readable_size(limit)}: check what it is, or split it"


def _cannot_open(path: str | os.PathLike, reason: BaseException, verb: str = "opened") -> str:
    if isinstance(reason, FileNotFoundError):
        missing = "is a link to nothing" if os.path.islink(path) else "no such file"
        return f"{path}: {missing}: check the path"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return f"{path}: cannot be {verb} ({text}): check the path and its permissions"


def readable_size(num_bytes: int) -> str:
    """A number of bytes as people write it.

    Example:
        >>> readable_size(2_500_000)
        '2.5 MB'
    """
    for unit, size in (("GB", GB), ("MB", MB), ("kB", 1000)):
        if num_bytes >= size:
            return f"{num_bytes / size:.4g} {unit}"
    return f"{num_bytes} bytes"


__all__ = ["KINDS", "Stamp", "check_regular", "file_stamp", "open_file", "read_bytes", "read_text", "readable_size"]
