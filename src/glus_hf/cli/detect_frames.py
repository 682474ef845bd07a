"""Objects found by names on each frame alone, for `glus-hf detect`."""

from __future__ import annotations

from collections.abc import Iterator


MIN_DRAWN_SIDE = 384  # smaller images are enlarged, so that names can be read
DECIMALS = 4


class Detections:
    """The frames of a video with what was found on them drawn over them, each when it is asked for. What was found
    stays in `objects`."""

    def __init__(self, pipe, frames, names: list[str], threshold: float, top_k: int | None, masks: bool):
        self.pipe, self.frames, self.names, self.masks = pipe, frames, names, masks
        self.options = {"candidate_labels": names, "threshold": threshold, "top_k": top_k, "masks": True}
        self.objects: list[dict] = []

    def __iter__(self) -> Iterator:
        from PIL import Image
        from transformers.utils import logging

        for frame_idx, frame in enumerate(logging.tqdm(self.frames, desc="detecting", unit="frame")):
            found = self.pipe(Image.fromarray(frame), **self.options)
            self.objects += [_described(each, frame_idx) for each in found]
            yield self._draw(frame, found)

    def _draw(self, frame, found: list[dict]):
        import numpy as np

        from ..visualization import draw_objects

        return draw_objects(
            frame,
            np.array([list(each["box"].values()) for each in found]),
            [f"{each['label']} {each['score']:.2f}" for each in found],
            np.stack([each["mask"] for each in found]) if found and self.masks else None,
            [self.names.index(each["label"]) for each in found],
            min_side=MIN_DRAWN_SIDE,
        )

    def content(self, source: str, with_masks: bool = True) -> dict:
        """All objects, as JSON."""
        hidden = () if with_masks else ("segmentation",)
        rows = [{name: value for name, value in each.items() if name not in hidden} for each in self.objects]
        return {"source": source, "names": self.names, "num_frames": len(self.frames), "objects": rows}

    def rows(self) -> list[list]:
        """Per name: objects, frames with one, and the best score."""
        rows = []
        for name in self.names:
            found = [each for each in self.objects if each["label"] == name]
            best = max((each["score"] for each in found), default=None)
            frames = f"{len({each['frame_idx'] for each in found})}/{len(self.frames)}"
            rows.append([name, len(found), frames, "" if best is None else f"{best:.2f}"])
        return rows


def _described(found: dict, frame_idx: int) -> dict:
    from ..media.rle import encode_rle

    named = {"frame_idx": frame_idx, "label": found["label"], "score": round(found["score"], DECIMALS)}
    return {**named, "box": found["box"], "segmentation": encode_rle(found["mask"])}


__all__ = ["DECIMALS", "MIN_DRAWN_SIDE", "Detections"]
