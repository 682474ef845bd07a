"""Score expressions as they are finished, and everything at the end, without doing the work twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ...errors import UserError
from ...rows import all_have, column
from ..runs.expression_result import ExpressionResult
from ..runs.jobs import Job
from .aggregate import aggregate
from .protocols import Protocol, default_protocol, get_protocol
from .score_expression import score_expression
from .score_predictions import score_predictions


def choose_protocol(rows: Sequence[Mapping], name: str | None) -> Protocol | None:
    """The protocol to score with, by default the dataset's own; None where an expression has no ground truth.

    Raises:
        ValueError: the protocol is unknown, or one is asked for although there is nothing to score against.
    """
    if not all_have(rows, "masks"):
        if name is not None:
            raise UserError(f"--protocol {name}: there is no ground truth for every expression; leave it out")
        return None
    if name is None:
        name = default_protocol(rows[0]["dataset"], set(column(rows, "expression_type")))
    return get_protocol(name)


def score_finished(row: Mapping, output: Path, protocol: Protocol) -> dict | None:
    """What the manifest keeps of one expression's score; None where the protocol scores whole videos.

    Returns:
        `{"protocol", "truth", "record"}`; `truth` tells whether the ground truth is still the same later.
    """
    if protocol.unit != "expression":
        return None
    return {"protocol": protocol.name, "truth": _digest(row), "record": score_expression(row, output, protocol)}


def score_all(
    rows: Sequence[Mapping],
    jobs: Iterable[Job],
    results: Mapping[tuple[str, str], ExpressionResult],
    failed: Collection[tuple[str, str]],
    output: Path,
    protocol: Protocol,
    num_workers: int,
    shared: bool,
) -> tuple[list[dict], dict]:
    """Records and totals of all expressions, from the manifests where they have them.

    Args:
        rows: with masks.
        jobs: one per row.
        results: of the finished expressions, with `score` where one was kept.
        failed: ids of expressions without prediction; they score 0 unless the protocol says how to treat them.
        output: the tree of predictions.
        protocol: from [`choose_protocol`].
        num_workers: processes that score what was not scored yet, or under another protocol.
        shared: whether this process sees all predictions.

    Raises:
        ValueError: something is not scored and its prediction is on another machine.
    """
    if failed and protocol.missing == "error":
        protocol = get_protocol(protocol, missing="zero")
    records = [_kept(rows[job.index], job, results, failed, output, protocol) for job in jobs]
    if all(record is not None for record in records):
        return records, _totals(records, output, protocol)
    if not shared:
        raise UserError(
            f"{output}: the predictions lie on several machines; copy them into one folder and run glus-hf score"
        )
    report = score_predictions(rows, output, protocol, num_workers)
    return report.records, report.totals


def _kept(
    row: Mapping, job: Job, results: Mapping, failed: Collection, output: Path, protocol: Protocol
) -> dict | None:
    """The record of one expression if it needs no work."""
    if protocol.unit != "expression":
        return None
    if job.key in failed:
        return score_expression(row, output, protocol)
    score = (results[job.key].score if job.key in results else None) or {}
    if score.get("protocol") != protocol.name or score.get("truth") != _digest(row):
        return None
    return score.get("record")


def _totals(records: list[dict], output: Path, protocol: Protocol) -> dict:
    try:
        return aggregate(records, protocol)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # the manifest may have been edited
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{output}: has broken scores ({reason}); use --overwrite or another --output") from error


def _digest(row: Mapping) -> str:
    content = [row.get(name) for name in ("masks", "object_masks", "foreground")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


__all__ = ["choose_protocol", "score_all", "score_finished"]
