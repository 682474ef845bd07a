"""Score a finished tree of predictions, in one process or several."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from ...atomic_write import atomic_path
from ...errors import UserError
from ...json_text import json_text
from ...rows import only_columns
from .aggregate import aggregate
from .protocols import Protocol, default_protocol, get_protocol
from .score_davis import score_davis_video
from .score_expression import Reader, prediction_reader, score_expressions


@dataclass(frozen=True)
class ScoreReport:
    """What [`score_predictions`] returns.

    Attributes:
        records: one dict per expression in the order of the rows, see [`score_expression`]; fractions, not rounded.
        totals: see [`aggregate`].
    """

    records: list[dict]
    totals: dict


def score_predictions(
    rows: Iterable[Mapping],
    predictions: str | os.PathLike | Reader,
    protocol: str | Protocol | None = None,
    num_workers: int = 1,
    *,
    missing: str | None = None,
    progress: bool = False,
) -> ScoreReport:
    """Score predictions of a whole split.

    Expressions of the same objects of a video are scored together, so each target is decoded and prepared once. The
    result does not depend on `num_workers`.

    Args:
        rows: of `load_referring_dataset`, or dicts with the same columns.
        predictions: a tree of predictions or a function `(row, frame) -> [height, width]`, bool or uint8; with several
            processes the function must be picklable.
        protocol: name of a preset or a protocol; None for the dataset's own, see [`default_protocol`].
        num_workers: processes; 0 or 1 for this one. Others are spawned, so a script needs
            `if __name__ == "__main__":`.
        missing: policy for missing predictions instead of the protocol's own: "error", "zero", "skip" or "empty".
        progress: show a bar on stderr.

    Raises:
        MissingPrediction: the policy is "error" and a frame has no prediction.
        ValueError: no rows, two rows with the same ids, or a mask that cannot be scored, with its file or ids.
        OSError: a process died.

    Example:
        >>> rows = load_referring_dataset("mevis", "data/mevis", "valid_u")  # doctest: +SKIP
        >>> score_predictions(rows, "preds", "mevis", num_workers=4).totals["J&F"]  # doctest: +SKIP
        0.513
    """
    rows = rows if hasattr(rows, "__getitem__") and hasattr(rows, "__len__") else list(rows)
    if not len(rows):
        raise UserError("there is no expression to score")
    if num_workers < 0:
        raise UserError(f"num_workers must not be negative, got {num_workers}")
    reader = prediction_reader(predictions)
    protocol = get_protocol(_own_protocol(rows) if protocol is None else protocol, missing)
    groups = _groups(rows, protocol)
    scored: dict[int, list[dict]] = {}
    from tqdm import tqdm

    with tqdm(total=len(rows), desc="scoring", unit="expression", disable=not progress) as bar:
        for number, records in _run(rows, reader, protocol, groups, num_workers):
            scored[number] = records
            bar.update(len(groups[number]))
    records = _in_order(groups, scored, protocol)
    return ScoreReport(records, aggregate(records, protocol))


def write_records(path: str | os.PathLike, records: Iterable[Mapping]) -> None:
    """Write records as JSON lines; the file appears complete or not at all.

    Example:
        >>> write_records("records.jsonl", report.records)  # doctest: +SKIP
    """
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{json_text(record)}\n" for record in records), encoding="utf-8")


def _groups(rows: Sequence[Mapping], protocol: Protocol) -> list[list[int]]:
    """Indices of the rows that are scored together, groups in the order of their first rows."""
    groups: dict[tuple, list[int]] = {}
    seen = set()
    for index, row in enumerate(only_columns(rows, ("video_id", "expression_id", "object_ids", "annotation_ids"))):
        ids = (row["video_id"], row["expression_id"])
        if ids in seen:
            raise UserError(f"video {ids[0]}, expression {ids[1]}: two rows have these ids; correct one")
        seen.add(ids)
        objects = (tuple(row["object_ids"] or ()), tuple(row["annotation_ids"] or ()))
        key = (ids[0],) if protocol.unit == "davis_object" else (ids[0], *objects)
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _own_protocol(rows: Sequence[Mapping]) -> str:
    types: dict[str, set] = {}
    for row in only_columns(rows, ("dataset", "expression_type")):
        types.setdefault(row["dataset"], set()).add(row["expression_type"])
    if len(types) > 1:
        raise UserError(f"the rows are of several datasets ({', '.join(types)}), so name a protocol")
    ((dataset, kinds),) = types.items()
    return default_protocol(dataset, kinds)


def _score_group(rows: Sequence[Mapping], reader: Reader, protocol: Protocol, group: list[int]) -> list[dict]:
    score = score_davis_video if protocol.unit == "davis_object" else score_expressions
    return score([rows[index] for index in group], reader, protocol)


def _run(rows, reader, protocol, groups, num_workers) -> Iterator[tuple[int, list[dict]]]:
    """Yield the number of each group and its records, as they are ready."""
    num_workers = min(num_workers, len(groups))
    if num_workers <= 1:
        for number, group in enumerate(groups):
            yield number, _score_group(rows, reader, protocol, group)
        return
    # spawned: a fork of a process with threads (torch, Arrow) may hang
    executor = ProcessPoolExecutor(
        num_workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(rows, reader, protocol)
    )
    try:
        with _no_ctrl_c():
            futures = {executor.submit(_score_in_worker, group): number for number, group in enumerate(groups)}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool:
        raise OSError("a scoring process died, perhaps for lack of memory; use fewer processes") from None
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Processes that are started in here never get Ctrl-C, not even while they import: it is for this one."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker_arguments: tuple = ()


def _start_worker(*arguments) -> None:
    global _worker_arguments
    _worker_arguments = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops the pool


def _score_in_worker(group: list[int]) -> list[dict]:
    return _score_group(*_worker_arguments, group)


def _in_order(groups: list[list[int]], scored: dict[int, list[dict]], protocol: Protocol) -> list[dict]:
    if protocol.unit == "davis_object":  # one record per true object, not per row
        return [record for number in range(len(groups)) for record in scored[number]]
    by_index = {index: record for number, group in enumerate(groups) for index, record in zip(group, scored[number])}
    return [by_index[index] for index in range(len(by_index))]
