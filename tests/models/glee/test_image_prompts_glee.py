"""Points, boxes and masks of images: where they lie, what is refused, and the objects that come out."""

import numpy as np
import pytest
import torch

from glus_hf import UserError
from tests.models.common import assert_same
from tests.models.glee.small_glee import small_model, small_processor


IMAGE = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)  # 64 x 96 for the model


@pytest.fixture(scope="module")
def processor():
    return small_processor()


def bounds(mask):
    rows, columns = mask.nonzero().T
    return rows.min().item(), rows.max().item() + 1, columns.min().item(), columns.max().item() + 1


def test_a_point_is_a_small_rectangle(processor):
    batch = processor(IMAGE, input_points=[[[[30, 20]]]], input_labels=[[[1]]])
    assert batch["prompt_masks"].shape == (1, 64, 96) and batch["prompt_kinds"] == ["point"]
    assert bounds(batch["prompt_masks"][0]) == (31, 33, 46, 50)  # 64 // 40 and 96 // 40 to every side


def test_several_points_are_a_scribble(processor):
    batch = processor(IMAGE, input_points=torch.tensor([[[[10, 10], [50, 30]]]]))
    assert batch["prompt_kinds"] == ["scribble"] and bounds(batch["prompt_masks"][0]) == (15, 49, 14, 82)


def test_a_box_is_filled(processor):
    batch = processor(IMAGE, input_boxes=[[[15, 10, 45, 30]]])
    assert batch["prompt_kinds"] == ["box"] and bounds(batch["prompt_masks"][0]) == (16, 48, 24, 72)
    assert batch["prompt_masks"].sum() == 32 * 48


def test_masks_and_scribbles_follow_the_image(processor):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 15:45] = 1
    assert bounds(processor(IMAGE, segmentation_maps=[mask])["prompt_masks"][0]) == (16, 48, 24, 72)
    large = np.repeat(np.repeat(IMAGE, 4, 0), 4, 1)
    line = np.zeros((160, 240), bool)
    line[80, 40:200] = True
    batch = processor(large, segmentation_maps=[line], is_scribble=True)
    assert batch["prompt_kinds"] == ["scribble"] and bounds(batch["prompt_masks"][0]) == (32, 33, 16, 80)


def test_objects_of_several_images(processor):
    batch = processor([IMAGE, IMAGE], input_boxes=[[[0, 0, 30, 20], [30, 20, 60, 40]], [[0, 0, 60, 40]]])
    assert batch["prompt_images"].tolist() == [0, 0, 1] and len(batch["prompt_masks"]) == 3
    model = small_model()
    with torch.no_grad():
        outputs = model(**batch)
    results = processor.post_process_prompts(outputs, [(40, 60)] * 2, batch["prompt_images"])
    assert [len(result["masks"]) for result in results] == [2, 1]
    assert results[0]["masks"].shape == (2, 40, 60) and results[0]["boxes"].shape == (2, 4)
    with torch.no_grad():
        alone = model(**processor(IMAGE, input_boxes=[[[30, 20, 60, 40]]]))
    (result,) = processor.post_process_prompts(alone, [(40, 60)])
    assert_same(result["boxes"][0], results[0]["boxes"][1], rtol=1e-3, atol=1e-2)


def test_the_score_is_that_of_the_best_query(processor):
    with torch.no_grad():
        outputs = small_model()(**processor(IMAGE, input_points=[[[[30, 20]]]]))
    scores = {
        source: processor.post_process_prompts(outputs, [(40, 60)], score_source=source)[0]["scores"].item()
        for source in ("confidence", "text")
    }
    assert scores["confidence"] == pytest.approx(outputs.confidence_logits.sigmoid().max().item())
    assert scores["text"] == pytest.approx(outputs.logits.sigmoid().max().item())


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "pass either category_names or text or prompts"),
        ({"input_points": [[[[1, 1]]]], "text": "dog"}, "pass either category_names or text or prompts"),
        ({"input_points": [[[[1, 1]]]], "input_boxes": [[[1, 1, 5, 5]]]}, "pass one of input_points, input_boxes"),
        ({"input_points": [[[[1, 1]]]], "input_labels": [[[0]]]}, "GLEE reads points on the object alone"),
        ({"input_points": [[[[90, 1]]]]}, "a prompt of image 0 marks nothing inside it"),
        ({"input_boxes": [[[70, 1, 90, 5]]]}, "a prompt of image 0 marks nothing inside it"),
        ({"input_boxes": [[[1, 1, float("nan"), 5]]]}, "must be finite numbers"),
        ({"input_boxes": [[]]}, "input_boxes has no prompts"),
        ({"input_boxes": [[[1, 1, 5, 5]]] * 2}, "there are 1 images but input_boxes of 2"),
        ({"segmentation_maps": [np.ones((4, 4))]}, r"has the size \[4, 4\], its image \[40, 60\]"),
        ({"segmentation_maps": [np.zeros((40, 60))]}, "a prompt of image 0 marks nothing inside it"),
    ],
)
def test_what_is_no_prompt_is_one_line(processor, prompts, message):
    with pytest.raises(UserError, match=message) as error:
        processor(IMAGE, **prompts)
    assert "\n" not in str(error.value)
