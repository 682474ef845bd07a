"""Run by test_evaluator_kill.py in a process of its own: evaluations that are killed at random points.

    python -m tests.evaluation.evaluate_and_be_killed FOLDER SEED

Children are forked from a process that has loaded everything but computed nothing, so a start costs milliseconds and
kills land everywhere. Prints one JSON object: the seconds of an undisturbed run and the kills survived.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.evaluation.options import EvaluationOptions
from tests.evaluation.evaluation_data import shape_rows
from tests.models.glus.small_glus import small_model, small_processor


NUM_KILLS = 6


def main(folder: Path, seed: int) -> None:
    torch.set_num_threads(1)
    rng = random.Random(seed)
    model, processor = small_model(), small_processor()
    rows = list(shape_rows(folder / "cache", num_videos=3))

    def start(output: Path) -> int:
        child = os.fork()
        if child == 0:
            options = EvaluationOptions(texts_per_pass=3)
            try:
                evaluate_model(model, processor, rows, output, options=options)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        return child

    begin = time.monotonic()
    if os.waitpid(start(folder / "undisturbed"), 0)[1] != 0:
        sys.exit("the undisturbed run failed")
    seconds = time.monotonic() - begin
    kills = 0
    for _ in range(NUM_KILLS):
        child = start(folder / "killed")
        until = time.monotonic() + rng.uniform(0, seconds / 2)
        # never so late that nothing is left for the next run
        while time.monotonic() < until and count_lines(folder / "killed") < len(rows) - 3:
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if os.waitpid(start(folder / "killed"), 0)[1] != 0:
        sys.exit("the last run failed")
    print(json.dumps({"seconds": seconds, "kills": kills}))


def count_lines(output: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in output.glob(".glus_hf/rank-*.jsonl"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
