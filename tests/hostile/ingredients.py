"""What the cases are made of: small clips, datasets and checkpoints that are good, to be spoiled by one change."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.small_media import clip_frames, video_bytes
from tests.paths import FIXTURES, ROOT


TINY = ROOT / "src" / "glus_hf" / "checkpoints" / "glus-tiny"
SIZE = 48
SEGMENT = ("segment", "clip.mp4", "the red square", "-o", "out.mp4", "-q")
QUIET = ("--quiet", "--device", "cpu")


# --- files of every kind ---------------------------------------------------------------------------------------------


def put(path: Path, content: bytes | str | dict | list) -> Path:
    """Write bytes, text or JSON; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, (dict, list)):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fifo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def sparse(path: Path, size: int, beginning: bytes = b"") -> None:
    """A file of `size` bytes that takes no room on the disk."""
    put(path, beginning)
    os.truncate(path, size)


def link(path: Path, target: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def replaced(make: Callable[[Path], object], *steps: Callable[[Path], object]) -> Callable[[Path], None]:
    """Make good files, then spoil them by the steps."""

    def run(work: Path) -> None:
        make(work)
        for step in steps:
            step(work)

    return run


def anew(name: str, writer: Callable, *arguments) -> Callable[[Path], None]:
    """A step that replaces the file `name` by what `writer(path, *arguments)` makes."""

    def run(work: Path) -> None:
        path = work / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        writer(path, *arguments)

    return run


# --- clips -----------------------------------------------------------------------------------------------------------


def clip(work: Path, name: str = "clip.mp4", count: int = 4, height: int = SIZE, width: int = SIZE) -> Path:
    """A video file of a red square that moves."""
    path = work / name
    return put(path, video_bytes(path.suffix[1:], clip_frames(count, height, width)))


def frame_folder(work: Path, name: str = "frames", count: int = 4, suffix: str = ".png") -> Path:
    """The same as a folder of images."""
    folder = work / name
    folder.mkdir(parents=True)
    for index, frame in enumerate(clip_frames(count, SIZE, SIZE)):
        Image.fromarray(frame).save(folder / f"{index:05d}{suffix}")
    return folder


# --- own data --------------------------------------------------------------------------------------------------------


def own_data(work: Path, name: str = "data", lines: list | None = None) -> Path:
    """A folder in the layout of docs/own-data.md: the video `park` of 4 frames with masks, two expressions."""
    folder = work / name
    frame_folder(folder / "videos", "park")
    masks = folder / "masks" / "park"
    masks.mkdir(parents=True)
    for index in range(4):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[12:36, index : index + 16] = 255
        Image.fromarray(mask).save(masks / f"{index:05d}.png")
    write_lines(folder, lines or [line(), line(expression="the square that moves")])
    return folder


def line(**fields) -> dict:
    """One expression of `own_data`; a field that is None is left out."""
    whole = {"video": "park", "expression": "the red square", "masks": "masks/park"} | fields
    return {name: value for name, value in whole.items() if value is not None}


def write_lines(folder: Path, lines: list) -> None:
    texts = [item if isinstance(item, str) else json.dumps(item) for item in lines]
    put(folder / "expressions.jsonl", "".join(f"{text}\n" for text in texts))


def evaluate(*more, data: str = "data", split: str = "train", output: str = "preds") -> tuple:
    """Arguments that evaluate own data."""
    return ("evaluate", "--dataset", "own", "--data-dir", data, "--split", split, "-o", output, *QUIET, *more)


def score(*more, data: str = "data", predictions: str = "preds") -> tuple:
    """Arguments that score own data."""
    return ("score", "--dataset", "own", "--data-dir", data, "--split", "train", "--predictions", predictions, *more)


def check(*more) -> tuple:
    """Arguments that check own data."""
    return ("data", "check", "data", "--json", "-q", *more)


def predictions(work: Path, name: str = "preds") -> Path:
    """A whole tree of masks for `own_data`, as another program may have written it."""
    for expression in ("0", "1"):
        folder = work / name / "park" / expression
        folder.mkdir(parents=True)
        for index in range(4):
            Image.fromarray(np.full((SIZE, SIZE), 255, np.uint8)).save(folder / f"{index:05d}.png")
    return work / name


# --- checkpoints -----------------------------------------------------------------------------------------------------


def model(work: Path, name: str = "model", **fields) -> Path:
    """A copy of glus-tiny with other fields in its config; `a__b=1` is field b of the section a."""
    folder = work / name
    shutil.copytree(TINY, folder)
    set_fields(folder / "config.json", **fields)
    return folder


def set_fields(path: Path, **fields) -> None:
    """Change fields of a JSON file in place; Ellipsis takes one out."""
    content = json.loads(path.read_text())
    for name, value in fields.items():
        *sections, last = name.split("__")
        section = content
        for part in sections:
            section = section.setdefault(part, {})
        if value is ...:
            section.pop(last, None)
        else:
            section[last] = value
    path.write_text(json.dumps(content))


def fields_of(name: str, **fields) -> Callable[[Path], None]:
    """A step that changes fields of a JSON file."""
    return lambda work: set_fields(work / name, **fields)


def weights(work: Path, change: Callable[[dict], object], name: str = "model") -> None:
    """Change the tensors of a checkpoint in place."""
    from safetensors.torch import load_file, save_file

    path = work / name / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def upstream(work: Path, name: str = "released") -> Path:
    """A miniature released checkpoint, to convert."""
    shutil.copytree(FIXTURES / "upstream_tiny" / "checkpoint", work / name)
    return work / name


def no_file(*names: str) -> Callable[[Path, str], None]:
    """A check that these are not there afterwards."""

    def run(work: Path, out: str) -> None:
        for name in names:
            assert not os.path.lexists(work / name), f"{name} is there"

    return run


def last_json(out: str) -> dict:
    """The JSON object in the last line of stdout; NaN and infinity are none."""
    return json.loads(out.splitlines()[-1], parse_constant=_no_json)


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
