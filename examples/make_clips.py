"""Make a folder of own data (docs/own-data.md) whose clips look unlike those that the bundled model was trained on.

    python examples/make_clips.py clips

writes clips/train (48 videos) and clips/valid (16 other videos): shapes on a bright grainy ground, where the
bundled model knows a dark one. Frames and masks are PNGs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from glus_hf.data.motion_shapes import generate_clip


SPLITS = {"train": ("train", 48), "valid": ("validation", 16)}
SEED = 20


def draw_bright(clip, rng: np.random.Generator) -> np.ndarray:
    """The clip on a bright, grainy ground: `uint8 [T, H, W, 3]`. Its masks stay what they are."""
    scene, (length, size) = clip.scene, clip.frames.shape[:2]
    scene.background = rng.uniform(115, 150) + rng.uniform(-12, 12, 3)
    frames, _ = scene.render(np.linspace(0, 1, length), size)
    grain = rng.normal(0, 4, (length, size, size, 1))
    return np.clip(frames + grain, 0, 255).astype(np.uint8)


def write_images(folder: Path, images: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:05d}.png")


def write_clip(folder: Path, name: str, clip, frames: np.ndarray) -> list[dict]:
    """Frames and masks of a clip; returns its lines of expressions.jsonl."""
    write_images(folder / "videos" / name, frames)
    for index, masks in enumerate(clip.masks):
        write_images(folder / "masks" / name / str(index), masks.astype(np.uint8) * 255)
    objects = lambda expression: [{"id": str(at), "masks": f"masks/{name}/{at}"} for at in expression.object_ids]
    return [
        {"video": name, "expression": expression.text, "type": expression.kind, "objects": objects(expression)}
        for expression in clip.expressions
    ]


def make_split(folder: Path, split: str, num_videos: int, size: int = 64) -> None:
    rng = np.random.default_rng(SEED)
    lines = []
    for index in range(num_videos):
        clip = generate_clip(index, split=split, seed=SEED, size=size, num_frames=12)
        lines += write_clip(folder, f"clip{index:02d}", clip, draw_bright(clip, rng))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "expressions.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="new folder")
    folder = parser.parse_args().folder
    for name, (split, num_videos) in SPLITS.items():
        make_split(folder / name, split, num_videos)
    print(f"{folder}: {', '.join(f'{count} videos in {name}' for name, (_, count) in SPLITS.items())}")


if __name__ == "__main__":
    main()
