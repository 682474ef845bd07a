"""The baseline of the field: a model's mask at the key frame, carried through the video by plain SAM-2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2VideoModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..errors import UserError
from ..models.hub_parts import load_part
from ..models.mask_scores import EMPTY_LOGIT, mask_confidence
from ..models.sam2_tracking import MaskTrack, encode_frame, mask_view, start_tracking_mask, track_frame, turned_back
from ..models.sessions import VideoSegmentationOutput, VideoSession, key_frame_per_text


class Sam2Propagation:
    """A model that segments the key frame only; plain SAM-2 carries its mask through the other frames.

    The words are not read again after the key frame, which is what GLUS argues against. Everything else is the
    model's own.

    Args:
        model: of any family.
        mask_model (`Sam2VideoModel`, *optional*): carries the masks; by default the model's own SAM-2, as it is.

    Raises:
        UserError: no `mask_model`, and the model has none that follows masks alone (glus-tiny has not).

    Example:

        >>> import glus_hf
        >>> pipe = glus_hf.pipeline(model="glus-tiny")
        >>> pipe.model = Sam2Propagation(pipe.model, load_sam2("facebook/sam2.1-hiera-tiny"))  # doctest: +SKIP
        >>> pipe("clip.mp4", "the red circle")["masks"].shape  # doctest: +SKIP
        (16, 128, 128)
    """

    propagation = "sam2"

    def __init__(self, model, mask_model: Sam2VideoModel | None = None):
        self.model = model
        self.mask_model = own_sam2(model) if mask_model is None else mask_model

    def __getattr__(self, name: str):
        return getattr(self.__dict__["model"], name)

    @torch.no_grad()
    def propagate_in_video_iterator(
        self, session: VideoSession, key_frame: int | Sequence[int] | None = None, batch_size: int | None = None
    ) -> Iterator[VideoSegmentationOutput]:
        """Segment a video, frame by frame: from the key frame forward to the end, then back to the start.

        Args:
            session: of the model's processor.
            key_frame: on which the model segments, the first frame by default; or one per expression.
            batch_size: of the model.

        Yields:
            [`VideoSegmentationOutput`]. `scores` are score at the key frame x probability that the object is there x
            mean probability inside the mask.
        """
        starts = key_frame_per_text(key_frame, len(session.texts), session.num_frames, names=(None,))
        starts = [int(start or 0) for start in starts]
        tracks = [track for start in sorted(set(starts)) for track in self._start(session, starts, start, batch_size)]
        forward = range(min(starts), session.num_frames)
        yield from self._sweep(session, tracks, forward)
        backward = [self._turn(session, track) for track in tracks]
        yield from self._sweep(session, backward, range(max(starts) - 1, -1, -1))

    def _start(self, session: VideoSession, starts: list[int], start: int, batch_size: int | None) -> list[MaskTrack]:
        """Tracks of the expressions with this key frame, from the model's masks there."""
        outputs = self.model.propagate_in_video_iterator(session, key_frame=start, batch_size=batch_size)
        first = next(outputs)
        outputs.close()
        texts = list(range(len(starts))) if first.text_indices is None else list(first.text_indices)
        masks = dict(zip(texts, zip(first.mask_logits > 0, first.scores.tolist(), strict=True), strict=True))
        return [
            MaskTrack(text, start, 1, masks[text][1], self._follow(masks[text][0]))
            for text, own in enumerate(starts)
            if own == start
        ]

    def _follow(self, mask: Tensor):
        return start_tracking_mask(self.mask_model, mask) if mask.any() else None

    def _turn(self, session: VideoSession, track: MaskTrack) -> MaskTrack:
        size = session.height, session.width
        sam = None if track.sam is None else turned_back(self.mask_model, size, track.sam)
        return MaskTrack(track.text, track.start, -1, track.score, sam)

    def _sweep(self, session: VideoSession, tracks: list[MaskTrack], frames: range):
        for frame_idx in frames:
            yield self._segment_frame(session, [track for track in tracks if track.covers(frame_idx)], frame_idx)

    @torch.no_grad()
    def _segment_frame(self, session: VideoSession, tracks: list[MaskTrack], frame_idx: int):
        size, device = (session.height, session.width), self.mask_model.device
        logits, scores = torch.full((len(tracks), *size), EMPTY_LOGIT, device=device), torch.zeros(len(tracks))
        followed = [(row, track) for row, track in enumerate(tracks) if track.sam is not None]
        if followed:
            frame = session.frames[frame_idx]
            pixels = mask_view(frame, self.mask_model.image_size, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
            pixels = pixels.to(device, self.mask_model.dtype)
            features = encode_frame(self.mask_model, pixels)
        for row, track in followed:
            low, presence = track_frame(self.mask_model, track.sam, features, pixels, track.position(frame_idx))
            logits[row] = F.interpolate(low[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
            scores[row] = track.score * presence.sigmoid() * mask_confidence(logits[row])
        texts = [track.text for track in tracks]
        missing = [track.text for track in tracks if track.sam is None]
        return VideoSegmentationOutput(
            frame_idx=frame_idx, text_indices=texts, mask_logits=logits, scores=scores, missing=missing
        )


def own_sam2(model) -> Sam2VideoModel:
    """The SAM-2 inside a model.

    Raises:
        UserError: there is none, or one that cannot follow a mask without prompts.
    """
    found = next((part for part in model.modules() if isinstance(part, Sam2VideoModel)), None)
    if found is None:
        reason = f"a {model.config.model_type} model has no SAM-2 of its own"
    elif not _follows_masks(found):
        reason = "the model's own SAM-2 has other sizes than one that follows masks alone"
    else:
        return found
    raise UserError(f"{reason}; name one, as facebook/sam2.1-hiera-tiny")


def _follows_masks(mask_model: Sam2VideoModel) -> bool:
    """Whether transformers' loop over frames can run: the memory of a mask has as many cells as the image features,
    and fewer channels."""
    config, prompts = mask_model.config, mask_model.prompt_encoder
    cells = [4 * side // config.mask_downsampler_total_stride for side in prompts.mask_input_size]
    has_room = config.memory_encoder_output_channels < config.memory_encoder_hidden_size
    return has_room and cells == list(prompts.image_embedding_size)


def load_sam2(name: str, device=None, dtype: str = "auto") -> Sam2VideoModel:
    """SAM-2 of a folder or the Hub, in the format of transformers.

    Raises:
        CheckpointError: it cannot be loaded; one line.
    """
    model = load_part(Sam2VideoModel, name, dtype)
    return model.to(device).eval()


__all__ = ["Sam2Propagation", "load_sam2", "own_sam2"]
