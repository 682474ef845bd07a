"""Members of an uncompressed tar by name, read in place."""

from __future__ import annotations

import functools
import io
import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import TarError
from ..safe_files import KINDS, MB, Stamp, file_stamp, open_file, readable_size


MAX_MEMBERS = 4_000_000
MAX_HEADER = 1 * MB  # of a long name or of extended attributes
MAX_NAME = 4096


class TarFrames:
    """Index of the regular files in a tar, for random access without unpacking.

    Building the index reads the headers only. Reads use positions of their own, so forked processes and threads can
    share one object.

    Args:
        path: uncompressed tar.

    Raises:
        TarError: it is not an uncompressed tar, is cut short, or its headers are damaged.
    """

    def __init__(self, path: str):
        self.path = path
        self._spans: dict[str, tuple[int, int]] = {}
        self._file = open_file(path, "tar", TarError)  # for as long as the index lives
        self._size = os.fstat(self._file.fileno()).st_size
        try:
            end = self._read_headers()
        except TarError:
            raise
        except Exception as error:  # damaged headers lead tarfile to anything
            reason = str(error) or type(error).__name__
            raise TarError(f"{path}: not a readable uncompressed tar ({reason}): download it again") from None
        # tarfile takes half a header, and nothing at all, for the end; a whole archive ends with a block of zeros
        if os.pread(self._file.fileno(), tarfile.BLOCKSIZE, end) != bytes(tarfile.BLOCKSIZE):
            raise TarError(f"{path}: is cut short after {len(self)} files: download it again")

    def _read_headers(self) -> int:
        """Fill the index; the position behind the last member."""
        with tarfile.open(fileobj=_Headers(self._file), mode="r:") as archive:
            position = 0
            while (member := archive.next()) is not None:
                self._add(member, archive.offset > position)
                position = archive.offset
                archive.members = []  # tarfile would keep every header
            return archive.offset

    def _add(self, member: tarfile.TarInfo, goes_on: bool) -> None:
        name = member.name[:100]
        if member.size < 0 or member.offset_data < 0 or not goes_on:
            raise TarError(f"{self.path}: member {name!r} has an impossible size: download it again")
        if len(member.name) > MAX_NAME:
            raise TarError(f"{self.path}: member {name!r}... has a name of {len(member.name)} letters: remove it")
        if member.isreg() and not member.issparse():
            if member.offset_data + member.size > self._size:
                raise TarError(f"{self.path}: member {name!r} is larger than the file: download it again")
            self._spans[member.name] = (member.offset_data, member.size)
            if len(self._spans) > MAX_MEMBERS:
                raise TarError(f"{self.path}: has more than {MAX_MEMBERS} files: split it")

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
            raise TarError(f"{self.path}: no member {name}: download the archive again")
        offset, size = self._spans[name]
        kind, limit = KINDS["image"]
        if size > limit:
            raise TarError(
                f"{self.path}: member {name} has {readable_size(size)}, {kind} may have "
                f"{readable_size(limit)}: replace it"
            )
        return self._read_at(name, offset, size)

    def _read_at(self, name: str, offset: int, size: int) -> bytes:
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise TarError(f"{self.path}: member {name} is cut short: download it again")
        return data

    def open(self, name: str) -> io.BytesIO:
        """Content of one member as a file."""
        return io.BytesIO(self.read(name))

    def stream(self, name: str) -> TarMember:
        """A member of any size, as [`TarMember`]; TarError where there is none."""
        if name not in self._spans:
            raise TarError(f"{self.path}: no member {name}: check the name")
        return TarMember(self, name, *self._spans[name])


class TarMember:
    """A member of a tar that is read from its begin to its end, with `read` as of a binary file.

    Attributes:
        name: its address.
    """

    def __init__(self, tar: TarFrames, member: str, offset: int, size: int):
        self.name = f"tar://{member}::{tar.path}"
        self._tar, self._member, self._offset, self._left = tar, member, offset, size

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end."""
        size = self._left if size < 0 else min(size, self._left)
        content = self._tar._read_at(self._member, self._offset, size)
        self._offset, self._left = self._offset + size, self._left - size
        return content


class _Headers:
    """The file as tarfile reads headers of it: never much at once, and not again and again at its end."""

    def __init__(self, file: BinaryIO):
        self._file, self._ends = file, 0
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError("a header of impossible length")
        content = self._file.read(size)
        self._ends = 0 if content else self._ends + 1
        if self._ends > 2:
            raise tarfile.ReadError("a header goes on behind the end")
        return content


def open_tar(path: str) -> TarFrames:
    """Index of a tar; the last few are kept per process and made anew when the file changes.

    Raises:
        TarError: it cannot be read.
    """
    return _open_tar(path, file_stamp(path, "tar", TarError))


@functools.lru_cache(maxsize=4)
def _open_tar(path: str, stamp: Stamp) -> TarFrames:
    return TarFrames(path)
