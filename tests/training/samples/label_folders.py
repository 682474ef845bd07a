"""Folders of pseudo-labels."""

import json


def write_labels(folder, rows, label):
    """`label(row, frame number)` for every frame; a row for which it gives "none" has no file."""
    for row in rows:
        labels = [label(row, frame) for frame in range(len(row["frames"]))]
        if "none" not in labels:
            path = folder / row["dataset"] / row["video_id"] / f"{row['expression_id']}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(labels))
