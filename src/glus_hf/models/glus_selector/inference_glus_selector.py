"""Scoring of one video: the session that holds all state, and the loop over its frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import ReferenceType

import torch
from torch import Tensor

from ...media.images import clip_view
from ..prefix_cache import default_batch_size
from ..sessions import VideoSession, check_inference, check_prompt_ids, sides


FRAMES_AT_ONCE = 16


@dataclass
class GLUSSelectorSession(VideoSession):
    """One video and its expressions, with everything that scoring needs and finds.

    Made by [`GLUSSelectorProcessor.init_video_session`].

    Args:
        frames (`Sequence[np.ndarray]`): T frames, each `uint8 [height, width, 3]` RGB.
        texts (`list[str]`): the cleaned expressions.
        contexts (`list[list[int]]`): the different sets of context frames, as indices.
        context_of_frame (`list[int]`): per frame, which of `contexts` it is scored with.
        image_processor (`CLIPImageProcessorPil`): makes the view of a frame.
        num_image_tokens (`int`): positions that a frame takes.
        prefix_input_ids (`list[list[int]]`): per context, ids up to the target frame, images expanded.
        target_input_ids (`list[list[int]]`): per expression, ids from the target frame to the position that predicts
            `[SCORE]`.
        scores (`torch.FloatTensor [num_texts, num_frames]`, *optional*): set by `score_frames`.
        scored_by: the model that set them.
    """

    contexts: list[list[int]]
    context_of_frame: list[int]
    image_processor: object
    num_image_tokens: int
    prefix_input_ids: list[list[int]]
    target_input_ids: list[list[int]]
    scores: Tensor | None = None
    scored_by: ReferenceType | None = field(default=None, repr=False)

    def context_frame_indices(self, frame: int) -> list[int]:
        """Context frames that frame number `frame` is scored with."""
        return self.contexts[self.context_of_frame[frame]]


@torch.no_grad()
def score_video(model, session: GLUSSelectorSession, batch_size: int | None = None, density_noise=None) -> Tensor:
    """The loop behind [`GLUSSelector.score_frames`]: context by context, encode, read the prefix, read the targets.

    Tokens of a frame live until the last context that needs them is done.
    """
    _check_fit(model, session, batch_size)
    batch_size = batch_size or default_batch_size(model)
    targets = [[] for _ in session.contexts]
    for frame_idx, context in enumerate(session.context_of_frame):
        targets[context].append(frame_idx)
    needed = [set(frames) | set(context) for frames, context in zip(targets, session.contexts, strict=True)]
    encoder = _Encoder(model, session, density_noise)
    scores = torch.zeros(len(session.texts), session.num_frames)
    for index, context in enumerate(session.contexts):
        later = set().union(*needed[index + 1 :])
        encoder.encode(sorted(set(context)))
        prefix = model.read_prefix(session.prefix_input_ids[index], encoder.stack(context))
        for at in range(0, len(targets[index]), FRAMES_AT_ONCE):
            frames = targets[index][at : at + FRAMES_AT_ONCE]
            encoder.encode(frames)
            jobs = [(frame_idx, text) for frame_idx in frames for text in range(len(session.texts))]
            for start in range(0, len(jobs), batch_size):
                part = jobs[start : start + batch_size]
                ids = [session.target_input_ids[text] for _, text in part]
                found, _ = model.read_scores(prefix, ids, [encoder.tokens[frame_idx] for frame_idx, _ in part])
                for (frame_idx, text), score in zip(part, found.tolist(), strict=True):
                    scores[text, frame_idx] = score
            encoder.keep(later | set(context))
        encoder.keep(later)
    return scores.to(model.device) if model.device.type != "meta" else scores


class _Encoder:
    """Tokens of frames, each made once as long as it is kept."""

    def __init__(self, model, session: GLUSSelectorSession, density_noise):
        self.model, self.session, self.density_noise = model, session, density_noise
        self.tokens: dict[int, Tensor] = {}

    def encode(self, frames: list[int]) -> None:
        missing = [frame_idx for frame_idx in frames if frame_idx not in self.tokens]
        for at in range(0, len(missing), FRAMES_AT_ONCE):
            part = missing[at : at + FRAMES_AT_ONCE]
            pixels = clip_view(self.session.image_processor, [self.session.frames[frame_idx] for frame_idx in part])
            self.tokens.update(zip(part, self.model.model.encode_images(pixels, self.density_noise), strict=True))

    def stack(self, frames: list[int]) -> Tensor:
        return torch.stack([self.tokens[frame_idx] for frame_idx in frames])

    def keep(self, frames: set[int]) -> None:
        self.tokens = {frame_idx: tokens for frame_idx, tokens in self.tokens.items() if frame_idx in frames}


def _check_fit(model, session: GLUSSelectorSession, batch_size: int | None) -> None:
    fits = {
        "num_image_tokens": (session.num_image_tokens, model.config.num_image_tokens),
        "crop_size": (sides(session.image_processor.crop_size), sides(model.config.vision_config.image_size)),
    }
    check_inference(model, batch_size, fits)
    config = model.config
    rows, image, tokens = config.text_config.vocab_size, config.image_token_id, config.num_image_tokens
    for ids, context in zip(session.prefix_input_ids, session.contexts, strict=True):
        check_prompt_ids(ids, rows, image, len(context) * tokens)
    for ids in session.target_input_ids:
        check_prompt_ids(ids, rows, image, tokens)


__all__ = ["GLUSSelectorSession", "score_video"]
