"""The bundled glee-tiny finds what an expression, a name or a prompt means, on clips that it was not trained on."""

import cv2
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
    """Clips of the test split with their expressions about looks."""
    for index in range(num_clips):
        clip = generate_clip(index, split="test", num_frames=num_frames)
        yield clip, [expression for expression in clip.expressions if expression.kind == "static"]


def test_expressions_about_looks_find_their_shapes(segment):
    scores = []
    for clip, expressions in static_pairs(num_clips=4, num_frames=4):
        results = segment(clip.frames, [expression.text for expression in expressions], progress=False)
        for expression, result in zip(expressions, results, strict=True):
            scores.append(j_and_f(result["masks"], clip.target_masks(expression))["j_and_f"])
    assert len(scores) >= 6 and np.mean(scores) > 0.7


def overlap(box, mask):
    """IoU of a found box and the box of a mask."""
    x0, y0, x1, y1 = box_of(mask)
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


def visible_objects(index):
    """The first frame of a test clip, and the masks `bool [objects, H, W]` of what can be seen well."""
    clip = generate_clip(index, split="test", num_frames=6)
    return clip, np.stack([mask for mask in clip.masks[:, 0] if mask.sum() > 100])


@pytest.mark.parametrize(("kind", "least"), [("input_points", 0.7), ("input_boxes", 0.8), ("segmentation_maps", 0.8)])
def test_prompts_find_their_objects(kind, least):
    segment_objects = glus_hf.pipeline("mask-generation", model="glee-tiny", device="cpu")
    scores = []
    for index in range(6):
        clip, masks = visible_objects(index)
        prompts = {
            "input_points": [[middle(mask)] for mask in masks],
            "input_boxes": [box_of(mask) for mask in masks],
            "segmentation_maps": list(masks),
        }
        found = segment_objects(Image.fromarray(clip.frames[0]), **{kind: prompts[kind]})["masks"]
        scores += [(one & other).sum() / (one | other).sum() for one, other in zip(np.asarray(found), masks)]
    assert len(scores) > 15 and np.mean(scores) > least


def middle(mask):
    """`[x, y]` of the pixel that lies deepest in the mask."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), mask.shape)
    return [int(x), int(y)]


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_objects_are_followed_from_their_masks():
    model, processor = (
        glus_hf.GLEEForVideoSegmentation.from_pretrained("glee-tiny"),
        glus_hf.GLEEProcessor.from_pretrained("glee-tiny"),
    )
    scores = []
    for index in range(4):
        clip, masks = visible_objects(index)
        truth = clip.masks[[mask.sum() > 100 for mask in clip.masks[:, 0]]]
        session = processor.init_video_session(list(clip.frames))
        for number, mask in enumerate(masks, start=1):
            session.add_prompt(0, number, mask=mask)
        found = np.stack([(each.mask_logits > 0).numpy() for each in model.propagate_in_video_iterator(session)], 1)
        scores += [j_and_f(own[1:-1], true[1:-1])["j_and_f"] for own, true in zip(found, truth, strict=True)]
    assert np.mean(scores) > 0.75


def test_it_is_a_plain_checkpoint():
    model = glus_hf.GLEEForVideoSegmentation.from_pretrained("glee-tiny")
    assert model.dtype == torch.float32 and model.config.text_teacher is False
    assert sum(parameter.numel() for parameter in model.parameters()) < 2.5e6
