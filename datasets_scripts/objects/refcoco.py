"""RefCOCO. Layout and options: docs/object-datasets.md."""

from glus_hf.data.objects.refcoco_builder import RefCOCOBuilder


class RefCOCO(RefCOCOBuilder):
    """RefCOCO: short expressions about objects of COCO, from a game of two, with masks."""

    SPLITS = ("train", "val", "testA", "testB", "test")
    FOLDERS = ("refcoco", "RefCOCO")
    PARTITIONS = {"unc": ("train", "val", "testA", "testB"), "google": ("train", "val", "test")}
