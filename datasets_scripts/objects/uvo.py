"""UVO's sparse frames. Layout: docs/object-datasets.md."""

from glus_hf.data.objects.coco_builder import CocoFormatBuilder


class UVO(CocoFormatBuilder):
    """UVO, sparse frames: masks of everything, without categories."""

    SPLITS = ("train", "val")
    FOLDERS = ("UVO", "uvo")
    LICENSE = "CC BY 4.0"
    AGNOSTIC = True
    FILES = {
        split: tuple(
            f"{folder}UVO_{kind}_{split}{suffix}.json"
            for folder in ("annotations/FrameSet/", "FrameSet/", "annotations/", "")
            for kind in ("frame", "sparse")
            for suffix in ("", "_onecate")
        )
        for split in SPLITS
    }
    IMAGES = {
        split: ("uvo_videos_sparse_frames", "uvo_videos_sparse_frames_jpg", "uvo_videos_frames") for split in SPLITS
    }
