"""Average the records of expressions as a protocol says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from ...metrics.no_target import final_score, n_acc_t_acc


if TYPE_CHECKING:
    from .protocols import Protocol

_EXTRA_SCORES = ("A", "R", "tIoU", "vIoU")


def aggregate(records: Iterable[Mapping], protocol: Protocol) -> dict:
    """Totals of a benchmark.

    Args:
        records: of [`glus_hf.evaluation.scoring.score_expression.score_expression`], all made with `protocol`.
        protocol: how to average and round.

    Returns:
        `J`, `F`, `J&F` and the protocol's extras, as fractions, or percent where `scale` is 100; `by_type`, the same
        for each type of expression; `num_expressions` (those that count in `J&F`), `missing` (incomplete
        expressions), `missing_frames`, `missing_policy`, `protocol`, `scale`.

    Raises:
        ValueError: there is nothing to average.

    Example:
        >>> from glus_hf.evaluation.scoring.protocols import PROTOCOLS
        >>> record = {"expression_type": None, "J": 0.5, "F": 0.7, "J&F": 0.6, "missing_frames": 0}
        >>> totals = aggregate([record], PROTOCOLS["mevis"])
        >>> totals["J&F"], totals["num_expressions"]
        (0.6, 1)
    """
    records = list(records)
    complete = [record for record in records if record["J"] is not None]
    if records and not complete:
        raise UserError(f"none of the {len(records)} expressions has all its predicted masks; check their folder")
    counted = [record for record in complete if _counts(record, protocol)]
    if not counted:
        raise UserError(
            f"protocol {protocol.name}: none of the {len(records)} expressions can be scored; use a split with "
            "ground truth"
        )
    rank = {name: index for index, name in enumerate(protocol.type_order)}
    counted.sort(key=lambda record: rank.get(record["expression_type"], len(rank)))  # decides the last digit
    # DAVIS' annotators take the place of types: a mean each, then the mean of those
    groups = _grouped(complete, "annotator" if protocol.unit == "davis_object" else "expression_type")
    by_type = {name: _means(group, protocol) for name, group in groups.items()}
    averaged = protocol.averaged_types or (tuple(groups) if protocol.unit == "davis_object" else ())
    if averaged:
        totals = _mean_of_means([by_type[name] for name in averaged if name in by_type])
    else:
        totals = _means(counted, protocol)
    totals["num_expressions"] = len(counted)
    if "no_target" in protocol.extras:
        totals |= _no_target_scores(complete, totals["J&F"])
    incomplete = [record for record in records if record["missing_frames"]]
    return totals | {
        "protocol": protocol.name,
        "scale": protocol.scale,
        "missing": len(incomplete),
        "missing_frames": sum(record["missing_frames"] for record in incomplete),
        "missing_policy": protocol.missing,
        "by_type": by_type,
    }


def _counts(record: Mapping, protocol: Protocol) -> bool:
    if protocol.averaged_types and record["expression_type"] not in protocol.averaged_types:
        return False
    return not (protocol.j_and_f_without_no_target and not record["has_target"])


def _grouped(records: list[Mapping], key: str) -> dict[str, list[Mapping]]:
    groups: dict[str, list[Mapping]] = {}
    for record in records:
        if record[key] is not None:
            groups.setdefault(str(record[key]), []).append(record)
    return groups


def _means(records: list[Mapping], protocol: Protocol) -> dict[str, float]:
    names = ["J", "F", *(name for name in _EXTRA_SCORES if name in records[0])]
    means = {name: _mean([record[name] for record in records], protocol) for name in names}
    # J&F is the mean of the means; rounding comes last
    means = {"J": means["J"], "F": means["F"], "J&F": (means["J"] + means["F"]) / 2, **means}
    if protocol.rounding == "total":
        means = {name: round(100 * value, 2) for name, value in means.items()}
    return means | {"num_expressions": len(records)}


def _mean(values: Sequence[float], protocol: Protocol) -> float:
    if protocol.rounding == "expression":
        values = np.round(100 * np.array(values), 2)  # as in the original code; Python's round differs in some ties
    return float(np.mean(values))


def _mean_of_means(groups: list[dict]) -> dict[str, float]:
    return {name: float(np.mean([group[name] for group in groups])) for name in groups[0]}


def _no_target_scores(records: list[Mapping], j_and_f: float) -> dict[str, float | None]:
    accuracy = n_acc_t_acc([record["answered"] for record in records], [record["has_target"] for record in records])
    return accuracy | {"Final": final_score(j_and_f, accuracy["N-acc"], accuracy["T-acc"])}
