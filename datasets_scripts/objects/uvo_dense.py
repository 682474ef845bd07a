"""UVO's dense videos. Layout: docs/object-datasets.md."""

from glus_hf.data.objects.coco_builder import CocoFormatBuilder


class UVODense(CocoFormatBuilder):
    """UVO, dense videos: tracked masks of everything, without categories."""

    SPLITS = ("train", "val")
    FOLDERS = ("UVO", "uvo")
    LICENSE = "CC BY 4.0"
    AGNOSTIC = True
    FILES = {
        split: tuple(
            f"{folder}UVO_video_{split}_dense{suffix}.json"
            for folder in ("annotations/VideoDenseSet/", "VideoDenseSet/", "annotations/", "")
            for suffix in ("", "_objectlabel")
        )
        for split in SPLITS
    }
    IMAGES = {
        split: ("uvo_videos_dense_frames", "uvo_videos_dense_frames_jpg", "uvo_videos_frames") for split in SPLITS
    }
