"""The bundled glee-tiny finds what a sentence or a name means, on clips that it was not trained on."""

import numpy as np
import pytest
import torch
from PIL import Image

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.metrics.j_and_f import j_and_f


@pytest.fixture(scope="module")
def segment():
    return glus_hf.pipeline("referring-video-segmentation", model="glee-tiny", device="cpu")


def static_pairs(num_clips, num_frames):
    """Clips of the test split with their sentences about looks."""
    for index in range(num_clips):
        clip = generate_clip(index, split="test", num_frames=num_frames)
        yield clip, [expression for expression in clip.expressions if expression.kind == "static"]


def test_sentences_about_looks_find_their_shapes(segment):
    scores = []
    for clip, expressions in static_pairs(num_clips=4, num_frames=4):
        results = segment(clip.frames, [expression.text for expression in expressions], progress=False)
        for expression, result in zip(expressions, results, strict=True):
            scores.append(j_and_f(result["masks"], clip.target_masks(expression))["j_and_f"])
    assert len(scores) >= 6 and np.mean(scores) > 0.7


def overlap(box, mask):
    """IoU of a found box and the box of a mask."""
    rows, columns = np.nonzero(mask)
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    width = max(min(box["xmax"], x1) - max(box["xmin"], x0), 0)
    height = max(min(box["ymax"], y1) - max(box["ymin"], y0), 0)
    area = (box["xmax"] - box["xmin"]) * (box["ymax"] - box["ymin"]) + (x1 - x0) * (y1 - y0)
    return width * height / (area - width * height)


def test_names_find_their_shapes():
    detect = glus_hf.pipeline("zero-shot-object-detection", model="glee-tiny", device="cpu")
    found, total = 0, 0
    for index in range(12):
        clip = generate_clip(index, split="test", num_frames=1)
        names = sorted({sprite.shape for sprite in clip.scene.sprites})
        objects = detect(Image.fromarray(clip.frames[0]), candidate_labels=names, threshold=0.1)
        for sprite, mask in zip(clip.scene.sprites, clip.masks[:, 0], strict=True):
            if mask.sum() > 100:
                total += 1
                own = [each for each in objects if each["label"] == sprite.shape]
                found += any(overlap(each["box"], mask) > 0.5 for each in own)
    assert total > 30 and found / total > 0.8


def test_it_is_a_plain_checkpoint():
    model = glus_hf.GLEEForVideoSegmentation.from_pretrained("glee-tiny")
    assert model.dtype == torch.float32 and model.config.text_teacher is False
    assert sum(parameter.numel() for parameter in model.parameters()) < 2.5e6
