"""Inference of GLUS on one video: the session that holds all state, and the draw loop over frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers.utils import ModelOutput


@dataclass
class GLUSInferenceSession:
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
    """

    frames: Sequence[np.ndarray]
    texts: list[str]
    context_frame_indices: list[int]
    image_processor: object
    prefix_input_ids: list[int]
    turn_input_ids: list[list[int]]
    last_turn_input_ids: list[list[int]]
    missing_seg_frames: list[list[int]] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def height(self) -> int:
        return self.frames[0].shape[0]

    @property
    def width(self) -> int:
        return self.frames[0].shape[1]


@dataclass
class GLUSVideoSegmentationOutput(ModelOutput):
    """Result for one frame.

    Args:
        frame_idx (`int`): index of the frame in the video.
        mask_logits (`torch.FloatTensor [num_texts, height, width]`): mask logits at the video's own resolution.
        seg_embeddings (`torch.FloatTensor [num_texts, dim]`): projected [SEG] states.
        scores (`torch.FloatTensor [num_texts]`): [SEG] probability x mean mask confidence, in [0, 1].
    """

    frame_idx: int | None = None
    mask_logits: torch.FloatTensor | None = None
    seg_embeddings: torch.FloatTensor | None = None
    scores: torch.FloatTensor | None = None


def propagate_in_video(model, session, key_frame=None, batch_size=None):
    raise NotImplementedError
