"""Objects of GLEE go through COCO's own evaluation: their boxes, masks, labels and scores are what it expects."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from glus_hf.models.glee.modeling_glee import GLEESegmentationOutput
from tests.models.glee.small_glee import small_processor


SIZES = [(40, 60), (60, 40), (32, 64)]
QUERIES = 4


@pytest.fixture(scope="module")
def processor():
    return small_processor(short=256, long=512)


def objects(image):
    """Two rectangles of an image, of the two names: x0, y0, x1, y1."""
    height, width = SIZES[image]
    return [(4, 4, width // 2, height // 2), (width // 2 + 4, height // 2 + 4, width - 4, height - 4)]


def ground_truth():
    annotations = []
    for image in range(len(SIZES)):
        for name, (x0, y0, x1, y1) in enumerate(objects(image)):
            mask = np.zeros(SIZES[image], np.uint8, order="F")
            mask[y0:y1, x0:x1] = 1
            encoded = coco_mask.encode(np.asfortranarray(mask))
            fields = {"segmentation": encoded, "area": int(mask.sum()), "bbox": [x0, y0, x1 - x0, y1 - y0]}
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": name, "iscrowd": 0, **fields}
            )
    coco = COCO()
    images = [{"id": image, "height": height, "width": width} for image, (height, width) in enumerate(SIZES)]
    coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 0}, {"id": 1}]}
    coco.createIndex()
    return coco


def predictions(processor, image, swap_names):
    """What a perfect model says of an image; with `swap_names` it takes one name for the other."""
    height, width = SIZES[image]
    resized = processor.image_processor.resized_size(SIZES[image])
    padded = [-(-side // 32) * 32 for side in resized]
    scale = resized[0] / height
    masks = torch.full((QUERIES, padded[0] // 4, padded[1] // 4), -9.0)
    boxes, logits = torch.full((QUERIES, 4), 0.1), torch.full((QUERIES, 2), -9.0)
    for query, corners in enumerate(objects(image)):
        x0, y0, x1, y1 = (scale * value for value in corners)
        rows, columns = (torch.arange(side // 4) * 4 + 2 for side in padded)
        inside = ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))
        masks[query][inside] = 9.0
        centre = [(x0 + x1) / 2 / padded[1], (y0 + y1) / 2 / padded[0]]
        boxes[query] = torch.tensor([*centre, (x1 - x0) / padded[1], (y1 - y0) / padded[0]])
        logits[query, 1 - query if swap_names else query] = 9.0
    return GLEESegmentationOutput(logits=logits[None], pred_boxes=boxes[None], pred_masks=masks[None])


def average_precision(processor, kind, swap_names=False):
    results = []
    for image, size in enumerate(SIZES):
        outputs = predictions(processor, image, swap_names)
        (found,) = processor.post_process_instance_segmentation(outputs, [size], threshold=0.5)
        for score, label, (x0, y0, x1, y1), mask in zip(*(found[key].numpy() for key in found), strict=True):
            result = {"image_id": image, "category_id": int(label), "score": float(score)}
            result["bbox"] = [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]
            result["segmentation"] = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            results.append(result)
    truth = ground_truth()
    evaluation = COCOeval(truth, truth.loadRes(results), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[:2]  # over IoU 0.5 to 0.95, and at 0.5


def test_a_perfect_model_has_the_best_average_precision(processor):
    assert average_precision(processor, "bbox") == pytest.approx([1.0, 1.0])
    whole, at_half = average_precision(processor, "segm")  # masks of a quarter of the size have soft edges
    assert at_half == pytest.approx(1.0) and whole > 0.9


def test_the_wrong_names_have_none(processor):
    assert average_precision(processor, "bbox", swap_names=True) == pytest.approx([0.0, 0.0])
