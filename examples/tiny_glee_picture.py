"""A picture of prompts and of the masks that GLEE answers, after Fig. 2 of the paper: points, boxes and lines.

    python examples/tiny_glee_picture.py --model runs/glee-tiny-prompts/glee-tiny --output prompts.png

Above the prompts on a held-out still of MotionShapes, below the masks of the model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from tiny_glee_ap import still
from tiny_glee_batches import LEAST_PIXELS
from tiny_glee_prompts import SIZE, prompts_of

from glus_hf import GLEEForVideoSegmentation, GLEEProcessor
from glus_hf.visualization import draw_objects, draw_overlay, save_image


KINDS = ("point", "box", "scribble")
SCALE, GAP = 3, 8


def draw_prompts(frame: np.ndarray, kind: str, prompts: dict) -> np.ndarray:
    """The frame, enlarged, with what a user marks."""
    if kind == "box":
        (boxes,) = prompts["input_boxes"]
        return draw_objects(frame, np.array(boxes, float), [""] * len(boxes), min_side=SCALE * SIZE)
    marks = prompts["segmentation_maps"][0] if kind == "scribble" else _dots(prompts["input_points"][0], frame.shape)
    thick = np.stack([cv2.dilate(mark.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0 for mark in marks])
    return draw_overlay(frame, thick, alpha=1.0, min_side=SCALE * SIZE)


def _dots(points: list, shape: tuple) -> np.ndarray:
    marks = np.zeros((len(points), *shape[:2]), bool)
    for mark, ((x, y),) in zip(marks, points, strict=True):
        mark[int(y), int(x)] = True
    return marks


@torch.no_grad()
def picture(model, processor, index: int, seed: int = 0) -> np.ndarray:
    """`[height, width, 3]`: a column for each kind of prompt."""
    frame, objects = still(index, "test", seed, SIZE)
    masks = np.stack([mask for _, mask in objects if mask.sum() >= LEAST_PIXELS])
    rng, columns = np.random.default_rng([seed, index]), []
    for kind in KINDS:
        prompts = prompts_of(rng, masks, kind)
        inputs = processor(frame, **prompts)
        (found,) = processor.post_process_prompts(model(**inputs), [frame.shape[:2]], inputs["prompt_images"])
        answer = draw_overlay(frame, found["masks"].numpy(), alpha=0.5, min_side=SCALE * SIZE)
        columns.append(np.concatenate([draw_prompts(frame, kind, prompts), _gap(answer, 0), answer]))
    return np.concatenate([part for each in columns for part in (each, _gap(each, 1))][:-1], axis=1)


def _gap(picture: np.ndarray, axis: int) -> np.ndarray:
    shape = list(picture.shape)
    shape[axis] = GAP
    return np.full(shape, 255, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a GLEE that takes prompts")
    parser.add_argument("--index", type=int, default=2, help="number of the still")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    model = GLEEForVideoSegmentation.from_pretrained(args.model).eval()
    save_image(args.output, picture(model, GLEEProcessor.from_pretrained(args.model), args.index))


if __name__ == "__main__":
    main()
