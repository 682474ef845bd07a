"""Objects found by names and followed through a video, for `glus-hf detect --track`."""

from __future__ import annotations

from collections.abc import Iterator

from .detect_frames import DECIMALS, MIN_DRAWN_SIDE


FORMATS = ("objects", "ytvis", "tao")


class TrackedObjects:
    """The frames of a video with the followed objects drawn over them, each when it is asked for; an object has one
    colour. What was found stays in `tracks`."""

    def __init__(self, pipe, frames, names: list[str], threshold: float, top_k: int | None, masks: bool):
        from ..predictions.instance_tracks import InstanceTracks

        self.pipe, self.frames, self.masks = pipe, frames, masks
        self.names = pipe.processor.check_names(names)
        self.options = {"threshold": threshold, **({} if top_k is None else {"top_k": top_k})}
        self.tracks = InstanceTracks(len(self.names))

    def __iter__(self) -> Iterator:
        from transformers.utils import logging

        session = self.pipe.processor.init_instance_session(self.frames, self.names)
        outputs = self.pipe.model.track_instances(session, frame_threshold=self.options["threshold"], **self.options)
        for output in logging.tqdm(outputs, total=len(self.frames), desc="tracking", unit="frame"):
            self.tracks.add(output)
            yield self._draw(self.frames[output.frame_idx], output)

    def _draw(self, frame, output):
        from ..visualization import draw_objects

        masks = (output.mask_logits > 0).cpu().numpy()
        seen = [row for row in range(len(masks)) if masks[row].any()]
        texts = [f"{output.object_ids[row]} {self.names[output.labels[row]]} {output.scores[row]:.2f}" for row in seen]
        boxes, colours = output.boxes.cpu().numpy()[seen], [output.object_ids[row] - 1 for row in seen]
        return draw_objects(frame, boxes, texts, masks[seen] if self.masks else None, colours, min_side=MIN_DRAWN_SIDE)

    def content(self, source: str, with_masks: bool = True, format: str = "objects") -> dict | list:
        """All objects, as JSON."""
        if format == "ytvis":
            return self.tracks.youtube_vis(video_id=1)
        if format == "tao":
            return self.tracks.tao(video_id=1)
        rows = [self._described(row, with_masks) for row in range(len(self.tracks.object_ids))]
        return {"source": source, "names": self.names, "num_frames": len(self.frames), "objects": rows}

    def _described(self, row: int, with_masks: bool) -> dict:
        tracks = self.tracks
        seen = [mask is not None for mask in tracks.masks[row]]
        found = {"object_id": tracks.object_ids[row], "label": self.names[tracks.labels[row]]}
        boxes = [box if is_seen else None for box, is_seen in zip(tracks.boxes[row], seen, strict=True)]
        found |= {"score": round(tracks.scores[row], DECIMALS), "num_frames": sum(seen), "boxes": boxes}
        return {**found, "segmentations": tracks.masks[row]} if with_masks else found

    def rows(self) -> list[list]:
        """Per name: objects, frames with one, and the best score."""
        rows = []
        for label, name in enumerate(self.names):
            own = [row for row, other in enumerate(self.tracks.labels) if other == label]
            frames = {frame for row in own for frame, mask in enumerate(self.tracks.masks[row]) if mask is not None}
            best = max((self.tracks.scores[row] for row in own), default=None)
            shown = "" if best is None else f"{best:.2f}"
            rows.append([name, len(own), f"{len(frames)}/{len(self.frames)}", shown])
        return rows


__all__ = ["FORMATS", "TrackedObjects"]
