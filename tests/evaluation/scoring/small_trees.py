"""Rows and trees of predictions, made from numbers."""

import numpy as np

from glus_hf.media.rle import encode_rle
from glus_hf.predictions.prediction_tree import write_expression


def make_rows(num_videos=2, num_expressions=3, frames=("00000", "00005", "00010"), size=(20, 70)):
    rows = []
    for video in range(num_videos):
        for expression in range(num_expressions):
            masks = np.zeros((len(frames), *size), dtype=bool)
            for index, mask in enumerate(masks[:-1]):  # absent in the last frame
                mask[3 : 10 + video, 5 + index : 20 + 9 * (expression // 2)] = True
            rows.append(
                {
                    "dataset": "own",
                    "video_id": f"v/{video}",
                    "expression_id": str(expression),
                    "expression": f"the thing {expression}",
                    "expression_type": ("static", "dynamic")[expression % 2],
                    "frames": list(frames),
                    "height": size[0],
                    "width": size[1],
                    "object_ids": [str(expression // 2)],
                    "annotation_ids": [],
                    "masks": [encode_rle(mask) if mask.any() else None for mask in masks],
                    "object_masks": None,
                    "foreground": None,
                }
            )
    return rows


def write_tree(root, rows):
    random = np.random.default_rng(0)
    for row in rows:
        masks = random.random((len(row["frames"]), row["height"], row["width"])) < 0.3
        masks[:, :12, :25] = True
        write_expression(root, row, masks)


def make_tree(root, **options):
    rows = make_rows(**options)
    write_tree(root, rows)
    return rows
