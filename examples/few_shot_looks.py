"""Writes MotionShapes in looks that glee-tiny never saw, as three sets in the layout of ODinW, for few_shot.py.

    python examples/few_shot_looks.py --output data/looks
    python examples/few_shot.py --root data/looks --output runs/looks --iterations-scale 0.25 --augmentation none

`hollow`: shapes whose inside is grey. `stripes`: every second band of a shape is black. `night`: dark and noisy. The
names are those of the four shapes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from glus_hf.data.motion_shapes import SHAPES, generate_clip


GREY, BAND, RIM = 128, 3, 2  # value; pixels
CLIPS = {"train": "train", "valid": "validation", "test": "test"}  # by split, that of MotionShapes


def hollow(frame: np.ndarray, masks: np.ndarray, rng) -> np.ndarray:
    frame, kernel = frame.copy(), np.ones((2 * RIM + 1,) * 2, np.uint8)
    for mask in masks:
        frame[cv2.erode(mask.astype(np.uint8), kernel).astype(bool)] = GREY
    return frame


def stripes(frame: np.ndarray, masks: np.ndarray, rng) -> np.ndarray:
    bands = (np.arange(len(frame)) // BAND % 2).astype(bool)[:, None]
    return np.where((masks.any(0) & bands)[..., None], 0, frame).astype(np.uint8)


def night(frame: np.ndarray, masks: np.ndarray, rng) -> np.ndarray:
    return (frame * 0.25 + rng.normal(0, 10, frame.shape)).clip(0, 255).astype(np.uint8)


LOOKS = {"hollow": hollow, "stripes": stripes, "night": night}


def write_split(folder: Path, look: str, split: str, num_images: int, seed: int, size: int) -> None:
    """Random frames of clips, one each, and their boxes."""
    content = {"images": [], "annotations": []}
    content["categories"] = [{"id": number, "name": name} for number, name in enumerate(SHAPES, 1)]
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_images):
        clip = generate_clip(index, split=CLIPS[split], seed=seed, size=size)
        rng = np.random.default_rng([seed, index])
        time, name = int(rng.integers(len(clip.frames))), f"{index:05d}.png"
        Image.fromarray(LOOKS[look](clip.frames[time], clip.masks[:, time], rng)).save(folder / name)
        content["images"].append({"id": index, "file_name": name, "width": size, "height": size})
        for sprite, mask in zip(clip.scene.sprites, clip.masks[:, time], strict=True):
            if mask.any():
                box = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))).tolist()
                entry = {"id": len(content["annotations"]) + 1, "image_id": index, "bbox": box, "iscrowd": 0}
                entry |= {"category_id": SHAPES.index(sprite.shape) + 1, "area": box[2] * box[3]}
                content["annotations"].append(entry)
    (folder / "annotations_without_background.json").write_text(json.dumps(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--num-images", type=int, default=60, help="of train; valid has half and test twice as many")
    parser.add_argument("--seed", type=int, default=77, help="of the clips; glee-tiny was trained on others")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    numbers = {"train": options.num_images, "valid": options.num_images // 2, "test": 2 * options.num_images}
    for look in LOOKS:
        for split, number in numbers.items():
            write_split(options.output / look / split, look, split, max(number, 1), options.seed, options.size)


if __name__ == "__main__":
    main()
