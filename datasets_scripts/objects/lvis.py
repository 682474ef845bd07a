"""LVIS v1, whose images are those of COCO. Layout: docs/object-datasets.md."""

from glus_hf.data.objects.coco_builder import CocoFormatBuilder


COCO_FOLDERS = (".", "../coco", "coco", "images")


class LVIS(CocoFormatBuilder):
    """LVIS v1: 1,203 categories with boxes and masks; per image, names that are absent or not marked everywhere."""

    SPLITS = ("train", "val", "minival")
    FOLDERS = ("lvis", "LVIS", "lvis_v1")
    LICENSE = "annotations CC BY 4.0; images under the terms of Flickr"
    FILES = {
        "train": ("lvis_v1_train.json", "annotations/lvis_v1_train.json"),
        "val": ("lvis_v1_val.json", "annotations/lvis_v1_val.json"),
        "minival": ("lvis_v1_minival_inserted_image_name.json", "lvis_v1_minival.json"),
    }
    # val has images of both of COCO's splits; minival's files are names alone, all of val2017
    IMAGES = {split: (*COCO_FOLDERS, *(f"{each}/{split}2017" for each in COCO_FOLDERS)) for split in ("train", "val")}
    IMAGES["minival"] = IMAGES["val"]
