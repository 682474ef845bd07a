"""Write a file completely or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
