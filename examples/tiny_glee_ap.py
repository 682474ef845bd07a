"""Average precision of objects found by names on held-out MotionShapes stills, with COCO's own evaluation.

    python examples/tiny_glee_ap.py --model glee-tiny --num-images 200 --seed 0

A still is a random frame of a clip. Names are the four shapes, or the 24 pairs of colour and shape; every visible
object counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json

import numpy as np
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from glus_hf import GLEEForVideoSegmentation, GLEEProcessor
from glus_hf.data.motion_shapes import COLORS, SHAPES, generate_clip


NAMES = {"shapes": list(SHAPES), "pairs": [f"{color} {shape}" for color in COLORS for shape in SHAPES]}
MEASURES = ("AP", "AP50", "AP75")


def still(index: int, split: str, seed: int, size: int, first: bool = False) -> tuple[np.ndarray, list]:
    """A frame, at random or the first, and its sprites with their visible masks."""
    clip = generate_clip(index, split=split, seed=seed, size=size)
    frame = 0 if first else int(np.random.default_rng([seed, index]).integers(len(clip.frames)))
    pairs = zip(clip.scene.sprites, clip.masks[:, frame], strict=True)
    return clip.frames[frame], [(sprite, mask) for sprite, mask in pairs if mask.any()]


def name_of(sprite, kind: str) -> str:
    return sprite.shape if kind == "shapes" else f"{sprite.color} {sprite.shape}"


def encode(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def annotations_of(image: int, objects: list, kind: str) -> list[dict]:
    found = []
    for sprite, mask in objects:
        rle = encode(mask)
        box, area = coco_mask.toBbox(rle).tolist(), int(mask.sum())
        category = NAMES[kind].index(name_of(sprite, kind))
        found.append({"image_id": image, "category_id": category, "segmentation": rle, "bbox": box, "area": area})
    return found


@torch.no_grad()
def results_of(image: int, frame: np.ndarray, model, processor, names: list[str]) -> list[dict]:
    outputs = model(**processor(frame, names))
    (objects,) = processor.post_process_instance_segmentation(outputs, [frame.shape[:2]])
    results = []
    for score, label, (x0, y0, x1, y1), mask in zip(*(objects[key].numpy() for key in objects), strict=True):
        result = {"image_id": image, "category_id": int(label), "score": float(score), "segmentation": encode(mask)}
        results.append({**result, "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]})
    return results


def evaluate(model, processor, kind: str, num_images: int, split="test", seed=0, size=128, first=False) -> dict:
    """AP, AP50 and AP75 in percent, of boxes and of masks."""
    annotations, results = [], []
    for image in range(num_images):
        frame, objects = still(image, split, seed, size, first)
        annotations += annotations_of(image, objects, kind)
        results += results_of(image, frame, model, processor, NAMES[kind])
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image, "height": size, "width": size} for image in range(num_images)],
        "annotations": [{"id": number + 1, "iscrowd": 0, **each} for number, each in enumerate(annotations)],
        "categories": [{"id": index} for index in range(len(NAMES[kind]))],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes(results)
        report = {"names": kind, "images": num_images, "objects": len(annotations), "seed": seed}
        for measured, name in (("bbox", "box"), ("segm", "mask")):
            evaluation = COCOeval(truth, found, measured)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            report |= {f"{name} {m}": 100 * float(v) for m, v in zip(MEASURES, evaluation.stats, strict=False)}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glee-tiny")
    parser.add_argument("--num-images", type=int, default=200)
    parser.add_argument("--split", default="test", choices=["validation", "test", "test_held_out"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    args = parser.parse_args()
    model = GLEEForVideoSegmentation.from_pretrained(args.model).eval()
    processor = GLEEProcessor.from_pretrained(args.model)
    for kind in NAMES:
        print(json.dumps(evaluate(model, processor, kind, args.num_images, args.split, args.seed, args.size)))


if __name__ == "__main__":
    main()
