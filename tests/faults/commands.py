"""The commands that are killed or run out of disk, what they read, and what must be equal in the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.hostile.ingredients import clip
from tests.paths import FIXTURES


SHAPES = (
    "--dataset",
    "motion_shapes",
    "--data-option",
    "size=48",
    "--data-option",
    "num_frames=5",
    "--num-videos",
    "3",
)
UPSTREAM = FIXTURES / "upstream_tiny"
QUIET = ("--quiet", "--device", "cpu")


@dataclass(frozen=True)
class Command:
    """One command line whose results lie in the folder `out`.

    Attributes:
        arguments: of `glus-hf`.
        make: writes what it reads into the working folder.
        again: added when it is run again after a fault.
        processes: how many run it together.
        resumes: what is done is kept by the next run; a fault leaves parts of the result. Else a fault leaves nothing.
        refuses: a part of `out` that a run which was done is refused for, when it is run again.
        compared: whether a file of `out` must be equal to that of the undisturbed run.
    """

    arguments: tuple[str, ...]
    make: Callable[[Path], object] = lambda work: None
    again: tuple[str, ...] = ()
    processes: int = 1
    resumes: bool = False
    refuses: str | None = None
    compared: Callable[[str], bool] = lambda name: True


def _no_record(name: str) -> bool:
    """Not the account that a run keeps of itself."""
    return not any(part.startswith(".") for part in Path(name).parts)


def _training_file(work: Path) -> None:
    """A training of four steps, with a checkpoint after every one."""
    training = {
        "output_dir": "out/run",
        "total_train_batch_size": 2,
        "per_device_train_batch_size": 2,
        "max_steps": 4,
        "save_steps": 1,
        "logging_steps": 1,
        "embedding_training": "new_tokens",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    options = {"num_videos": 4, "size": 48, "num_frames": 8}
    content = {
        "model": {"pretrained": "glus-tiny"},
        "data": {"train": [{"name": "motion_shapes", "split": "train", "options": options}], "max_expressions": 2},
        "training": training,
        "export": "out/model",
    }
    (work / "run.yaml").write_text(yaml.safe_dump(content))


COMMANDS = {
    "segment": Command(
        (
            "segment",
            "clip.mp4",
            "the red square",
            "the blue circle",
            "-o",
            "out/overlay.mp4",
            "--masks-dir",
            "out/masks",
            "-q",
        ),
        lambda work: clip(work, count=8),
        compared=_no_record,
    ),
    "evaluate": Command(
        ("evaluate", *SHAPES, "--split", "test", "-o", "out/preds", *QUIET, "--timeout-minutes", "1"),
        processes=2,
        resumes=True,
        compared=_no_record,
    ),
    "pseudo-label": Command(
        ("pseudo-label", *SHAPES, "--split", "train", "-o", "out/labels", *QUIET),
        resumes=True,
        compared=_no_record,
    ),
    "convert": Command(
        (
            *("convert", "--source", "released", "--clip", str(UPSTREAM / "clip")),
            *("--sam2-config", str(UPSTREAM / "sam2_config.yaml"), "-o", "out/converted", "-q"),
        ),
        lambda work: shutil.copytree(UPSTREAM / "checkpoint", work / "released"),
    ),
    "train": Command(
        ("train", "run.yaml"),
        _training_file,
        again=("--resume",),
        resumes=True,
        refuses="model",
        compared=lambda name: name.startswith("model/") and name.endswith((".safetensors", "config.json")),
    ),
}


def results(folder: Path, command: Command) -> dict[str, bytes]:
    """The files that are compared, by their paths in `out`."""
    files = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    found = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in sorted(found.items()) if command.compared(name)}
