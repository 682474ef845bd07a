"""J&F on MotionShapes by kind of expression: GLUS reads every frame, or plain SAM-2 carries its mask of one frame.

    python examples/propagation_table.py --sam2-model runs/tiny-sam2 --num-videos 100 --seed 0

The last row starts SAM-2 with the true mask on the first frame that shows the target: what a perfect key frame gives.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import torch
from transformers.utils import logging

import glus_hf
from glus_hf.data.motion_shapes import KINDS, Clip, generate_clip
from glus_hf.inference.sam2_propagation import Sam2Propagation, load_sam2
from glus_hf.metrics.j_and_f import j_and_f
from glus_hf.models.sessions import VideoSegmentationOutput, VideoSession


Segment = Callable[[Clip], np.ndarray]  # masks of the expressions of a clip, bool [expressions, T, H, W]


class TrueMasks:
    """Stands where a model would: its masks are the true ones, `bool [expressions, T, H, W]`."""

    def __init__(self, masks: np.ndarray):
        self.masks = torch.from_numpy(masks)

    def propagate_in_video_iterator(self, session, key_frame, batch_size=None):
        logits = torch.where(self.masks[:, key_frame], 1.0, -1.0)
        yield VideoSegmentationOutput(frame_idx=key_frame, mask_logits=logits, scores=torch.ones(len(logits)))


def true_masks(clip: Clip) -> np.ndarray:
    return np.stack([clip.target_masks(expression) for expression in clip.expressions])


def carry_true_masks(sam2, clip: Clip) -> np.ndarray:
    """SAM-2 from the true mask on the first frame that shows the target."""
    truth = true_masks(clip)
    texts = [expression.text for expression in clip.expressions]
    starts = truth.any((2, 3)).argmax(1).tolist()
    found = np.zeros_like(truth)
    model = Sam2Propagation(TrueMasks(truth), sam2)
    for output in model.propagate_in_video_iterator(VideoSession(clip.frames, texts), key_frame=starts):
        found[output.text_indices, output.frame_idx] = (output.mask_logits > 0).numpy()
    return found


def with_pipeline(pipe, clip: Clip, key_frame: int | None) -> np.ndarray:
    texts = [expression.text for expression in clip.expressions]
    results = pipe(clip.frames, texts, progress=False, key_frame=key_frame)
    return np.stack([result["masks"] for result in results])


def ways(name: str, sam2) -> dict[str, Segment]:
    """What each row of the table does."""
    own, carried = glus_hf.pipeline(model=name), glus_hf.pipeline(model=name)
    carried.model = Sam2Propagation(carried.model, sam2)
    return {
        f"{name}": lambda clip: with_pipeline(own, clip, None),
        f"{name} on the first frame, then SAM-2": lambda clip: with_pipeline(carried, clip, 0),
        f"{name} on the middle frame, then SAM-2": lambda clip: with_pipeline(carried, clip, len(clip.frames) // 2),
        "true mask on one frame, then SAM-2": lambda clip: carry_true_masks(sam2, clip),
    }


def measure(rows: dict[str, Segment], split: str, num_videos: int, seed: int, size: int) -> dict:
    """J&F (percent) by row and kind, `all` of them, and how many expressions there are."""
    scores: dict[str, dict[str, list[float]]] = {row: {kind: [] for kind in KINDS} for row in rows}
    for index in logging.tqdm(range(num_videos), desc=f"{num_videos} clips of {split}"):
        clip = generate_clip(index, split=split, seed=seed, size=size)
        for row, segment in rows.items() if clip.expressions else ():
            for expression, masks in zip(clip.expressions, segment(clip), strict=True):
                score = j_and_f(masks, clip.target_masks(expression))["j_and_f"]
                scores[row][expression.kind].append(100 * score)
    kinds = {kind: len(values) for kind, values in next(iter(scores.values())).items() if values}
    table = {row: {kind: float(np.mean(own[kind])) for kind in kinds} for row, own in scores.items()}
    for row, own in scores.items():
        table[row]["all"] = float(np.mean([value for values in own.values() for value in values]))
    return {"table": table, "counts": {**kinds, "all": sum(kinds.values())}, "split": split, "seed": seed}


def markdown(result: dict) -> str:
    counts = result["counts"]
    lines = ["| J&F | " + " | ".join(counts) + " |", "|" + " --- |" * (len(counts) + 1)]
    lines.append("| expressions | " + " | ".join(str(count) for count in counts.values()) + " |")
    for row, own in result["table"].items():
        lines.append(f"| {row} | " + " | ".join(f"{own[kind]:.1f}" for kind in counts) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sam2-model", required=True, help="folder of train_tiny_sam2.py")
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--split", default="test", choices=["validation", "test", "test_held_out", "occlusion"])
    parser.add_argument("--num-videos", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=128, help="side of the frames in pixels")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = ways(args.model, load_sam2(args.sam2_model))
    result = measure(rows, args.split, args.num_videos, args.seed, args.size)
    print(markdown(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
