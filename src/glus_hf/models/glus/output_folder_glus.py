"""An output folder that is there as a whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .checkpoint_glus import CheckpointError


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger(__name__)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a hidden temporary folder beside `path`, which becomes `path` when the block ends well and is removed when
    it does not (an error, Ctrl-C). What a killed process left behind of an earlier one is removed first.

    Raises:
        CheckpointError: there is something at `path`, or its parent cannot be written; one line.
    """
    path = Path(path).absolute()
    _refuse_existing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary, lock = _locked_folder(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror}); choose another output") from None
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
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _refuse_existing(path: Path) -> None:
    is_empty = path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    if os.path.lexists(path) and not is_empty:
        raise CheckpointError(f"{path}: exists already; choose another output, or remove it first")


def _locked_folder(path: Path) -> tuple[Path, int | None]:
    """A new hidden folder beside `path`, locked until its descriptor is closed or the process dies."""
    while True:
        temporary = path.with_name(f".{path.name[:100]}-{uuid.uuid4().hex[:8]}.partial")
        temporary.mkdir()
        try:
            return temporary, _lock(temporary)
        except (BlockingIOError, FileNotFoundError):  # another process takes it for abandoned
            continue
        except OSError:  # no locks on this file system
            return temporary, None


def _remove_abandoned(path: Path) -> None:
    """Remove hidden folders beside `path` that no living process has locked. Where the system or the file system has
    no such locks, they stay."""
    name = re.compile(re.escape(f".{path.name[:100]}-") + r"[0-9a-f]{8}\.partial")
    for folder in path.parent.iterdir():
        if not name.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        try:
            lock = _lock(folder)
        except OSError:
            continue
        if lock is not None:
            logger.warning("%s: removed, a conversion that was killed left it behind", folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that locks a folder; `None` on systems without locks of folders.

    Raises:
        OSError: another process has the lock (`BlockingIOError`) or removed the folder (`FileNotFoundError`), or the
            file system has no locks.
    """
    if fcntl is None:
        return None
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(lock), os.stat(folder)):
            raise FileNotFoundError(folder)
    except OSError:
        os.close(lock)
        raise
    return lock


__all__ = ["new_folder"]
