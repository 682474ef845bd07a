"""The results of an evaluation: scores, one line per expression, totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..inference.frame_masks import EXPRESSIONS_WITH_MISSING, MISSING_FRAMES
from ..json_text import json_text
from .runs.expression_result import ExpressionFailure, ExpressionResult, by_key
from .runs.jobs import Job
from .runs.run_files import write_result


REPORTED = ("key_frame", "mean_score", MISSING_FRAMES, "confidence", "no_target")


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation found.

    Attributes:
        output: root of the tree of predictions.
        records: one dict per expression, in the order of the rows: scores, if there is a ground truth, and
            `num_frames`, `key_frame`, `mean_score` and, under `MISSING_FRAMES`, the names of frames without an answer;
            with a selector `confidence` and `no_target`; or `error`.
        totals: of the protocol: `J`, `F`, `J&F`, `by_type` and what else it defines; None without a ground truth.
        counts: `num_expressions`, `num_frames`, `failed`; frames without an answer (`MISSING_FRAMES`) and expressions
            with such frames (`EXPRESSIONS_WITH_MISSING`).
    """

    output: Path
    records: list[dict]
    totals: dict | None
    counts: dict

    def to_dict(self) -> dict:
        """Counts and totals in one JSON-able dict; `num_expressions` of the totals are those behind `J&F`."""
        return {**self.counts, **(self.totals or {}), "output": str(self.output)}


def write_report(
    output: Path,
    rows: Sequence[Mapping],
    jobs: Sequence[Job],
    results: Mapping[tuple[str, str], ExpressionResult],
    failures: Sequence[ExpressionFailure],
    settings: Mapping,
    scored: tuple[list[dict], dict] | None,
) -> EvaluationReport:
    """Write `results.jsonl` and `summary.json`. Nothing in them differs from run to run.

    Args:
        output: where.
        rows, jobs: what was to be done; masks are not read.
        results: of the finished expressions.
        failures: of the others.
        settings: of the run.
        scored: records and totals of the protocol; None without a ground truth.
    """
    records, totals = scored or ([], None)
    scores = {(record["video_id"], record["expression_id"]): record for record in records}
    failed = by_key(failures)
    records = [_record(rows[job.index], job, scores, results, failed) for job in jobs]
    report = EvaluationReport(output, records, totals, _counts(records))
    lines = "".join(json_text(record, ensure_ascii=False) + "\n" for record in records)
    write_result(output / "results.jsonl", lines)
    content = {"settings": settings, "totals": totals, **report.counts}
    write_result(output / "summary.json", json_text(content, indent=1, ensure_ascii=False) + "\n")
    return report


def _record(row: Mapping, job: Job, scores: Mapping, results: Mapping, failed: Mapping) -> dict:
    """One line of `results.jsonl`."""
    record = {"video_id": job.video_id, "expression_id": job.expression_id, "expression": row["expression"]}
    num_frames = results[job.key].num_frames if job.key in results else job.num_frames
    record |= {"expression_type": row["expression_type"], "num_frames": num_frames}
    record |= scores.get(job.key, {})
    if job.key in results:
        known = results[job.key].to_dict()
        record |= {key: known[key] for key in REPORTED if key in known}
    return record | ({"error": failed[job.key].error} if job.key in failed else {})


def _counts(records: Sequence[dict]) -> dict:
    missing = [len(record.get(MISSING_FRAMES, ())) for record in records]
    return {
        "num_expressions": len(records),
        "num_frames": sum(record["num_frames"] for record in records),
        MISSING_FRAMES: sum(missing),
        EXPRESSIONS_WITH_MISSING: sum(count > 0 for count in missing),
        "failed": sum("error" in record for record in records),
    }


__all__ = ["EvaluationReport", "write_report"]
