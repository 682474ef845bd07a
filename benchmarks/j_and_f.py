"""Speed of J and F beside the algorithm of the DAVIS evaluation, on masks like those of real videos.

    python benchmarks/j_and_f.py [--rounds 15] [--sizes 480x854 720x1280]

`Official` is that algorithm in the usual NumPy and OpenCV, written from its description: contours by shifting whole
frames, dilation of whole frames by a disk. `One pair` scores a prediction and a target that were never seen; `shared
target` is what evaluation does: four expressions with the same target. All three must agree to the last bit. One
thread and its CPU time, so that a busy machine matters little; the three take turns in every round.
"""

import argparse
import math
import platform
import time

import cv2
import numpy as np

from glus_hf.metrics.j_and_f import ScoredMask


NUM_FRAMES, NUM_EXPRESSIONS = 6, 4
KINDS = {  # share of the image's height that the object's mean radius takes, number of objects
    "small object": (0.06, 1),
    "object": (0.15, 1),
    "large object": (0.35, 1),
    "four objects": (0.1, 4),
}


def official_contour(mask: np.ndarray) -> np.ndarray:
    right, below, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    contour = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    contour[-1] = mask[-1] ^ right[-1]
    contour[:, -1] = mask[:, -1] ^ below[:, -1]
    contour[-1, -1] = False
    return contour


def official_scores(prediction: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    union = np.sum(prediction | target)
    j = np.sum(prediction & target) / union if union else 1.0
    radius = math.ceil(0.008 * np.linalg.norm(target.shape))
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    contours = [official_contour(mask) for mask in (prediction, target)]
    near_prediction, near_target = (cv2.dilate(contour.astype(np.uint8), disk) for contour in contours)
    lengths = [np.sum(contour) for contour in contours]
    if not all(lengths):
        return j, float(lengths[0] == lengths[1])
    precision = np.sum(contours[0] * near_target) / lengths[0]
    recall = np.sum(contours[1] * near_prediction) / lengths[1]
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def blob(size: tuple[int, int], centre, radius: float, random: np.random.Generator) -> np.ndarray:
    """A region with a wavy outline."""
    y, x = (axis - middle for axis, middle in zip(np.ogrid[: size[0], : size[1]], centre))
    outline = sum(np.sin(k * np.arctan2(y, x) + random.uniform(0, 6)) / k for k in range(2, 9))
    return y**2 + x**2 <= (radius * (1 + 0.2 * outline)) ** 2


def clip(size: tuple[int, int], kind: str, seed: int) -> tuple[list, list[list]]:
    """Targets `[frames]` and predictions `[frames][expressions]`: moving objects, and nearly their outlines."""
    random = np.random.default_rng(seed)
    share, count = KINDS[kind]
    centres = [[random.uniform(0.3, 0.7) * side for side in size] for _ in range(count)]
    targets, predictions = [], []
    for frame in range(NUM_FRAMES):
        moved = [[y, x + 5 * frame] for y, x in centres]
        shape_seed = int(random.integers(1 << 30))

        def paint(shift: float, growth: float, seed=shape_seed, moved=moved) -> np.ndarray:
            shapes = np.random.default_rng(seed)  # the same outlines, moved and grown a little
            return np.any(
                [blob(size, (y + shift, x - shift), growth * share * size[0], shapes) for y, x in moved], axis=0
            )

        targets.append(paint(0, 1))
        predictions.append([paint(random.normal(0, 4), random.normal(1, 0.04)) for _ in range(NUM_EXPRESSIONS)])
    return targets, predictions


def run_official(targets, predictions) -> list:
    return [official_scores(prediction, target) for target, row in zip(targets, predictions) for prediction in row]


def run_pairs(targets, predictions) -> list:
    return [
        ScoredMask(prediction).j_and_f(ScoredMask(target))
        for target, row in zip(targets, predictions)
        for prediction in row
    ]


def run_shared(targets, predictions) -> list:
    scores = []
    for target, row in zip(targets, predictions):
        prepared = ScoredMask(target)
        scores += [ScoredMask(prediction).j_and_f(prepared) for prediction in row]
    return scores


def measure(size: tuple[int, int], kind: str, rounds: int) -> list[str]:
    """One row of the table."""
    data = clip(size, kind, seed=0)
    ways = (run_official, run_pairs, run_shared)
    results = [way(*data) for way in ways]  # also the warm-up
    if not results[0] == results[1] == results[2]:
        raise SystemExit(f"{kind} at {size}: the scores differ")
    seconds = np.empty((rounds, len(ways)))
    for index in range(rounds):
        for column, way in enumerate(ways):
            start = time.process_time()
            way(*data)
            seconds[index, column] = time.process_time() - start
    milliseconds = 1000 * np.median(seconds, axis=0) / (NUM_FRAMES * NUM_EXPRESSIONS)
    ratios = [seconds[:, 0] / seconds[:, column] for column in (1, 2)]
    spread = [f"{np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f})" for ratio in ratios]
    share = np.mean(data[0])
    name = f"{size[0]}x{size[1]}"
    return [name, f"{kind}, {share:.1%}", *(f"{value:.2f}" for value in milliseconds), *spread]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", nargs="+", default=["480x854", "720x1280"], metavar="HEIGHTxWIDTH")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}"
    header = ["frame", "masks, share of pixels", "official ms", "one pair ms", "shared target ms"]
    header += ["official / one pair", "official / shared target"]
    print("|" + "|".join(f" {cell} " for cell in header) + "|")
    print("|" + " --- |" * len(header))
    for text in arguments.sizes:
        size = tuple(int(side) for side in text.split("x"))
        for kind in KINDS:
            print("|" + "|".join(f" {cell} " for cell in measure(size, kind, arguments.rounds)) + "|", flush=True)
    rounds = f"median of {arguments.rounds} rounds (lowest to highest ratio)"
    print(f"\nCPU time per frame and expression; {rounds}. {versions}.")


if __name__ == "__main__":
    main()
