"""What was left out of training because it was broken, counted over all workers of a process."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from pathlib import Path

from transformers.utils import logging


logger = logging.get_logger(__name__)


class SkipLog:
    """A list that the workers of a `DataLoader` append to and their parent reads.

    It is a file: one line is appended by one write, which a local disk does not mix with the writes of others. So the
    count is exact for any number of workers, forked or spawned, also where a worker dies.

    Args:
        path: where to keep the list; by default a temporary file that goes with this object.

    Example:

        >>> log = SkipLog()
        >>> log.add("mevis/0ab4afe7fb46", "00003.jpg: cannot be read")
        >>> log.read()
        [{'sample': 'mevis/0ab4afe7fb46', 'reason': '00003.jpg: cannot be read'}]
    """

    def __init__(self, path: str | os.PathLike | None = None):
        if path is None:
            handle, path = tempfile.mkstemp(prefix="glus-hf-skipped-", suffix=".jsonl")
            os.close(handle)
            weakref.finalize(self, _remove, path, os.getpid())
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path = Path(path)

    def add(self, sample: str, reason: str) -> None:
        """Append one sample that was left out, and warn about it."""
        logger.warning(f"skipped {sample}: {reason}")
        line = json.dumps({"sample": sample, "reason": reason}) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode("ascii"))
        finally:
            os.close(handle)

    def read(self) -> list[dict]:
        """All that was left out so far: `{"sample": id, "reason": text}`, in the order it happened."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text("ascii").splitlines()]


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a worker's copy must not take the file from its parent
        Path(path).unlink(missing_ok=True)
