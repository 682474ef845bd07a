"""Inference of GLEE on one video: the session that holds all state, the loop over its frames, and the link between
them.

The code for referring videos was not released. This follows the text of the paper: in the first frame the query with
the best score is the answer, in every other frame that with the best sum of its score and its similarity to the answer
of the frame before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import UserError
from ..sessions import VideoSegmentationOutput, VideoSession, check_inference, key_frame_per_text
from ..video_prompts import TakesPrompts, VideoPrompt
from .decoding_batches_glee import NO_TARGET_LOGIT, WINDOW, default_batch_size
from .geometry_glee import boxes_in_pixels, mask_confidence, to_original_size
from .pixel_decoder_glee import PixelMaps
from .text_encoder_glee import GLEEText
from .tracking_glee import Found, track_prompts


@dataclass
class GLEEInferenceSession(TakesPrompts, VideoSession):
    """One video and its expressions, or prompts of objects, made by [`GLEEProcessor.init_video_session`].

    Args:
        frames (`Sequence[np.ndarray]`): T frames, each `uint8 [height, width, 3]` RGB.
        texts (`list[str]`): the cleaned expressions.
        image_processor ([`GLEEImageProcessor`]): resizes, normalises and pads the frames.
        input_ids, attention_mask (`LongTensor [expressions, length]`): the tokenised expressions; without them what
            objects of prompts are called.
        prompts (`list[VideoPrompt]`): of a session without expressions; see [`TakesPrompts.add_prompt`].

    Example:

        >>> session = processor.init_video_session("clip.mp4")  # doctest: +SKIP
        >>> session.add_prompt(0, 1, mask=mask)  # doctest: +SKIP
        >>> for output in model.propagate_in_video_iterator(session):  # doctest: +SKIP
        ...     print(output.frame_idx, output.object_ids, (output.mask_logits > 0).sum((1, 2)))
    """

    image_processor: object
    input_ids: Tensor
    attention_mask: Tensor
    prompts: list[VideoPrompt] = field(default_factory=list)

    def check_prompt(self, prompt: VideoPrompt) -> None:
        if self.texts:
            raise UserError(
                "the session has expressions; make one without: processor.init_video_session(video), and add prompts"
            )
        if prompt.object_id < 1:
            raise UserError(f"object_id must be 1 or more, got {prompt.object_id}")


@dataclass
class GLEEVideoSegmentationOutput(VideoSegmentationOutput):
    """What every family gives for a frame (see [`VideoSegmentationOutput`]), and which query answers.

    Args:
        mask_logits (`torch.FloatTensor [n, height, width]`): float32; all -100 where the best score is below
            `no_target_threshold`.
        scores (`torch.FloatTensor [n]`): score of the query x mean probability inside the mask; 0 for an empty mask.
        boxes (`torch.FloatTensor [n, 4]`): x0, y0, x1, y1 in pixels of the video, around all joined queries.
        query_indices (`list[int]`): the query that links the frame to the next, per expression.
        kwargs: as for [`VideoSegmentationOutput`].
    """

    query_indices: list[int] | None = None


@dataclass
class Answer:
    """What one expression means on one frame."""

    mask_logits: Tensor
    score: Tensor
    box: Tensor
    query: int


def link_query(
    scores: Tensor, embeddings: Tensor, previous: Tensor | None, similarity: str | None = "cosine", weight: float = 1.0
) -> int:
    """The query that answers on a frame.

    Args:
        scores: `[queries]`, 0..1.
        embeddings: `[queries, dim]`.
        previous: embedding `[dim]` of the answer on the frame before; None on the first frame.
        similarity: "cosine", "dot", or None to look at the scores alone.
        weight: of the similarity.

    Example:

        >>> scores, embeddings = torch.tensor([0.6, 0.5]), torch.eye(2)
        >>> link_query(scores, embeddings, None), link_query(scores, embeddings, embeddings[1])
        (0, 1)
    """
    if previous is None or similarity is None:
        return int(scores.argmax())
    alike = F.cosine_similarity(embeddings, previous[None]) if similarity == "cosine" else embeddings @ previous
    return int((scores + weight * alike).argmax())


@dataclass
class Track:
    """An expression on its way through the video, from its key frame on; `step` is 1, or -1 on the way back."""

    text: int
    start: int
    step: int
    previous: Tensor | None = None
    key_embedding: Tensor | None = None

    def covers(self, frame_idx: int) -> bool:
        """Whether the frame lies ahead; the key frame belongs to the way forward."""
        return (frame_idx - self.start) * self.step >= (0 if self.step == 1 else 1)

    def reversed_track(self) -> Track:
        """The way back: it starts from the answer on the key frame."""
        return Track(self.text, self.start, -self.step, self.key_embedding)

    def follow(self, scores: Tensor, embeddings: Tensor, frame_idx: int, config) -> int:
        """The query that answers on the next frame."""
        similarity, weight = config.temporal_similarity, config.temporal_similarity_weight
        query = link_query(scores, embeddings, self.previous, similarity, weight)
        self.previous = embeddings[query]
        if frame_idx == self.start:
            self.key_embedding = self.previous
        return query


@torch.no_grad()
def propagate_in_video(
    model,
    session: GLEEInferenceSession,
    key_frame: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    reference: str = "first",
    backward: bool = True,
) -> Iterator[GLEEVideoSegmentationOutput]:
    """The loop behind [`GLEEForVideoSegmentation.propagate_in_video_iterator`]: one sweep forward, one back."""
    check_inference(model, batch_size, {})
    if not session.texts:
        if key_frame is not None:
            raise UserError("objects of prompts start at their prompts; leave key_frame out")
        found = track_prompts(model, session, batch_size, reference, backward)
        yield from (_as_object_output(session, *frame) for frame in found)
        return
    if (reference, backward) != ("first", True):
        raise UserError("reference and backward belong to prompts; expressions have key_frame")
    starts = key_frame_per_text(key_frame, len(session.texts), session.num_frames)
    tracks = [Track(text, int(start or 0), 1) for text, start in enumerate(starts)]
    text = model.model.encode_text(session.input_ids, session.attention_mask, is_referring=True)
    first, last = min(track.start for track in tracks), max(track.start for track in tracks)
    sweep = Sweep(model, session, text, batch_size)
    yield from sweep.run(tracks, range(first, session.num_frames))
    yield from sweep.run([track.reversed_track() for track in tracks], range(last - 1, -1, -1))


class Sweep:
    """Goes through frames in one direction; a frame's backbone features serve all expressions."""

    def __init__(self, model, session: GLEEInferenceSession, text: GLEEText, batch_size: int | None):
        self.model, self.session, self.text, self.batch_size = model, session, text, batch_size

    def run(self, tracks: list[Track], frames: range) -> Iterator[GLEEVideoSegmentationOutput]:
        for begin in range(0, len(frames), WINDOW):
            window = frames[begin : begin + WINDOW]
            jobs = [(frame_idx, track) for frame_idx in window for track in tracks if track.covers(frame_idx)]
            answers: dict[int, dict[int, Answer]] = {frame_idx: {} for frame_idx in window}
            for frame_idx, track, answer in self._answer(window, jobs):
                answers[frame_idx][track.text] = answer
                if len(answers[frame_idx]) == sum(other.covers(frame_idx) for other in tracks):
                    yield _as_output(frame_idx, answers.pop(frame_idx))

    def _answer(self, window: Sequence[int], jobs: list[tuple[int, Track]]) -> Iterator[tuple[int, Track, Answer]]:
        """Decode frames for expressions in batches, and link them in order."""
        images = self.session.image_processor([self.session.frames[frame_idx] for frame_idx in window])
        batch_size = self.batch_size or default_batch_size(images.pixel_values, self.model.device)
        features = self._encode(images.pixel_values, batch_size)
        row_of = {frame_idx: row for row, frame_idx in enumerate(window)}
        for begin in range(0, len(jobs), batch_size):
            batch = jobs[begin : begin + batch_size]
            rows = torch.tensor([row_of[frame_idx] for frame_idx, _ in batch], device=features.lateral.device)
            texts = torch.tensor([track.text for _, track in batch], device=self.text.words.device)
            decoded = self.model.model.decode(features.select(rows), self.text.select(texts), all_masks=False)
            size = tuple(images.pixel_values.shape[-2:]), images.resized_sizes[0]
            for index, (frame_idx, track) in enumerate(batch):
                yield frame_idx, track, self._choose(decoded, index, track, frame_idx, *size)

    def _encode(self, pixels: Tensor, batch_size: int) -> PixelMaps:
        return PixelMaps.join([self.model.model.prepare_images(part) for part in pixels.split(batch_size)])

    def _choose(self, decoded, index: int, track: Track, frame_idx: int, padded: tuple, resized: tuple) -> Answer:
        config = self.model.config
        scores = decoded.final.logits[index, :, 0].sigmoid()
        query = track.follow(scores, decoded.embeddings[index], frame_idx, config)
        chosen = [query]
        if config.multi_object_threshold is not None:
            chosen = sorted({query, *(scores > config.multi_object_threshold).nonzero()[:, 0].tolist()})
        original = self.session.height, self.session.width
        masks = self.model.model.decoder.masks_of(decoded, index, chosen)
        logits = to_original_size(masks, padded, resized, original).amax(0)
        if config.no_target_threshold is not None and scores.max() < config.no_target_threshold:
            logits = torch.full_like(logits, NO_TARGET_LOGIT)
        boxes = boxes_in_pixels(decoded.final.pred_boxes[index, chosen], padded, resized, original)
        box = torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])
        return Answer(logits, scores[query] * mask_confidence(logits[None])[0], box, query)


def _as_output(frame_idx: int, answers: dict[int, Answer]) -> GLEEVideoSegmentationOutput:
    texts = sorted(answers)
    return GLEEVideoSegmentationOutput(
        frame_idx=frame_idx,
        text_indices=texts,
        mask_logits=torch.stack([answers[text].mask_logits for text in texts]),
        scores=torch.stack([answers[text].score for text in texts]),
        boxes=torch.stack([answers[text].box for text in texts]),
        query_indices=[answers[text].query for text in texts],
    )


def _as_object_output(
    session: GLEEInferenceSession, frame_idx: int, object_ids: list[int], found: list[Found]
) -> GLEEVideoSegmentationOutput:
    every = sorted({prompt.object_id for prompt in session.prompts})
    return GLEEVideoSegmentationOutput(
        frame_idx=frame_idx,
        text_indices=[every.index(object_id) for object_id in object_ids],
        mask_logits=torch.stack([each.logits for each in found]),
        scores=torch.stack([each.score for each in found]),
        object_ids=object_ids,
        boxes=torch.stack([each.box for each in found]),
        query_indices=[each.query for each in found],
    )


__all__ = ["GLEEInferenceSession", "GLEEVideoSegmentationOutput", "link_query", "propagate_in_video"]
