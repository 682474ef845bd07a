"""`glus-hf data check --dataset`: count and check what a dataset of objects holds."""

from __future__ import annotations

from pathlib import Path

import typer

from .output import echo, print_json, print_table


def check_objects(
    dataset: str, folder: Path | None, split: str, max_images: int | None, options: dict, as_json: bool
) -> None:
    """Print what was found; exit code 2 if there are errors."""
    from ..data.objects.check_objects import check_object_dataset

    report = check_object_dataset(dataset, folder, split, max_images, **options)
    if as_json:
        print_json({"dataset": dataset, "split": split, **report.to_dict()})
    else:
        print_table(["", dataset], [[kind.replace("_", " "), count] for kind, count in report.counts.items()])
        for error in report.errors:
            echo(f"error: {error}")
        echo(_verdict(report.num_errors, report.num_errors - len(report.errors)))
    if report.num_errors:
        raise typer.Exit(2)


def _verdict(num_errors: int, hidden: int) -> str:
    if not num_errors:
        return "OK"
    more = f", {hidden} of them not shown" if hidden else ""
    return f"Not usable: {num_errors} error{'' if num_errors == 1 else 's'}{more}"
