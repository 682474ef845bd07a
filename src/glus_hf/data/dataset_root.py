"""Find the folder of a dataset from what the user passes as `data_dir`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from ..errors import DatasetFileError


def find_root(
    name: str, data_dir, folders: Sequence[str], source_files: Callable[[str], dict], required: bool
) -> tuple[str | None, dict]:
    """Absolute folder of the dataset, and its files by split.

    Args:
        name: of the dataset, for errors.
        data_dir: the folder itself or its parent.
        folders: names the folder may have in its parent, best first.
        source_files: finds the files in a folder or raises `DatasetFileError`.
        required: False for generated data, which takes no folder.

    Raises:
        DatasetFileError: there is no such folder, or files are missing in it; the message lists them.
    """
    if not required:
        if data_dir is not None:
            raise DatasetFileError(f"{name}: is generated and takes no data_dir: leave it out")
        return None, source_files("")
    if data_dir is None:
        raise DatasetFileError(f"{name}: needs data_dir: the folder of the dataset, see docs/datasets.md")
    root = os.path.abspath(os.path.expanduser(os.fspath(data_dir)))
    if not os.path.isdir(root):
        raise DatasetFileError(f"{name}: data_dir {root}: no such folder: pass the folder that holds the splits")
    inside = [os.path.join(root, folder) for folder in folders]
    problems = {}
    # a folder with the dataset's own name goes first: its parent may hold files of others that look like its own
    for candidate in [*(folder for folder in inside if os.path.isdir(folder)), root]:
        try:
            return candidate, source_files(candidate)
        except DatasetFileError as error:
            problems[candidate] = error
    raise next(iter(problems.values()))
