"""A video of odd size and masks that formats stumble over: holes, parts, single pixels, full frames, absences."""

import numpy as np
from PIL import Image

from glus_hf.predictions.exports.video_masks import masks_of_results


FRAMES, HEIGHT, WIDTH = 5, 37, 53
LABELS = ["the ring", "der Hund, der bellt 犬", "the <small> & quiet one", "nothing at all"]


def apart_masks():
    """`[4, 5, 37, 53]`: no pixel is in two masks. The last expression has none."""
    masks = np.zeros((4, FRAMES, HEIGHT, WIDTH), dtype=bool)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for frame in range(FRAMES):
        distance = np.hypot(rows - 15, columns - 15 - frame)
        masks[0, frame] = (distance < 12) & (distance > 5)  # a hole
        masks[1, frame, 30:37, 40:53] = True  # touches the corner
        masks[1, frame, 31 + frame % 2 : 34, 2:9] = True  # a second part
    masks[2, 0, 0, 0] = masks[2, 1, 0, 51:53] = True  # one pixel, two pixels
    masks[2, 4] = ~masks[:2, 4].any(axis=0)
    masks[1, 2] = False  # absent in the middle
    return masks


def overlapping_masks():
    masks = apart_masks()
    masks[2, 3, 5:20, 5:30] = True
    masks[0, 1] = True  # a full frame
    return masks


def frames():
    generator = np.random.default_rng(0)
    return list(generator.integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8))


def results_of(masks):
    scores = np.linspace(0.5, 0.9, FRAMES, dtype=np.float32)
    return [{"label": label, "masks": mask, "scores": scores} for label, mask in zip(LABELS, masks, strict=False)]


def video_of(masks, video="clips/one", **options):
    return masks_of_results(results_of(masks), video, fps=8.0, **{"frames": frames(), **options})


def write_video_folder(folder):
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames()):
        Image.fromarray(frame).save(folder / f"{index:05d}.png")
    return folder
