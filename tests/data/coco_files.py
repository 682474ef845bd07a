"""Small annotation files in the format of COCO and of YouTube-VIS, with images."""

import json

import numpy as np
from PIL import Image

from glus_hf.media.rle import encode_rle


CATEGORIES = [{"id": 3, "name": "red dog"}, {"id": 7, "name": "cat"}, {"id": 9, "name": "circle"}]


def square_polygon(x0, y0, x1, y1):
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def rectangle_rle(size, x0, y0, x1, y1):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return encode_rle(mask)


def object_of(image, category, box, segmentation=None, **fields):
    x0, y0, x1, y1 = box
    entry = {"image_id": image, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
    return {**entry, **({} if segmentation is None else {"segmentation": segmentation}), **fields}


def write_coco(file, images, annotations, sizes, categories=CATEGORIES, **fields):
    """Annotation file and noise images `<number>.png` of the sizes (height, width)."""
    rng = np.random.default_rng(0)
    images.mkdir(parents=True, exist_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(images / f"{number}.png")
        rows.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
    numbered = [{"id": number, **annotation} for number, annotation in enumerate(annotations)]
    content = {"images": rows, "annotations": numbered, "categories": categories, **fields}
    file.write_text(json.dumps(content))
    return file


def two_images(folder, **fields):
    """A wide image with a polygon, a mask and a crowd, and a high one with a box alone; with texts."""
    annotations = [
        object_of(0, 3, (10, 5, 30, 25), square_polygon(10, 5, 30, 25), caption="the dog on the left"),
        object_of(0, 7, (40, 10, 50, 30), rectangle_rle((40, 60), 40, 10, 50, 30), expressions=["a cat", "the cat"]),
        object_of(0, 7, (0, 0, 60, 40), {"size": [40, 60], "counts": [2400]}, iscrowd=1),
        object_of(1, 3, (5, 10, 25, 40), caption="the second dog"),
        object_of(1, 3, (5, 10, 5, 40)),  # without an area
    ]
    return write_coco(folder / "train.json", folder / "images", annotations, [(40, 60), (60, 40), (20, 20)], **fields)


def one_video(folder):
    """Two frames of a video in the format of YouTube-VIS; the second object is in the second frame alone."""
    images = folder / "frames" / "v"
    images.mkdir(parents=True)
    for number in range(2):
        Image.fromarray(np.full((40, 60, 3), 60 * number, np.uint8)).save(images / f"{number}.jpg")
    tracks = [[(0, 0, 20, 20), (10, 0, 30, 20)], [None, (40, 20, 60, 40)]]
    annotations = [
        {
            "id": number,
            "video_id": 5,
            "category_id": category,
            "bboxes": [None if box is None else [box[0], box[1], box[2] - box[0], box[3] - box[1]] for box in track],
            "segmentations": [None if box is None else rectangle_rle((40, 60), *box) for box in track],
        }
        for number, (category, track) in enumerate(zip((3, 9), tracks, strict=True))
    ]
    videos = [{"id": 5, "file_names": ["v/0.jpg", "v/1.jpg"], "height": 40, "width": 60}]
    content = {"videos": videos, "annotations": annotations, "categories": CATEGORIES}
    (folder / "video.json").write_text(json.dumps(content))
    return folder / "video.json"
