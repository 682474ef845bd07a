"""A file of YouTube-VIS annotations and its frames."""

import json

import numpy as np
from PIL import Image

from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.rle import encode_rle


CLIP = generate_clip(1, split="train", size=64, num_frames=4)


POLYGON = [10, 10, 30, 10, 30, 40, 10, 40]


def runs_of(masks, kind):
    """Masks in the two forms of COCO's run lengths."""
    if kind == "string":
        return [encode_rle(mask) if mask.any() else None for mask in masks]
    return [{"size": [64, 64], "counts": uncompressed(mask)} for mask in masks]


def uncompressed(mask):
    flat = np.concatenate([[0], mask.flatten("F").astype(int), [2]])
    changes = np.flatnonzero(np.diff(flat[1:])) + 1
    runs = np.diff(np.concatenate([[0], changes])).tolist()
    return runs if not mask[0, 0] else [0, *runs]


def youtube_vis(folder):
    """Two videos in the format of YouTube-VIS 2019, and one without annotations."""
    for video in ("a1", "b2", "c3"):
        (folder / "JPEGImages" / video).mkdir(parents=True)
        for index, frame in enumerate(CLIP.frames):
            Image.fromarray(frame).save(folder / "JPEGImages" / video / f"{5 * index:05d}.png")
    common = {"height": 64, "width": 64, "length": 4}
    content = {
        "info": {},
        "videos": [
            {"id": 1, "file_names": [f"a1/{5 * index:05d}.png" for index in range(4)], **common},
            {"id": 2, "file_names": [f"b2/{5 * index:05d}.png" for index in range(4)], **common},
            {"id": 3, "file_names": [f"c3/{5 * index:05d}.png" for index in range(4)], **common},
        ],
        "categories": [{"id": 1, "name": "giant_panda"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 11, "video_id": 1, "category_id": 1, "segmentations": runs_of(CLIP.masks[0], "string")},
            {"id": 12, "video_id": 1, "category_id": 1, "segmentations": runs_of(CLIP.masks[1], "list")},
            {"id": 13, "video_id": 1, "category_id": 2, "segmentations": [[POLYGON], None, [], [POLYGON, POLYGON]]},
            {
                "id": 14,
                "video_id": 2,
                "category_id": 2,
                "expression": ["the dog that Größe", "the first"],
                "segmentations": runs_of(CLIP.masks[0], "string"),
            },
            {"id": 15, "video_id": 2, "caption": "the first", "segmentations": runs_of(CLIP.masks[1], "string")},
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return content
