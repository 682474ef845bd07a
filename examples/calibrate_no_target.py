"""Pick the threshold below which an expression fits nothing, on validation; report N-acc and T-acc, there and on test.

    common="--dataset motion_shapes --selector my-selector --protocol mevis_v2"
    glus-hf evaluate $common --split validation --num-videos 100 --output outputs/validation
    glus-hf evaluate $common --split test --num-videos 100 --output outputs/test
    python examples/calibrate_no_target.py outputs/validation --test outputs/test

Both folders are evaluations with --selector and without --no-target-threshold. The threshold is for
`--no-target-threshold` of `glus-hf segment` and `glus-hf evaluate`, with the same two models.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from glus_hf.metrics.no_target import calibrate_threshold, n_acc_t_acc


NEEDED = ("confidence", "answered", "has_target")


def read_results(folder: Path) -> list[dict]:
    """Records of an evaluation with a selector.

    Raises:
        ValueError: no results, or of an evaluation of another kind; one line.
    """
    path = folder / "results.jsonl"
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); run glus-hf evaluate first") from None
    records = [record for record in records if "error" not in record]
    if not all(name in record for record in records for name in NEEDED):
        raise ValueError(f"{path}: evaluate with --selector and --protocol mevis_v2")
    if any(record["no_target"] for record in records):
        raise ValueError(f"{path}: evaluate without --no-target-threshold")
    return records


def accuracies(records: list[dict], threshold: float) -> dict[str, float | None]:
    """N-acc and T-acc with a threshold."""
    answered = [record["answered"] and record["confidence"] >= threshold for record in records]
    return n_acc_t_acc(answered, [record["has_target"] for record in records])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("validation", type=Path, help="folder of an evaluation with --selector")
    parser.add_argument("--test", type=Path, help="another one, to report on")
    args = parser.parse_args()
    try:
        folders = {"validation": args.validation} | ({"test": args.test} if args.test else {})
        records = {name: read_results(folder) for name, folder in folders.items()}
        columns = ([record[name] for record in records["validation"]] for name in NEEDED)
        found = calibrate_threshold(*columns)
    except ValueError as error:
        sys.exit(f"error: {error}")
    threshold = found["threshold"]
    result = {"threshold": threshold}
    print(f"threshold {threshold:.4f}\n\n| | expressions | N-acc | T-acc | N-acc with it | T-acc with it |")
    print("|" + " --- |" * 6)
    for name, rows in records.items():
        before, after = accuracies(rows, 0.0), accuracies(rows, threshold)
        numbers = [before["N-acc"], before["T-acc"], after["N-acc"], after["T-acc"]]
        cells = " | ".join("-" if number is None else f"{100 * number:.1f}" for number in numbers)
        print(f"| {name} | {len(rows)} | {cells} |")
        result[name] = {"before": before, "after": after}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
