"""The totals of an evaluation run as results of a card."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import EvalResult

from ..checkpoint_files.json_fields import read_fields
from ..errors import UserError


SUMMARY = "summary.json"
TASK = "image-segmentation"
METRICS = {"J&F": "j_and_f", "J": "region-similarity", "F": "contour-accuracy"}
"""Totals that go into a card -> the metric's name there."""
SCORES = tuple(METRICS)
LARGEST = 1e30


def read_results(run: str | os.PathLike) -> list[EvalResult]:
    """J&F, J and F of the folder of `glus-hf evaluate`, in percent with two decimals.

    Raises:
        UserError: it is no such folder, or there was no ground truth; one line.

    Example:
        >>> read_results("outputs/motion_shapes-test-glus-tiny")[0].metric_value  # doctest: +SKIP
        86.61
    """
    file = Path(run) / SUMMARY
    if not file.is_file():
        raise UserError(f"{run}: has no {SUMMARY}; pass the output folder of glus-hf evaluate")
    content = read_fields(file, "json", "evaluate again")
    settings, totals = content.get("settings"), content.get("totals")
    if not isinstance(settings, dict) or not isinstance(totals, dict) or not are_totals(totals):
        raise UserError(f"{file}: has no scores; run glus-hf evaluate on data with a ground truth")
    if not isinstance(settings.get("data_options") or {}, dict):
        raise UserError(f"{file}: its data_options are no options; run glus-hf evaluate again")
    if content.get("failed"):
        raise UserError(f"{file}: {content['failed']} expressions failed; evaluate them again first")
    return results_of(settings, totals)


def results_of(settings: Mapping, totals: Mapping) -> list[EvalResult]:
    """Results of a run's settings and totals, as `summary.json` has them.

    Example:
        >>> results_of({"dataset": "mevis", "split": "valid_u"}, {"J&F": 0.5, "scale": 1})[0].metric_value
        50.0
    """
    scale = 100 / (totals.get("scale") or 1)
    arguments = {**(settings.get("data_options") or {}), "num_expressions": totals.get("num_expressions")}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return [
        EvalResult(
            task_type=TASK,
            task_name="Referring video segmentation",
            dataset_type=str(settings.get("dataset")),
            dataset_name=str(settings.get("dataset")),
            dataset_split=str(settings.get("split")),
            dataset_args=arguments or None,
            metric_type=metric,
            metric_name=name,
            metric_value=round(totals[name] * scale, 2),
        )
        for name, metric in METRICS.items()
        if isinstance(totals.get(name), float | int)
    ]


def are_totals(totals: dict) -> bool:
    """Whether totals are scores, over all and by type, as an evaluation writes them.

    Example:
        >>> are_totals({"J&F": 0.5, "scale": 1}), are_totals({"J&F": "high"})
        (True, False)
    """
    by_type = totals.get("by_type") or {}
    parts = [totals, *by_type.values()] if isinstance(by_type, dict) else [None]
    scale = totals.get("scale")
    return all(isinstance(part, dict) and are_scores(part) for part in parts) and (
        scale is None or (is_number(scale) and scale > 0)
    )


def are_scores(found: Mapping) -> bool:
    """Whether the scores in a record are numbers, or none."""
    return all(found.get(name) is None or is_number(found[name]) for name in SCORES)


def is_number(value: object) -> bool:
    """Whether a value of JSON is a number that can be shown: finite, and not without end."""
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) < LARGEST


__all__ = ["SCORES", "are_scores", "are_totals", "is_number", "read_results", "results_of"]
