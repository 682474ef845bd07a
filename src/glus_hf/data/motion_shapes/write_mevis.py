"""Write MotionShapes clips as a folder in the layout of MeViS, for everything that reads MeViS."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from transformers.utils import logging

from ...atomic_write import atomic_path
from ...errors import UserError
from ...media.rle import encode_rle
from .clips import SPLITS, Clip, generate_clip


SPLIT_FOLDERS = {split: split for split in SPLITS} | {"validation": "valid_u"}


def write_mevis_layout(
    folder: str | Path,
    split: str = "validation",
    num_videos: int = 50,
    seed: int = 0,
    size: int = 128,
    num_frames: int | None = None,
) -> Path:
    """Generate clips of a MotionShapes split and write them as MeViS does.

    Args:
        folder: root; gets a folder of the split's name (`valid_u` for validation) with `JPEGImages/<video>/00000.jpg`,
            `meta_expressions.json` and `mask_dict.json` (compressed COCO RLE, `null` where an object is absent).
        split, seed, size, num_frames: see [`generate_clip`].
        num_videos: clips `0 .. num_videos - 1`.

    Returns:
        The folder of the split. Every expression also carries its `kind`.

    Example:

        >>> write_mevis_layout("shapes", "validation", num_videos=2)  # doctest: +SKIP
        PosixPath('shapes/valid_u')
    """
    if num_videos < 1:
        raise UserError(f"num_videos must be at least 1, got {num_videos}.")
    if split not in SPLIT_FOLDERS:
        raise UserError(f"there is no split {split!r} of MotionShapes; use one of {tuple(SPLIT_FOLDERS)}")
    root = Path(folder) / SPLIT_FOLDERS[split]
    videos, mask_dict = {}, {}
    for index in logging.tqdm(range(num_videos), desc=f"MotionShapes {split}"):
        clip = generate_clip(index, split=split, seed=seed, size=size, num_frames=num_frames)
        name = f"{split}_{seed}_{index:05d}"
        videos[name] = _video_entry(clip, index, first_anno_id=len(mask_dict))
        for masks in clip.masks:
            mask_dict[str(len(mask_dict))] = [encode_rle(mask) if mask.any() else None for mask in masks]
        _write_frames(root / "JPEGImages" / name, clip)
    for file, content in (("mask_dict.json", mask_dict), ("meta_expressions.json", {"videos": videos})):
        with atomic_path(root / file) as temporary:
            temporary.write_text(json.dumps(content))
    return root


def _video_entry(clip: Clip, index: int, first_anno_id: int) -> dict:
    expressions = {
        str(number): {
            "exp": expression.text,
            "obj_id": expression.object_ids,
            "anno_id": [first_anno_id + object_id for object_id in expression.object_ids],
            "kind": expression.kind,
        }
        for number, expression in enumerate(clip.expressions)
    }
    return {"expressions": expressions, "vid_id": index, "frames": [f"{t:05d}" for t in range(len(clip.frames))]}


def _write_frames(folder: Path, clip: Clip) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(folder / f"{index:05d}.jpg", quality=95, subsampling=0)
