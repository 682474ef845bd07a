"""Evaluate a model from Python: MotionShapes needs no download. `glus-hf evaluate` does the same and more.

python examples/evaluate_dataset.py
torchrun --nproc_per_node 2 examples/evaluate_dataset.py
"""

from glus_hf import load_referring_dataset, pipeline
from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.evaluation.runs.distributed import Processes


def main(output: str = "outputs/example", num_videos: int = 4, **options) -> dict | None:
    """J, F and J&F on the first process, None on the others."""
    processes = Processes()
    pipe = pipeline(model="glus-tiny", device=processes.device)
    rows = load_referring_dataset("motion_shapes", split="test", seed=0, num_videos=num_videos, **options)
    report = evaluate_model(
        pipe.model,
        pipe.processor,
        rows,
        output,
        split="test",
        data_options={"seed": 0, **options},
        options=EvaluationOptions(texts_per_pass=8),
        processes=processes,
        progress=True,
    )
    processes.close()
    return None if report is None else {name: report.totals[name] for name in ("J", "F", "J&F")}


if __name__ == "__main__":
    totals = main()
    if totals is not None:
        print(totals)
