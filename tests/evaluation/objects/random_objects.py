"""Files in the format of COCO and LVIS with random discs, and answers that are right here and there."""

import json

import numpy as np

from glus_hf.media.rle import decode_rle, encode_rle


SIDE = 320
NAMES = ["dog", "cat", "sheep", "kite"]


def disc(generator, radius=None):
    """A mask and its box x, y, width, height."""
    radius = radius or generator.integers(6, 90)
    y, x = generator.integers(0, SIDE, 2)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def box_of(mask):
    y, x = np.nonzero(mask)
    return [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]


def write_random_objects(path, seed=0, num_images=12, lvis=False):
    """Ids of images and categories are neither sorted nor from one."""
    generator = np.random.default_rng(seed)
    categories = [{"id": number, "name": name} for number, name in zip((7, 3, 90, 12), NAMES)]
    images, annotations = [], []
    for image_id in generator.permutation(np.arange(100, 100 + num_images)).tolist():
        image = {"id": image_id, "file_name": "0.jpg", "height": SIDE, "width": SIDE}
        if lvis:
            image |= {
                "neg_category_ids": [90] * int(image_id % 2),
                "not_exhaustive_category_ids": [7, 3][: image_id % 3],
            }
        images.append(image)
        for _ in range(generator.integers(0, 7)):
            mask = disc(generator)
            category = categories[generator.integers(3)]["id"]  # no kite
            entry = {"id": 1000 - len(annotations), "image_id": image_id, "category_id": category}
            entry |= {"bbox": box_of(mask), "area": int(mask.sum()), "segmentation": encode_rle(mask)}
            annotations.append(entry if lvis else {**entry, "iscrowd": int(generator.random() < 0.1)})
    if lvis:
        for category, frequency in zip(categories, "rcff"):
            category["frequency"] = frequency
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return content


def random_answers(content, seed=1, extra=6):
    """Per image id: shifted objects, some under another name, and others that are not there."""
    generator, names = np.random.default_rng(seed), {each["id"]: each["name"] for each in content["categories"]}
    answers = {str(image["id"]): [] for image in content["images"]}
    for each in content["annotations"]:
        mask = decode_rle(each["segmentation"], (SIDE, SIDE))
        mask = np.roll(mask, generator.integers(-6, 7, 2), (0, 1))
        name = names[each["category_id"]] if generator.random() < 0.8 else NAMES[generator.integers(4)]
        answers[str(each["image_id"])].append(answer(name, mask, generator))
    for found in answers.values():
        found += [answer(NAMES[generator.integers(4)], disc(generator), generator) for _ in range(extra)]
    return answers


def answer(name, mask, generator):
    x, y, width, height = box_of(mask)
    box = [float(x), float(y), float(x + width), float(y + height)]
    return {"name": name, "score": round(float(generator.random()), 6), "box": box, "segmentation": encode_rle(mask)}
