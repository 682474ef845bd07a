"""Run by test_evaluator_processes.py: one evaluation by several processes.

    torchrun --nproc_per_node 2 -m tests.evaluation.evaluate_in_processes FOLDER [MODE]

MODE "apart" gives every process a folder of its own, as on machines without a common disk; "broken" lets one video
fail; "dies" lets the second process end without a word. The first process prints the report as JSON.
"""

import json
import os
import sys
from pathlib import Path

import torch

from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.evaluation.runs.distributed import Processes
from tests.evaluation.evaluation_data import shape_rows
from tests.models.glus.small_glus import small_model, small_processor


def main(folder: Path, mode: str) -> None:
    torch.set_num_threads(1)
    rows = list(shape_rows(folder / "cache", num_videos=4))
    processes = Processes(cpu=True, timeout_minutes=0.5)
    output = folder / (f"apart-{processes.rank}" if mode == "apart" else mode)
    options = EvaluationOptions(texts_per_pass=2, on_error="skip" if mode == "broken" else "raise")
    if mode == "broken":
        rows[0] = {**rows[0], "expression": " "}
    if mode == "dies" and processes.rank == 1:
        os._exit(0)
    try:
        report = evaluate_model(small_model(), small_processor(), rows, output, options=options, processes=processes)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        os._exit(2)  # do not wait for the others
    if report is not None:
        print(json.dumps({"records": report.records, "totals": report.totals, "counts": report.counts}))
    processes.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "together")
