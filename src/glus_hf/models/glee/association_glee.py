"""Video instance segmentation of GLEE: all objects with a name, in all frames.

Frames are decoded alone, and the queries of a frame are linked to those of the frames before it by their embeddings,
as in MinVIS. The video is read twice: once to follow the queries and to score them over all frames, once for the masks
of the best ones. So no more than a batch of frames is in memory, however long the video is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from transformers.utils import ModelOutput

from ...errors import UserError
from ..sessions import VideoSession, check_inference
from .decoding_batches_glee import NO_TARGET_LOGIT, WINDOW, default_batch_size
from .geometry_glee import boxes_in_pixels, to_original_size


MEMORY = 3  # frames whose queries the next ones are compared with
TOP_K = 30


@dataclass
class GLEEInstanceSession(VideoSession):
    """One video and the names of what to find in it, made by [`GLEEProcessor.init_instance_session`].

    Args:
        frames (`Sequence[np.ndarray]`): T frames, each `uint8 [height, width, 3]` RGB.
        texts (`list[str]`): the names.
        image_processor ([`GLEEImageProcessor`]): resizes, normalises and pads the frames.
        input_ids, attention_mask (`LongTensor [names, length]`): the tokenised names.
    """

    image_processor: object
    input_ids: Tensor
    attention_mask: Tensor


@dataclass
class GLEEInstancesOutput(ModelOutput):
    """The objects of a video on one frame, n of them, best first; the same on every frame.

    Args:
        frame_idx (`int`): index of the frame in the video.
        object_ids (`list[int]`): 1 for the best object.
        labels (`list[int]`): the name of each.
        scores (`torch.FloatTensor [n]`): of the name, from the mean of its logits over all frames, 0..1.
        frame_scores (`torch.FloatTensor [n]`): of the name on this frame alone, 0..1.
        mask_logits (`torch.FloatTensor [n, height, width]`): at the size of the video.
        boxes (`torch.FloatTensor [n, 4]`): x0, y0, x1, y1 in pixels of the video.
        mask_cells (`torch.LongTensor [n]`): places of the feature map (of stride 4; of GLEE-Pro 8) inside the mask.
    """

    frame_idx: int | None = None
    object_ids: list[int] | None = None
    labels: list[int] | None = None
    scores: torch.FloatTensor | None = None
    frame_scores: torch.FloatTensor | None = None
    mask_logits: torch.FloatTensor | None = None
    boxes: torch.FloatTensor | None = None
    mask_cells: torch.LongTensor | None = None


class QueryTracks:
    """Which query of a frame goes on with which track; the queries of the first frame begin the tracks.

    Args:
        start (`Tensor [tracks, dim]`, *optional*): embeddings of tracks that are known, which the first frame is
            compared with.

    Example:

        >>> tracks = QueryTracks()
        >>> tracks.align(torch.eye(3)).tolist(), tracks.align(torch.eye(3).flip(0)).tolist()
        ([0, 1, 2], [2, 1, 0])
    """

    def __init__(self, start: Tensor | None = None):
        self.start = start
        self.memory: deque[Tensor] = deque(maxlen=MEMORY)

    def align(self, embeddings: Tensor) -> Tensor:
        """The query of each track `[tracks]`, of a frame's embeddings `[queries, dim]`: the assignment with the
        largest sum of cosines to the mean of the last three."""
        known = torch.stack(list(self.memory)).mean(0) if self.memory else self.start
        queries = torch.arange(len(embeddings), device=embeddings.device)
        if known is not None:
            alike = F.normalize(known, dim=-1) @ F.normalize(embeddings, dim=-1).T
            queries = torch.from_numpy(linear_sum_assignment(alike.cpu().numpy(), maximize=True)[1]).to(queries)
        self.memory.append(embeddings[queries])
        return queries


@dataclass
class Chosen:
    """The best tracks: `tracks [n]` and their `labels [n]` and `scores [n]`."""

    tracks: Tensor
    labels: Tensor
    scores: Tensor


def choose_tracks(logits: Tensor, top_k: int, one_name_each: bool, threshold: float) -> Chosen:
    """The best pairs of track and name, best first.

    Args:
        logits: `[tracks, names]`, means over all frames.
        top_k: most pairs.
        one_name_each: take a track with its best name alone, as for TAO.
        threshold: pairs whose score is not above it are left out.

    Example:

        >>> logits = torch.tensor([[2.0, 1.0], [-1.0, 0.0]])
        >>> choose_tracks(logits, 2, False, 0.0).labels.tolist(), choose_tracks(logits, 2, True, 0.0).labels.tolist()
        ([0, 1], [0, 1])
        >>> choose_tracks(logits, 2, True, 0.0).tracks.tolist()
        [0, 1]
    """
    scores, names = logits.sigmoid(), logits.shape[1]
    if one_name_each:
        best, labels = scores.max(1)
        found, tracks = best.topk(min(top_k, len(best)))
        labels = labels[tracks]
    else:
        found, flat = scores.flatten().topk(min(top_k, scores.numel()))
        tracks, labels = flat // names, flat % names
    kept = found > threshold
    return Chosen(tracks[kept], labels[kept], found[kept])


@torch.no_grad()
def track_instances(
    model,
    session: GLEEInstanceSession,
    top_k: int = TOP_K,
    threshold: float = 0.0,
    frame_threshold: float = 0.0,
    one_name_each: bool = False,
    batch_size: int | None = None,
) -> Iterator[GLEEInstancesOutput]:
    """The loop behind [`GLEEForVideoSegmentation.track_instances`]."""
    check_inference(model, batch_size, {})
    if top_k < 1:
        raise UserError(f"top_k must be 1 or more, got {top_k}")
    reader = FrameReader(model, session, batch_size)
    total, first, tracks = 0, None, QueryTracks()
    for frame in reader.frames():
        queries = tracks.align(frame.embeddings)
        first = frame.embeddings if first is None else first
        total = total + frame.logits[queries]
    chosen = choose_tracks(total / session.num_frames, top_k, one_name_each, threshold)
    tracks = QueryTracks(first)
    for frame in reader.frames():
        yield frame.output(chosen, tracks.align(frame.embeddings)[chosen.tracks], frame_threshold)


class FrameReader:
    """Decodes the frames of a session in batches."""

    def __init__(self, model, session: GLEEInstanceSession, batch_size: int | None):
        self.model, self.session, self.batch_size = model, session, batch_size
        self.text = model.model.encode_text(session.input_ids, session.attention_mask, is_referring=False)

    def frames(self) -> Iterator[DecodedFrame]:
        """All frames in order. Each is to be used before the next."""
        inner, session = self.model.model, self.session
        for begin in range(0, session.num_frames, WINDOW):
            window = range(begin, min(begin + WINDOW, session.num_frames))
            images = session.image_processor([session.frames[frame_idx] for frame_idx in window])
            sizes = tuple(images.pixel_values.shape[-2:]), images.resized_sizes[0], (session.height, session.width)
            step = self.batch_size or default_batch_size(images.pixel_values, self.model.device)
            for offset in range(0, len(window), step):
                pixels = images.pixel_values[offset : offset + step]
                decoded = inner.decode(inner.prepare_images(pixels), self.text, all_masks=False)
                for index in range(len(pixels)):
                    yield DecodedFrame(inner.decoder, decoded, index, window[offset + index], sizes)


@dataclass
class DecodedFrame:
    """A frame of a batch: `sizes` are (height, width) padded, resized and of the video."""

    decoder: object
    batch: object
    index: int
    frame_idx: int
    sizes: tuple

    @property
    def logits(self) -> Tensor:
        return self.batch.final.logits[self.index]

    @property
    def embeddings(self) -> Tensor:
        return self.batch.embeddings[self.index]

    def output(self, chosen: Chosen, queries: Tensor, frame_threshold: float) -> GLEEInstancesOutput:
        """The chosen tracks, whose queries on this frame are given `[n]`."""
        used, places = queries.unique(return_inverse=True)  # a query may answer several names
        masks = self.decoder.masks_of(self.batch, self.index, used.tolist())
        frame_scores = self.logits[queries, chosen.labels].sigmoid()
        is_absent = (frame_scores < frame_threshold)[:, None, None]
        logits = to_original_size(masks, *self.sizes)[places].masked_fill(is_absent, NO_TARGET_LOGIT)
        return GLEEInstancesOutput(
            frame_idx=self.frame_idx,
            object_ids=list(range(1, len(queries) + 1)),
            labels=chosen.labels.tolist(),
            scores=chosen.scores,
            frame_scores=frame_scores,
            mask_logits=logits,
            boxes=boxes_in_pixels(self.batch.final.pred_boxes[self.index, queries], *self.sizes),
            mask_cells=((masks > 0).flatten(1).sum(1)[places] * ~is_absent[:, 0, 0]),
        )


__all__ = ["GLEEInstanceSession", "GLEEInstancesOutput", "QueryTracks", "choose_tracks", "track_instances"]
