"""Members of an uncompressed tar by name, read in place."""

from __future__ import annotations

import functools
import io
import os
import tarfile
from collections.abc import Iterator

from ..errors import TarError


class TarFrames:
    """Index of the regular files in a tar, for random access without unpacking.

    Building the index reads the headers only. Reads use positions of their own, so forked processes and threads can
    share one object.

    Args:
        path: uncompressed tar.

    Raises:
        TarError: it is not an uncompressed tar, or it is cut short.
    """

    def __init__(self, path: str):
        self.path = path
        self._spans: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(path, "r:") as archive:
                while (member := archive.next()) is not None:
                    if member.isreg() and not member.issparse():
                        self._spans[member.name] = (member.offset_data, member.size)
                    archive.members = []  # tarfile would keep every header
                end = archive.offset
            self._file = open(path, "rb")  # noqa: SIM115 - open for as long as the index lives
        except tarfile.TarError as error:
            raise TarError(f"{path}: not a readable uncompressed tar ({error}): download it again") from None
        except OSError as error:
            raise TarError(f"{path}: cannot be opened ({error.strerror or error})") from None
        # tarfile takes half a header, and nothing at all, for the end; a whole archive ends with a block of zeros
        if os.pread(self._file.fileno(), tarfile.BLOCKSIZE, end) != bytes(tarfile.BLOCKSIZE):
            raise TarError(f"{path}: is cut short after {len(self)} files: download it again")

    @functools.cached_property
    def folders(self) -> dict[str, list[str]]:
        """Folders that hold a file, by the last part of their names."""
        found: dict[str, list[str]] = {}
        for folder in dict.fromkeys(name.rpartition("/")[0] for name in self):
            found.setdefault(folder.rpartition("/")[2], []).append(folder)
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._spans

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def read(self, name: str) -> bytes:
        """Content of one member.

        Raises:
            TarError: there is no such member, or the file has changed since.
        """
        if name not in self._spans:
            raise TarError(f"{self.path}: no member {name}")
        offset, size = self._spans[name]
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise TarError(f"{self.path}: member {name} is cut short: download it again")
        return data

    def open(self, name: str) -> io.BytesIO:
        """Content of one member as a file."""
        return io.BytesIO(self.read(name))


def open_tar(path: str) -> TarFrames:
    """Index of a tar; the last few are kept per process and made anew when the file changes.

    Raises:
        TarError: it cannot be read.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise TarError(f"{path}: cannot be opened ({error.strerror or error})") from None
    return _open_tar(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _open_tar(path: str, size: int, mtime_ns: int) -> TarFrames:
    return TarFrames(path)
