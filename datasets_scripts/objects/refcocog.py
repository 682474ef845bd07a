"""RefCOCOg. Layout and options: docs/object-datasets.md."""

from glus_hf.data.objects.refcoco_builder import RefCOCOBuilder


class RefCOCOg(RefCOCOBuilder):
    """RefCOCOg: longer expressions, written without a game, with masks."""

    SPLITS = ("train", "val", "test")
    FOLDERS = ("refcocog", "RefCOCOg")
    PARTITIONS = {"umd": ("train", "val", "test"), "google": ("train", "val")}
