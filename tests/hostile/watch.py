"""What a child does to files and programs: a picture of a folder, opened files of another, started programs."""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
import struct
import sys
from pathlib import Path


IN_OPEN = 0x20
LARGE = 1 << 20
STARTS = ("subprocess.Popen", "os.posix_spawn")  # the second within the first, since Python 3.13
PROGRAM_EVENTS = (*STARTS, "os.system", "os.exec", "os.spawn", "pty.spawn")


def picture(folder: Path) -> dict[str, tuple]:
    """Every entry below `folder` with its kind and content; of large files the inode and times stand for it."""
    found = {}
    for root, folders, files in os.walk(os.fsencode(folder)):
        for name in [*folders, *files]:
            path = os.path.join(root, name)
            found[os.fsdecode(os.path.relpath(path, os.fsencode(folder)))] = _entry(path)
    return found


def _entry(path: bytes) -> tuple:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return ("link", os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return (stat.S_IFMT(status.st_mode),)
    if status.st_size > LARGE:
        return ("file", status.st_size, status.st_ino, status.st_mtime_ns)
    return ("file", status.st_size, hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest())


def differences(before: dict, after: dict, writes: tuple[str, ...]) -> list[str]:
    """What was removed, changed or added, but for what lies at or below `writes` and is new or was meant to change."""
    found, places = [], [*writes, *(record_of(place) for place in writes)]
    for name in sorted({*before, *after}):
        allowed = any(name == place or name.startswith(f"{place}/") for place in places)
        if name not in after:
            found += [] if allowed else [f"removed: {name}"]
        elif before.get(name) != after[name] and not allowed:
            found.append(f"{'changed' if name in before else 'new'}: {name}")
    return found


def record_of(place: str) -> str:
    """The hidden file beside an output that says which files are ours."""
    folder, _, name = place.rpartition("/")
    return f"{folder}/.{name}.glus_hf.jsonl"


class OpenedFiles:
    """Files of a folder that any process opens from now on, by the kernel's own account."""

    def __init__(self, folder: Path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.handle = libc.inotify_init1(os.O_NONBLOCK)
        for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            libc.inotify_add_watch(self.handle, os.fsencode(path), IN_OPEN)

    def names(self) -> list[str]:
        """Names of the opened files, not of folders that were listed."""
        try:
            data = os.read(self.handle, 1 << 20)
        except BlockingIOError:
            return []
        names, at = [], 0
        while at < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            name = data[at + 16 : at + 16 + length].rstrip(b"\0")
            if name and not mask & 0x40000000:  # IN_ISDIR
                names.append(os.fsdecode(name))
            at += 16 + length
        return sorted(set(names))


LISTS_FONTS = "fc-list', ['fc-list',"
"""The list of fonts, for which matplotlib asks when a sentence needs one; nothing of the sentence goes there."""


RENDERS = "'-P', '-m', 'glus_hf.models.glus_vlm.render_template']"
"""Our own module in this Python, which renders a chat template within limits; the template goes to its stdin."""


def record_events(file: Path) -> None:
    """Write every program that this process starts, and every address it connects to, into `file`."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple) -> None:
        is_ours = LISTS_FONTS in repr(arguments) or RENDERS in repr(arguments)
        if event in STARTS and is_ours:
            return
        if event in PROGRAM_EVENTS or (event == "socket.connect" and not isinstance(arguments[1], (str, bytes))):
            os.write(handle, f"{event} {arguments!r}\n".encode()[:500])

    sys.addaudithook(hook)
