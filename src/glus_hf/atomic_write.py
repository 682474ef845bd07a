"""A file or folder appears whole or not at all; and the lock of a folder that one process at a time may write."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CheckpointError, UserError


logger = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REPLACED = "replaced"
"""Name inside of a staging folder of the output that is being replaced."""


@contextmanager
def full_disk_named(path: str | os.PathLike) -> Iterator[None]:
    """The system does not say which disk is full: say what could not be written, in one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        reason = os.strerror(error.errno)
        raise UserError(f"{path}: cannot be written ({reason}); make room there or choose another output") from error


@contextmanager
def full_temporary_folder_named() -> Iterator[None]:
    """As [`full_disk_named`], where a temporary file is written: it has no name."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        reason, folder = os.strerror(error.errno), tempfile.gettempdir()
        message = f"no temporary file can be written ({reason}); make room there, or set TMPDIR to another folder"
        raise UserError(f"{folder}: {message}") from error


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends well and is removed when it does not.

    The temporary file is a hidden neighbour of `path` with the same suffix, so the final rename never crosses a file
    system and writers that choose a format by suffix choose the right one. Missing parent folders are created. An
    existing file at `path` stays untouched until the new one is complete, also when the block is interrupted.

    Example:
        >>> with atomic_path("out/mask.png") as temporary:  # doctest: +SKIP
        ...     image.save(temporary)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:100]}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        with full_disk_named(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a hidden temporary folder beside `path`, which becomes `path` when the block ends well and is removed when
    it does not (an error, Ctrl-C). What a killed process left behind of an earlier one is removed first.

    Raises:
        CheckpointError: there is something at `path`, or its parent cannot be written; one line.
    """
    path = Path(path).absolute()
    _refuse_existing(path)
    with staging_folder(path) as temporary:
        try:
            yield temporary
            _refuse_existing(path)  # it may have come meanwhile
            if path.exists():
                path.rmdir()  # empty
            temporary.rename(path)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise CheckpointError(f"{path.parent}: is full; make room there or choose another output") from None


@contextmanager
def staging_folder(path: Path, alone: bool = False) -> Iterator[Path]:
    """Give a hidden locked folder beside `path` for what is to become `path`. It is removed at the end, if it is still
    there, and so are those of killed processes before.

    Args:
        path: absolute; its parents are created.
        alone: refuse to begin while another process stages the same `path`.

    Raises:
        CheckpointError: the parent cannot be written, or another process is at work; one line.
    """
    temporary = path.with_name(f".{path.name[:100]}-{uuid.uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        running = _remove_abandoned(path)
        if alone and running:
            raise CheckpointError(f"{path}: another process is writing there; wait for it or choose another output")
        # locked before it is there: whoever finds it unlocked may take it for abandoned
        lock = acquire_lock(_lock_of(temporary))
        temporary.mkdir()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror}); choose another output") from None
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        release_lock(lock)


def _refuse_existing(path: Path) -> None:
    is_empty = path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    if os.path.lexists(path) and not is_empty:
        raise CheckpointError(f"{path}: exists already; choose another output, or remove it first")


def _lock_of(temporary: Path) -> Path:
    return temporary.with_suffix(".lock")


def _remove_abandoned(path: Path) -> bool:
    """Remove hidden folders beside `path` that no living process has locked; whether there is one that is locked.
    Where the file system has no locks, they stay."""
    name = re.compile(re.escape(f".{path.name[:100]}-") + r"[0-9a-f]{8}\.partial")
    running = False
    for folder in path.parent.iterdir():
        if not name.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        try:
            lock = acquire_lock(_lock_of(folder))
        except OSError:
            running = True
            continue
        if lock is not None:
            logger.warning("%s: removed, a process that was killed left it behind", folder)
            if (folder / REPLACED).exists() and not os.path.lexists(path):
                os.rename(folder / REPLACED, path)  # killed between two renames
            shutil.rmtree(folder, ignore_errors=True)
            release_lock(lock)
    return running


# ---- locks


def acquire_lock(path: Path, on_wait: Callable[[], None] | None = None):
    """Lock a file that processes agree on. The system lets go of the lock when its holder dies.

    Args:
        path: the file; it is made.
        on_wait: called before waiting for another process; without it nothing waits.

    Returns:
        The lock, for [`release_lock`]; None where the file system has no locks.

    Raises:
        BlockingIOError: another process has it, and there is no `on_wait`.
        OSError: the file cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(str(path))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait is None:
            raise BlockingIOError(errno.EWOULDBLOCK, "another process writes there", str(path)) from None
        on_wait()
        lock.acquire()
    except NotImplementedError:
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return lock


def release_lock(lock, remove: bool = True) -> None:
    """Let go of a lock, or of None; `remove` its file too, unless others may wait for it."""
    if lock is not None:
        if remove:
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


__all__ = [
    "REPLACED",
    "acquire_lock",
    "atomic_path",
    "full_disk_named",
    "full_temporary_folder_named",
    "new_folder",
    "release_lock",
    "staging_folder",
]
