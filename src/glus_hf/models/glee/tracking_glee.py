"""GLEE follows objects through a video from prompts: masks, boxes, points and lines on any frames.

The code for this was not released. As the paper says, an object keeps its crop tokens and its fine tokens, and on
every frame the query with the highest confidence answers. They are read from the first frame (the paper's §2 and the
released training), from the frame before (its §5), or from both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import UserError
from ..sessions import check_inference
from ..video_prompts import BOX, MASK, POINTS, VideoPrompt
from .decoding_batches_glee import NO_TARGET_LOGIT, default_batch_size
from .geometry_glee import boxes_in_pixels, mask_confidence, to_original_size
from .image_prompts_glee import prompt_inputs
from .pixel_decoder_glee import PixelMaps
from .visual_prompter_glee import VisualPrompt


REFERENCES = ("first", "previous", "first+previous")
SURE = 20.0  # logit of a mask that was given


@dataclass
class ObjectTrack:
    """An object on its way through the video.

    Args:
        object_id: as the user numbers it.
        prompts: by frame.
        anchor: what was read of the newest prompt.
        first: what was read of the first prompt, for the way back.
        previous: what was read of the last frame that shows the object.
    """

    object_id: int
    prompts: dict[int, VideoPrompt]
    anchor: VisualPrompt | None = None
    first: VisualPrompt | None = None
    previous: VisualPrompt | None = None

    @property
    def start(self) -> int:
        return min(self.prompts)

    def set_anchor(self, prompt: VisualPrompt) -> None:
        self.anchor = self.previous = prompt
        self.first = self.first or prompt

    def turn_back(self) -> None:
        """Go on from the first prompt, the other way."""
        self.anchor = self.previous = self.first

    def reference(self, kind: str) -> VisualPrompt:
        """What the next frame is decoded with."""
        if kind == "first":
            return self.anchor
        return (
            self.previous if kind == "previous" or self.previous is self.anchor else self.anchor.beside(self.previous)
        )


@dataclass
class FrameView:
    """A frame as the model sees it: pixels `[1, 3, height, width]` and maps of one image; (height, width) of the frame
    itself, resized, and padded."""

    pixels: Tensor
    maps: PixelMaps
    original: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]


@dataclass
class Found:
    """An object on a frame: mask logits at the size of the video, a score and a box."""

    logits: Tensor
    score: Tensor
    box: Tensor
    query: int | None = None


@torch.no_grad()
def track_prompts(
    model, session, batch_size: int | None = None, reference: str = "first", backward: bool = True
) -> Iterator[tuple[int, list[int], list[Found]]]:
    """Frame, ids of its objects and what was found of them: forward from the first prompt, then backward for objects
    that came later.

    A frame that is reached on the way back has its other objects already; those keep their pixels.

    Raises:
        UserError: no prompts, a model without prompter, or an unknown reference; one line.
    """
    check_inference(model, batch_size, {})
    if reference not in REFERENCES:
        raise UserError(f"reference must be one of {', '.join(REFERENCES)}, got {reference!r}")
    if model.model.prompter is None:
        raise UserError("this model takes no visual prompts; use one whose config has a visual_prompter")
    tracks = gather_tracks(session.prompts)
    tracker = ObjectTracker(model, session, batch_size, reference)
    last, taken = max(track.start for track in tracks), {}
    for frame_idx in range(min(track.start for track in tracks), session.num_frames):
        present = [track for track in tracks if track.start <= frame_idx]
        found = tracker.answer(frame_idx, present)
        if backward and frame_idx < last:
            taken[frame_idx] = np.packbits(torch.stack([each.logits > 0 for each in found]).any(0).cpu().numpy())
        yield frame_idx, [track.object_id for track in present], found
    for track in tracks:
        track.turn_back()
    for frame_idx in range(last - 1, -1, -1) if backward else ():
        present = [track for track in tracks if track.start > frame_idx]
        found = tracker.answer(frame_idx, present, taken.pop(frame_idx, None))
        yield frame_idx, [track.object_id for track in present], found


def gather_tracks(prompts: Sequence[VideoPrompt]) -> list[ObjectTrack]:
    """A track per object, by ascending id.

    Raises:
        UserError: there are no prompts; one line.
    """
    if not prompts:
        raise UserError("the session has neither expressions nor prompts; call session.add_prompt first")
    by_object: dict[int, dict[int, VideoPrompt]] = {}
    for prompt in prompts:
        by_object.setdefault(prompt.object_id, {})[prompt.frame_idx] = prompt
    return [ObjectTrack(object_id, by_object[object_id]) for object_id in sorted(by_object)]


class ObjectTracker:
    """Answers frames in the order of the way; what it remembers lies in the tracks."""

    def __init__(self, model, session, batch_size: int | None, reference: str):
        self.model, self.session, self.batch_size, self.kind = model, session, batch_size, reference
        self.text = model.model.encode_text(session.input_ids, session.attention_mask, is_referring=False)

    def answer(self, frame_idx: int, tracks: list[ObjectTrack], taken: np.ndarray | None = None) -> list[Found]:
        """Objects of one frame, merged.

        Args:
            frame_idx: of the frame.
            tracks: of its objects.
            taken: pixels that belong to others already, packed.
        """
        view = self._view(frame_idx)
        prompted = [track for track in tracks if frame_idx in track.prompts]
        found = {track.object_id: self._start(view, track, track.prompts[frame_idx]) for track in prompted}
        others = [track for track in tracks if track.object_id not in found]
        references = [track.reference(self.kind) for track in others]
        answers = self._decode(view, references)
        found |= {track.object_id: answer for track, answer in zip(others, answers, strict=True)}
        merged = self._merge([found[track.object_id] for track in tracks], view.original, taken)
        if self.kind != "first":
            for track, each in zip(tracks, merged, strict=True):
                self._remember(view, track, each.logits > 0, is_new=frame_idx in track.prompts)
        return merged

    def _view(self, frame_idx: int) -> FrameView:
        images = self.session.image_processor([self.session.frames[frame_idx]])
        pixels = images.pixel_values
        original, padded = (self.session.height, self.session.width), tuple(pixels.shape[-2:])
        return FrameView(pixels, self.model.model.prepare_images(pixels), original, images.resized_sizes[0], padded)

    def _start(self, view: FrameView, track: ObjectTrack, prompt: VideoPrompt) -> Found:
        """What a prompt means on its own frame; a box, points or lines become the mask that they mean."""
        read = self._read(view, prompt.kind, prompt.values)
        if prompt.kind == MASK:
            track.set_anchor(read)
            return self._given(view, prompt.values)
        (found,) = self._decode(view, [read])
        mask = (found.logits > 0).cpu().numpy()
        track.set_anchor(self._read(view, MASK, mask) if mask.any() else read)
        return found

    def _given(self, view: FrameView, mask: np.ndarray) -> Found:
        inside = torch.from_numpy(mask).to(view.maps.lateral.device)
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        box = inside.new_tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float32)
        return Found(torch.where(inside, SURE, -SURE), box.new_tensor(1.0), box)

    def _read(self, view: FrameView, kind: str, values: np.ndarray) -> VisualPrompt:
        given = {POINTS: {"input_points": [[values.tolist()]]}, BOX: {"input_boxes": [[values.tolist()]]}}
        maps = {"segmentation_maps": [values], "is_scribble": kind != MASK}
        found = prompt_inputs([view.original], [view.resized], view.padded, **given.get(kind, maps))
        masks = found["prompt_masks"].to(view.maps.lateral.device)
        return self.model.model.read_prompt(view.pixels, view.maps, self.text, masks, found["prompt_kinds"])

    def _remember(self, view: FrameView, track: ObjectTrack, mask: Tensor, is_new: bool) -> None:
        if not is_new and bool(mask.any()):
            track.previous = self._read(view, MASK, mask.cpu().numpy())

    def _decode(self, view: FrameView, references: list[VisualPrompt]) -> list[Found]:
        """The query with the highest confidence for each reference."""
        size = self.batch_size or default_batch_size(view.pixels, self.model.device)
        order = sorted(range(len(references)), key=lambda index: references[index].num_crop_tokens)
        found: dict[int, Found] = {}
        for _, group in groupby(order, key=lambda index: references[index].num_crop_tokens):
            same = list(group)
            for batch in (same[begin : begin + size] for begin in range(0, len(same), size)):
                answers = self._decode_batch(view, VisualPrompt.stack([references[index] for index in batch]))
                found |= zip(batch, answers, strict=True)
        return [found[index] for index in range(len(references))]

    def _decode_batch(self, view: FrameView, prompt: VisualPrompt) -> list[Found]:
        rows = torch.zeros(len(prompt), dtype=torch.long, device=view.maps.lateral.device)
        decoded = self.model.model.decode(view.maps.select(rows), self.text, prompt, all_masks=False)
        return [self._choose(decoded, index, view) for index in range(len(prompt))]

    def _choose(self, decoded, index: int, view: FrameView) -> Found:
        score, query = decoded.final.confidence_logits[index, :, 0].sigmoid().max(0)
        masks = self.model.model.decoder.masks_of(decoded, index, [int(query)])
        logits = to_original_size(masks, view.padded, view.resized, view.original)
        threshold = self.model.config.no_target_threshold
        if threshold is not None and score < threshold:
            logits = torch.full_like(logits, NO_TARGET_LOGIT)
        box = decoded.final.pred_boxes[index, query][None]
        (box,) = boxes_in_pixels(box, view.padded, view.resized, view.original)
        return Found(logits[0], score * mask_confidence(logits)[0], box, int(query))

    @staticmethod
    def _merge(found: list[Found], size: tuple[int, int], taken: np.ndarray | None) -> list[Found]:
        logits = merge_objects(torch.stack([each.logits for each in found]))
        if taken is not None:
            bits = np.unpackbits(taken, count=size[0] * size[1]).reshape(size).astype(bool)
            logits = logits.masked_fill(torch.from_numpy(bits).to(logits.device), NO_TARGET_LOGIT)
        return [Found(own, each.score, each.box, each.query) for own, each in zip(logits, found, strict=True)]


def merge_objects(logits: Tensor) -> Tensor:
    """Logits `[n, height, width]` of objects that were found alone, so that at most one of a pixel is above 0.

    The background has the probability that no object is there, the product of all 1 - p. A pixel is of the most
    probable one; the logit is its lead over the next, or what it lacks. That of one object stays as it is.

    Example:

        >>> merge_objects(torch.tensor([[[2.0]], [[3.0]]])).flatten() > 0
        tensor([False,  True])
    """
    own, background = F.logsigmoid(logits), F.logsigmoid(-logits).sum(0)
    if len(logits) == 1:
        return own - background
    best, owner = own.topk(2, dim=0)
    number = torch.arange(len(logits), device=logits.device).view(-1, 1, 1)
    others = torch.where(number == owner[0], best[1], best[0])
    return own - torch.maximum(others, background)


__all__ = ["REFERENCES", "ObjectTrack", "gather_tracks", "merge_objects", "track_prompts"]
