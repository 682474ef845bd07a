"""What the folder of an evaluation or of a training run tells."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.strict_json import parse_json, read_json
from ..errors import UserError
from ..publishing.run_results import SCORES, are_scores, are_totals, is_number
from ..safe_files import read_text


SUMMARY, RESULTS, STATE = "summary.json", "results.jsonl", "trainer_state.json"
CHECKPOINT = re.compile(r"checkpoint-(\d{1,9})")


@dataclass(frozen=True)
class EvaluationRun:
    """A folder of `glus-hf evaluate`.

    Attributes:
        folder: with the tree of predictions.
        settings: of the run: `dataset`, `split`, `data_options`, `model`, ...
        totals: of the protocol; scores are between 0 and `totals["scale"]`.
        records: one dict per expression.
    """

    folder: Path
    settings: Mapping
    totals: Mapping
    records: list[dict]

    @property
    def name(self) -> str:
        """Of the model."""
        model = self.settings.get("model")
        return str((isinstance(model, dict) and model.get("name")) or self.folder.name)

    @property
    def percent(self) -> float:
        """What a score is multiplied with."""
        return 100 / (self.totals.get("scale") or 1)

    def scored(self) -> dict[tuple[str, str], dict]:
        """Records with a J&F, by video and expression."""
        known = [record for record in self.records if record.get("J&F") is not None]
        return {(str(record["video_id"]), str(record["expression_id"])): record for record in known}


@dataclass(frozen=True)
class TrainingRun:
    """A folder of `glus-hf train`.

    Attributes:
        folder: of the run.
        state: content of `trainer_state.json` but for the log.
        history: logged entries, each with `step`.
    """

    folder: Path
    state: Mapping
    history: list[dict]

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Every number that was logged at two steps or more, as (step, value)."""
        found: dict[str, dict[int, float]] = {}
        for entry in self.history:
            for name, value in entry.items():
                if name not in ("step", "epoch") and is_number(value):
                    found.setdefault(name, {})[entry["step"]] = value
        return {name: sorted(points.items()) for name, points in found.items() if len(points) > 1}


def read_run(folder: str | os.PathLike) -> EvaluationRun | TrainingRun:
    """Read the folder of an evaluation, or else of a training run.

    Raises:
        UserError: it is neither, or a file is damaged; one line.

    Example:
        >>> read_run("outputs/motion_shapes-test-glus-tiny").name  # doctest: +SKIP
        'glus-tiny'
    """
    folder = Path(folder)
    if (folder / SUMMARY).is_file() and (folder / RESULTS).is_file():
        return _read_evaluation(folder)
    state = _state_file(folder)
    if state is None:
        raise UserError(f"{folder}: has no {SUMMARY} of glus-hf evaluate and no {STATE} of training; name such a run")
    content = _object(state)
    history = content.get("log_history")
    if not isinstance(history, list) or not all(isinstance(e, dict) and is_number(e.get("step")) for e in history):
        raise UserError(f"{state}: has no log of training; name another run")
    return TrainingRun(folder, {name: value for name, value in content.items() if name != "log_history"}, history)


def _read_evaluation(folder: Path) -> EvaluationRun:
    summary = _object(folder / SUMMARY)
    lines = read_text(folder / RESULTS, "jsonl").splitlines()
    records = [parse_json(line.encode(), str(folder / RESULTS)) for line in lines if line.strip()]
    if not all(isinstance(record, dict) and {"video_id", "expression_id"} <= record.keys() for record in records):
        raise UserError(f"{folder / RESULTS}: has a line that is no result; evaluate again")
    settings, totals = summary.get("settings"), summary.get("totals")
    if not isinstance(settings, dict) or not isinstance(totals, dict | None) or not are_totals(totals or {}):
        raise UserError(f"{folder / SUMMARY}: is no summary of an evaluation; evaluate again")
    wrong = [record for record in records if not are_scores(record)]
    if wrong:
        where = f"{wrong[0]['video_id']!r:.40}, {wrong[0]['expression_id']!r:.40}"
        raise UserError(f"{folder / RESULTS}: the scores of {where} are no numbers; evaluate again")
    return EvaluationRun(folder, settings, totals or {}, records)


def _state_file(folder: Path) -> Path | None:
    """That of the run, else of its last checkpoint."""
    if (folder / STATE).is_file():
        return folder / STATE
    steps = {int(match[1]): path for path in folder.glob("checkpoint-*") if (match := CHECKPOINT.fullmatch(path.name))}
    files = [steps[step] / STATE for step in sorted(steps, reverse=True)]
    return next((file for file in files if file.is_file()), None)


def _object(file: Path) -> dict:
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: is no JSON object; evaluate or train again")
    return content


def shown(value: object) -> str:
    """A setting as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


__all__ = ["SCORES", "EvaluationRun", "TrainingRun", "read_run", "shown"]
