"""Inference of GLUS on one video: the session that holds all state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ...errors import UserError
from ..propagation import GLUSVideoSegmentationOutput
from ..sessions import VideoSession, check_inference, check_prompt_ids, sides
from ..video_prompts import TakesCorrections, VideoPrompt


@dataclass
class GLUSInferenceSession(TakesCorrections, VideoSession):
    """One video and its expressions, with everything inference keeps between frames.

    Made by [`GLUSProcessor.init_video_session`]; the model never stores state on itself, so two sessions can share
    one model.

    Args:
        frames (`Sequence[np.ndarray]`): T frames, each `uint8 [height, width, 3]` RGB.
        texts (`list[str]`): the cleaned expressions.
        context_frame_indices (`list[int]`): indices of the context frames, `num_context_frames` of them.
        image_processor ([`GLUSImageProcessor`]): makes both views of a frame.
        prefix_input_ids (`list[int]`): ids of the part all windows share: system prompt, context frames (each
            expanded to its image positions, `image_token_id`) and the context sentence.
        turn_input_ids (`list[list[int]]`): per expression, one earlier turn: query image, question, answer, "USER:".
        last_turn_input_ids (`list[list[int]]`): per expression, the last turn up to the position that predicts [SEG].
        missing_seg_frames (`list[list[int]]`): filled by inference: per expression, the frames on which the model did
            not emit [SEG].
        prompts (`list[VideoPrompt]`): corrections: masks that take the place of the model's own, also in its memory.
            See [`TakesCorrections`].
        keep_readings (`bool`): keep what the language model says of every frame, so that a run after a correction
            decodes masks alone. A kilobyte per expression and frame.
        readings (`dict`): that, filled by inference. It belongs to one model and its settings.

    Example:

        >>> session.keep_readings = True  # doctest: +SKIP
        >>> outputs = list(model.propagate_in_video_iterator(session))  # doctest: +SKIP
        >>> session.add_prompt(12, 0, mask=mask)  # doctest: +SKIP
        >>> corrected = list(model.propagate_in_video_iterator(session))  # doctest: +SKIP
    """

    context_frame_indices: list[int]
    image_processor: object
    prefix_input_ids: list[int]
    turn_input_ids: list[list[int]]
    last_turn_input_ids: list[list[int]]
    missing_seg_frames: list[list[int]] = field(default_factory=list)
    prompts: list[VideoPrompt] = field(default_factory=list)
    keep_readings: bool = False
    readings: dict = field(default_factory=dict)

    def frame_time(self, frame_idx: int) -> float:
        """Where in the video a frame is, in [0, 1]."""
        return frame_idx / max(self.num_frames - 1, 1)

    def note_missing(self, text: int, frame_idx: int) -> None:
        """Remember that an expression got no [SEG] on a frame."""
        self.missing_seg_frames[text].append(frame_idx)

    def turn_ids(self, text: int, frame_idx: int) -> list[int]:
        """Ids of an earlier turn about a frame."""
        return self.turn_input_ids[text]

    def last_turn_ids(self, text: int, frame_idx: int) -> list[int]:
        """Ids of the last turn, about a frame."""
        return self.last_turn_input_ids[text]

    def reader_view(self, frames: Sequence[int]) -> Tensor:
        """Frames as CLIP sees them, `[n, 3, crop, crop]`."""
        return self.image_processor.clip_view([self.frames[frame_idx] for frame_idx in frames])

    def mask_view(self, frame_idx: int) -> Tensor:
        """A frame as the mask branch sees it, `[1, 3, S, S]`."""
        return self.image_processor.mask_view([self.frames[frame_idx]])


def check_fit(model, session: GLUSInferenceSession, batch_size: int | None) -> None:
    """Refuse a session of another model.

    Raises:
        UserError: one line.
    """
    config, views = model.config, session.image_processor
    if config.seg_token_id is None:
        raise UserError("config.seg_token_id is not set; take it from the processor: processor.seg_token_id")
    fits = {
        "num_context_frames": (len(session.context_frame_indices), config.num_context_frames),
        "mask_size": (sides(views.mask_size), sides(config.mask_config.image_size)),
        "crop_size": (sides(views.crop_size), sides(config.vision_config.image_size)),
    }
    check_inference(model, batch_size, fits)
    rows, image = config.text_config.vocab_size, config.image_token_id
    check_prompt_ids(session.prefix_input_ids, rows, image, config.num_context_frames * config.num_image_tokens)
    for ids in [*session.turn_input_ids, *session.last_turn_input_ids]:
        check_prompt_ids(ids, rows, image, config.num_image_tokens)


__all__ = ["GLUSInferenceSession", "GLUSVideoSegmentationOutput", "check_fit"]
