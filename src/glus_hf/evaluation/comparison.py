"""Several models on one dataset, in one table: each is evaluated by a process of its own, whose memory is measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..atomic_write import atomic_path
from ..checkpoint_files.json_fields import read_fields
from ..errors import UserError
from ..json_text import json_text
from ..models.checkpoint_loading import model_type_of
from ..models.model_summary import licence_of, notice_of, part_sizes
from .runs.manifest import read_manifests


MEASURED = ".measured.json"
"""End of the name of the file beside the predictions of a model: what was measured of its process."""


@dataclass
class ComparedModel:
    """A row of the table.

    Attributes:
        model: its name.
        totals: of its evaluation, as `glus-hf evaluate --json` prints them; None if that failed.
        frames_per_second: frames of one expression, without loading and decoding the whole again.
        peak_memory: largest resident size of its process, in bytes; None where the system does not tell.
        parameters: how many.
        disk: bytes of its weights.
        licence: of its model card.
        notice: what a user must know of its masks.
        error: why there are no totals; one line.
    """

    model: str
    totals: dict | None = None
    frames_per_second: float | None = None
    peak_memory: int | None = None
    parameters: int | None = None
    disk: int | None = None
    licence: str | None = None
    notice: str | None = None
    error: str | None = None


def run_folders(models: Sequence[str], output: Path) -> dict[str, Path]:
    """A folder of predictions per model.

    Raises:
        UserError: no models, or two whose folders would have one name.

    Example:
        >>> run_folders(["glus-tiny", "my/glee"], Path("out"))["my/glee"].name
        'glee'
    """
    names = {name: os.path.basename(os.path.abspath(name)) for name in models if name.strip()}  # of "." and ".." too
    folders = {name: output / re.sub(r"[^\w.-]", "_", last) for name, last in names.items()}
    if not folders or len(names) < len(set(models)) or "" in names.values():
        raise UserError("--models: name the models, separated by commas")
    if len(folders) < len(models) or len(set(folders.values())) < len(folders):
        raise UserError(f"--models {','.join(models)}: two of them have one name; copy one to another folder")
    return folders


def evaluate_apart(model: str, folder: Path, options: Sequence[str]) -> ComparedModel:
    """Evaluate a model in a process of its own; what a folder has already is not done again.

    Args:
        model: alias, folder or Hub name.
        folder: of its predictions; what is measured of the process lies beside it.
        options: of `glus-hf evaluate`.
    """
    start = [sys.executable, "-P", "-m", "glus_hf.cli"]  # -P: what lies in the working folder is not imported
    command = [*start, "evaluate", "--model", model, "--output", str(folder), *options]
    with tempfile.TemporaryFile() as printed:
        code, problems, memory = _run_apart([*command, "--json"], printed)
        printed.seek(0)
        lines = printed.read().decode().splitlines()
    if code:
        return ComparedModel(model, error=problems or f"its process ended with {code}")
    sizes = part_sizes(model)[-1]
    results = read_manifests(folder).values()
    seconds = sum(result.seconds for result in results)
    return ComparedModel(
        model,
        totals=json.loads(lines[-1]),
        frames_per_second=sum(result.num_frames for result in results) / seconds if seconds else None,
        peak_memory=_largest_memory(folder.with_name(folder.name + MEASURED), memory),
        parameters=sizes.parameters,
        disk=sizes.bytes,
        licence=licence_of(model),
        notice=notice_of(model_type_of(model)),
    )


def _run_apart(command: Sequence[str], printed) -> tuple[int, str, int | None]:
    """Run a command. What it says on stderr is passed on; its last line is returned, with the exit code and the
    largest resident size in bytes."""
    process = subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE)
    end = b""
    try:
        while said := os.read(process.stderr.fileno(), 1 << 16):
            sys.stderr.write(said.decode(errors="replace"))
            sys.stderr.flush()
            end = (end + said)[-4096:]
        code, memory = _wait(process)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        process.stderr.close()
    lines = [line for line in end.decode(errors="replace").splitlines() if line.strip()]
    return code, lines[-1].removeprefix("Error: ") if lines else "", memory


def _wait(process: subprocess.Popen) -> tuple[int, int | None]:
    """Exit code and largest resident size of a process that has closed its streams."""
    if not hasattr(os, "wait4"):  # Windows
        return process.wait(), None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _largest_memory(path: Path, memory: int | None) -> int | None:
    """The largest of all runs in a folder: one that resumes may have had nothing to do."""
    if path.is_file():
        earlier = read_fields(path, remedy="remove it").get("peak_memory")
        memory = max(earlier if isinstance(earlier, int) else 0, memory or 0) or None
    with atomic_path(path) as staged:
        staged.write_text(json_text({"peak_memory": memory}), encoding="utf-8")
    return memory


def table_of(models: Sequence[ComparedModel]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: J&F in percent, over all and by type."""
    types = list(dict.fromkeys(kind for each in models for kind in (each.totals or {}).get("by_type", {})))
    header = ["model", "J&F", *types, "frames/s", "peak memory", "parameters", "disk", "licence"]
    return header, [_row(each, types) for each in models]


def _row(each: ComparedModel, types: list[str]) -> list[str]:
    if each.totals is None:
        return [each.model, *["failed"] * (1 + len(types)), *["-"] * 5]
    by_type, scale = each.totals.get("by_type", {}), each.totals.get("scale", 1)
    percent = lambda values: f"{100 * values['J&F'] / scale:.1f}" if values and "J&F" in values else "-"
    shown = lambda value, unit, digits=0: "-" if value is None else f"{value / unit:,.{digits}f}"
    return [
        each.model,
        percent(each.totals),
        *(percent(by_type.get(kind)) for kind in types),
        shown(each.frames_per_second, 1, 1),
        f"{shown(each.peak_memory, 1e9, 2)} GB",
        f"{shown(each.parameters, 1e6, 1)} M",
        f"{shown(each.disk, 1e6, 1)} MB",
        each.licence or "not stated",
    ]


def write_comparison(models: Sequence[ComparedModel], settings: dict, markdown: Path, as_json: Path) -> dict:
    """Write the table as markdown and as JSON.

    Returns:
        The content of the JSON file.
    """
    header, rows = table_of(models)
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]]
    notes = [f"{each.model}: {each.error or each.notice}" for each in models if each.error or each.notice]
    markdown.write_text("\n".join([*lines, *([""] if notes else []), *notes]) + "\n", encoding="utf-8")
    content = {**settings, "models": [asdict(each) for each in models]}
    as_json.write_text(json_text(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return content


__all__ = ["ComparedModel", "evaluate_apart", "run_folders", "table_of", "write_comparison"]
