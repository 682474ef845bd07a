"""Run by test_pseudo_label_processes.py under torchrun: labels, and an evaluation from a selector's key frames.

torchrun --nproc_per_node 2 -m tests.training.label_in_processes FOLDER
"""

import json
import sys
from pathlib import Path

import torch

from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.evaluation.runs.distributed import Processes
from glus_hf.inference.frame_selector import FrameSelector
from glus_hf.training.samples.pseudo_labels import make_pseudo_labels
from tests.evaluation.evaluation_data import shape_rows
from tests.models.glus.small_glus import small_model, small_processor
from tests.models.glus_selector.small_selector import small_selector


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rows = list(shape_rows(folder / "cache", num_videos=4))
    processes = Processes(cpu=True, timeout_minutes=0.5)
    model, processor = small_model(), small_processor()
    options = EvaluationOptions(texts_per_pass=2)
    common = {"options": options, "processes": processes}
    labels = make_pseudo_labels(model, processor, rows, folder / "labels", empty="skip", **common)
    selector = FrameSelector(*small_selector(), "small")
    report = evaluate_model(model, processor, rows, folder / "preds", selector=selector, **common)
    if report is not None:
        labels = {**labels.to_dict(), "output": ""}
        print(json.dumps({"labels": labels, "records": report.records, "totals": report.totals}))
    processes.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
