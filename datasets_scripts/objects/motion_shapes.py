"""MotionShapes as images with objects, generated. Options: docs/object-datasets.md."""

from __future__ import annotations

from collections.abc import Iterator

from glus_hf.data.frames import cached_clip
from glus_hf.data.motion_shapes.scenes import COLORS, SHAPES
from glus_hf.data.objects.object_builder import ObjectDatasetBuilder
from glus_hf.data.objects.object_schema import FoundImage, FoundObject, mask_box
from glus_hf.media.rle import encode_rle

from ..motion_shapes.motion_shapes import MotionShapes, MotionShapesConfig


class MotionShapesObjects(ObjectDatasetBuilder, MotionShapes):
    """MotionShapes: tracked masks of shapes, whose names are colour and shape."""

    BUILDER_CONFIG_CLASS = MotionShapesConfig
    SPLITS = MotionShapes.SPLITS
    ALIASES = MotionShapes.ALIASES
    PART = "video"

    def names(self, split: str) -> list[str]:
        return [f"{color} {shape}" for color in COLORS for shape in SHAPES]

    def parts(self, split: str) -> list[str]:
        return self.video_ids(split)

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        config, index = self.config, int(part.rpartition("_")[2])
        clip = cached_clip(split, config.seed, config.size, config.num_frames, index)
        address = f"motion_shapes://{split}/{config.seed}/{config.size}/{config.num_frames or 'auto'}/{index}"
        size = clip.frames.shape[1:3]
        for time in range(len(clip.frames)):
            objects = [
                _object(str(number), masks[time], f"{sprite.color} {sprite.shape}", size)
                for number, (masks, sprite) in enumerate(zip(clip.masks, clip.scene.sprites, strict=True))
                if masks[time].any()
            ]
            yield FoundImage(f"{part}/{time}", f"{address}/{time}", size, objects, video_id=part, frame_idx=time)


def _object(key: str, mask, name: str, size: tuple[int, int]) -> FoundObject:
    rle = encode_rle(mask)
    return FoundObject(key, mask_box(key, rle, size), rle, name, track_id=key, area=float(mask.sum()))
