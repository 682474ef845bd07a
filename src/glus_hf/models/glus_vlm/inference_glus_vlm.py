"""Inference on one video with any vision-language model: the session that holds all state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ...errors import UserError
from ..sessions import VideoSession, check_inference, check_prompt_ids
from ..video_prompts import TakesCorrections, VideoPrompt


@dataclass
class GLUSVLMInferenceSession(TakesCorrections, VideoSession):
    """One video and its expressions, made by [`GLUSVLMProcessor.init_video_session`].

    Prompts have one image position for every frame; the reader of the model makes as many of it as the frame takes.

    Args:
        frames (`Sequence[np.ndarray]`): T frames, each `uint8 [height, width, 3]` RGB.
        texts (`list[str]`): the cleaned expressions.
        processor ([`GLUSVLMProcessor`]): makes both views of a frame.
        context_frame_indices (`list[int]`): of the context frames.
        prefix_input_ids (`list[int]`): what all windows share: system prompt, context frames, context sentence.
        turn_input_ids, last_turn_input_ids (`list[list[int]]`): per expression, an earlier turn, and the last turn up
            to what predicts [SEG].
        time_input_ids (`list[list[int]]`): per frame, what stands before it; all empty without `frame_times`.
        missing_seg_frames (`list[list[int]]`): filled by inference: per expression, the frames on which the model did
            not emit [SEG].
        prompts (`list[VideoPrompt]`): corrections: masks that take the place of the model's own, also in its memory.
            See [`TakesCorrections`].
        keep_readings (`bool`): keep what the language model says of every frame, so that a run after a correction
            decodes masks alone. A kilobyte per expression and frame.
        readings (`dict`): that, filled by inference. It belongs to one model and its settings.
    """

    processor: object
    context_frame_indices: list[int]
    prefix_input_ids: list[int]
    turn_input_ids: list[list[int]]
    last_turn_input_ids: list[list[int]]
    time_input_ids: list[list[int]]
    missing_seg_frames: list[list[int]] = field(default_factory=list)
    prompts: list[VideoPrompt] = field(default_factory=list)
    keep_readings: bool = False
    readings: dict = field(default_factory=dict)

    def note_missing(self, text: int, frame_idx: int) -> None:
        """Remember that an expression got no [SEG] on a frame."""
        self.missing_seg_frames[text].append(frame_idx)

    def turn_ids(self, text: int, frame_idx: int) -> list[int]:
        """Ids of an earlier turn about a frame."""
        return self.time_input_ids[frame_idx] + self.turn_input_ids[text]

    def last_turn_ids(self, text: int, frame_idx: int) -> list[int]:
        """Ids of the last turn, about a frame."""
        return self.time_input_ids[frame_idx] + self.last_turn_input_ids[text]

    def reader_view(self, frames: Sequence[int]) -> Mapping[str, Tensor]:
        """Frames as the vision-language model sees them."""
        return self.processor.frame_view([self.frames[frame_idx] for frame_idx in frames])

    def mask_view(self, frame_idx: int) -> Tensor:
        """A frame as the mask model sees it, `[1, 3, S, S]`."""
        return self.processor.mask_view([self.frames[frame_idx]])


def check_fit(model, session: GLUSVLMInferenceSession, batch_size: int | None) -> None:
    """Refuse a session of another model.

    Raises:
        UserError: one line.
    """
    config, processor = model.config, session.processor
    if config.seg_token_id is None:
        raise UserError("config.seg_token_id is not set; take it from the processor: processor.seg_token_id")
    fits = {
        "num_context_frames": (len(session.context_frame_indices), config.num_context_frames),
        "mask_size": (processor.mask_size, config.mask_config.image_size),
        "[SEG]": (processor.seg_token_id, config.seg_token_id),
        "vlm_type": (processor.vlm_type, config.vlm_config.model_type),
    }
    check_inference(model, batch_size, fits)
    rows, image = model.get_input_embeddings().weight.shape[0], config.vlm_config.image_token_id
    check_prompt_ids(session.prefix_input_ids, rows, image, config.num_context_frames)
    for ids in [*session.turn_input_ids, *session.last_turn_input_ids]:
        check_prompt_ids(ids, rows, image, 1)


__all__ = ["GLUSVLMInferenceSession", "check_fit"]
