"""The code of a model beside its weights, so that it loads where glus_hf is not installed (`trust_remote_code=True`).

A model folder imports its own files and the shared rooms it needs; transformers takes the files of one folder. So all
of them are written flat into the folder of the checkpoint, and their imports name them there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


RELATIVE_IMPORT = re.compile(r"^(\s*)from (\.+)([\w.]+) import", re.MULTILINE)


def class_reference(cls: type) -> str:
    """How `auto_map` names a class: `modeling_glus.GLUSForVideoSegmentation`."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


def save_code(cls: type, folder) -> list[Path]:
    """Write the file that defines a class, and all it imports of this package, flat into a folder.

    Returns:
        The files.

    Raises:
        ValueError: two of them have the same name; a defect of the package.
    """
    files = needed_files(Path(sys.modules[cls.__module__].__file__))
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise ValueError(f"files of one name cannot lie in one folder: {sorted(names)}")
    written = []
    for file in files:
        written.append(Path(folder) / file.name)
        written[-1].write_text(RELATIVE_IMPORT.sub(_flat, file.read_text(encoding="utf-8")), encoding="utf-8")
    return written


def needed_files(file: Path) -> list[Path]:
    """A file and all that it imports relatively, directly or around.

    Example:
        >>> sorted(path.name for path in needed_files(Path(__file__).with_name("sessions.py")))[:2]
        ['errors.py', 'images.py']
    """
    found = [file.resolve()]
    for current in found:  # grows while it is read
        for match in RELATIVE_IMPORT.finditer(current.read_text(encoding="utf-8")):
            folder = current.parents[len(match[2]) - 1]
            path = folder.joinpath(*match[3].split(".")).with_suffix(".py")
            if path not in found:
                found.append(path)
    return found


def _flat(match: re.Match) -> str:
    return f"{match[1]}from .{match[3].rpartition('.')[2]} import"


__all__ = ["class_reference", "needed_files", "save_code"]
