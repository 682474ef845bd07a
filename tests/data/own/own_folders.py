"""Folders of own data (docs/own-data.md), good ones."""

import json

import numpy as np
from PIL import Image

from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.rle import encode_rle
from glus_hf.media.video import write_video


CLIP = generate_clip(0, split="train", size=64, num_frames=6)


def write_frames(folder, frames=CLIP.frames, names=None):
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{names[index] if names else f'{index:05d}'}.png")


def write_masks(folder, masks, only=None):
    folder.mkdir(parents=True)
    for index, mask in enumerate(masks):
        if only is None or index in only:
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{index:05d}.png")


def write_lines(folder, lines):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / "expressions.jsonl").write_text(text, encoding="utf-8")


def runs_of(masks):
    return [encode_rle(mask) if mask.any() else None for mask in masks]


def good_data(folder):
    """A folder of frames and a video file; masks as files and as run lengths; one, two and no objects."""
    write_frames(folder / "videos" / "clip1")
    write_video(folder / "videos" / "clip2.mp4", CLIP.frames, fps=8)
    write_masks(folder / "masks" / "clip1" / "0", CLIP.masks[0], only=(0, 1, 3, 4, 5))
    lines = [
        {"video": "clip1", "expression": "The first thing.", "masks": "masks/clip1/0"},
        {
            "video": "clip1",
            "expression": "the first again",
            "id": "again",
            "masks": "masks/clip1/0/",
            "type": "static",
        },
        {
            "video": "clip1",
            "expression": "both",
            "id": 70,
            "objects": [{"id": "one", "masks": "masks/clip1/0"}, {"masks": runs_of(CLIP.masks[1])}],
        },
        {"video": "clip2", "expression": "an elephant – ein Elefant", "objects": []},
        {"video": "clip2", "expression": "the first thing", "masks": runs_of(CLIP.masks[0])},
    ]
    write_lines(folder, lines)
    return folder


def overlapping_objects(folder):
    """One video, one expression about two objects that share some pixels in every frame."""
    write_frames(folder / "videos" / "clip")
    left, right = np.zeros((2, 64, 64), dtype=bool)
    left[10:30, 10:30] = right[20:40, 20:40] = True
    objects = [{"masks": runs_of([mask] * 6)} for mask in (left, right)]
    write_lines(folder, [{"video": "clip", "expression": "both squares", "objects": objects}])
    return folder
