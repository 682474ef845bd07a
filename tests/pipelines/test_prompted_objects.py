"""Masks by points, boxes and maps through transformers' task."""

import numpy as np
import pytest
import torch
from PIL import Image

import glus_hf
from glus_hf import UserError
from glus_hf.pipelines.prompted_objects import AT_ONCE, PromptedObjectsPipeline
from tests.models.glee.small_glee import small_model, small_processor


IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
POINTS, BOX = [[[30, 20]], [[5, 6], [9, 6]]], [[10, 5, 40, 30]]
MAP = np.zeros((1, 40, 60), bool)
MAP[:, 5:30, 10:40] = True


@pytest.fixture(scope="module")
def pipe():
    model, processor = small_model(seed=2), small_processor()
    return glus_hf.pipeline("mask-generation", model=model, processor=processor, device="cpu")


def direct(pipe, score_source="confidence", **prompts):
    inputs = pipe.processor(IMAGE, **{name: [each] for name, each in prompts.items()})
    with torch.no_grad():
        outputs = pipe.model(**inputs)
    (found,) = pipe.processor.post_process_prompts(outputs, [(40, 60)], inputs["prompt_images"], score_source)
    return found


def test_results_are_those_of_the_model(pipe):
    assert type(pipe) is PromptedObjectsPipeline
    found = pipe(IMAGE, input_points=POINTS, input_boxes=BOX, segmentation_maps=MAP)
    parts = [direct(pipe, input_points=POINTS), direct(pipe, input_boxes=BOX), direct(pipe, segmentation_maps=MAP)]
    assert found["masks"].shape == (4, 40, 60) and found["masks"].dtype == bool
    np.testing.assert_array_equal(found["masks"], torch.cat([part["masks"] for part in parts]).numpy())
    assert found["scores"] == pytest.approx(torch.cat([part["scores"] for part in parts]).tolist(), abs=1e-5)
    np.testing.assert_allclose(found["boxes"], torch.cat([part["boxes"] for part in parts]).numpy(), atol=1e-3)


def test_options_reach_the_model(pipe):
    by_text = pipe(IMAGE, input_boxes=BOX, score_source="text")
    assert by_text["scores"] == pytest.approx(direct(pipe, "text", input_boxes=BOX)["scores"].tolist(), abs=1e-5)
    assert by_text["scores"] != pipe(IMAGE, input_boxes=BOX)["scores"]
    drawn = pipe(IMAGE, segmentation_maps=MAP, is_scribble=True)
    assert drawn["scores"] != pipe(IMAGE, segmentation_maps=MAP)["scores"]


def test_many_prompts_are_answered_in_parts(pipe):
    many = [[[column, row]] for row in (5, 15, 25) for column in range(4, 60, 8)]
    assert len(many) > 2 * AT_ONCE
    found, alone = pipe(IMAGE, input_points=many), pipe(IMAGE, input_points=many[-1:])
    assert len(found["scores"]) == len(many)
    assert found["scores"][-1] == pytest.approx(alone["scores"][0], abs=1e-5)


def test_what_is_refused(pipe):
    with pytest.raises(UserError, match="pass prompts"):
        pipe(IMAGE)
    with pytest.raises(UserError, match="unknown argument points"):
        pipe(IMAGE, points=POINTS)
    with pytest.raises(UserError, match="marks nothing"):
        pipe(IMAGE, input_points=[[[300, 20]]])
    with pytest.raises(UserError, match="does not take points"):
        glus_hf.pipeline("mask-generation", model="glus-tiny")
    model = small_model(visual_prompter=None)
    mute = glus_hf.pipeline("mask-generation", model=model, processor=small_processor(), device="cpu")
    with pytest.raises(UserError, match="takes no visual prompts"):
        mute(IMAGE, input_points=POINTS)
