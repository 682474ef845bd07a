"""RefCOCO+. Layout and options: docs/object-datasets.md."""

from glus_hf.data.objects.refcoco_builder import RefCOCOBuilder


class RefCOCOPlus(RefCOCOBuilder):
    """RefCOCO+: expressions without words of place, with masks."""

    SPLITS = ("train", "val", "testA", "testB")
    FOLDERS = ("refcoco+", "refcoco_plus", "refcocoplus")
    PARTITIONS = {"unc": ("train", "val", "testA", "testB")}
