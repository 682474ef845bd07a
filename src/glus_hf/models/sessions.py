"""What a family that segments videos gives and takes: the contract of pipeline, evaluation and command line.

A family has

* a processor with `init_video_session(video, text, context_frames=None) -> VideoSession`, one session for a video and
  one or more expressions, and `post_process_masks(mask_logits, threshold) -> bool [..., height, width]`;
* a model with `propagate_in_video_iterator(session, key_frame=None, batch_size=None)`, which yields
  [`VideoSegmentationOutput`]s.

A family may also take frames that come one by one: `processor.init_live_session(text, ...)` and
`model.push_frame(session, frame)`, which gives the output of that frame.

A family may also take corrected masks: `processor.takes_corrections` is true, and its sessions have
`add_prompt(frame_idx, text, mask=bool [height, width])`, after which a propagation gives that mask for that frame and
follows it.

Every frame comes exactly once for every expression, from its key frame forward to the end, then backward to the start.
Expressions with different key frames reach a frame at different times, so a frame may come in several outputs, each
for some of the expressions. All state lies in the session, none on the model: two sessions can share one model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from transformers.utils import ModelOutput

from ..errors import UserError
from ..media.images import as_rgb_arrays
from ..media.sizes import check_same_size, frame_size
from ..model_families import load_module


WINDOWS = ("sliding", "whole")
"""How a language model reads frames, where a model has a choice: one window per frame, or one for several."""
AUTO = "auto"
"""The key frame that a selector chooses."""


@dataclass
class VideoSession:
    """One video and its expressions. A family adds what its inference keeps between frames.

    Args:
        frames (`Sequence[np.ndarray]`): T frames, each `uint8 [height, width, 3]` RGB.
        texts (`list[str]`): the cleaned expressions.

    Example:

        >>> session = VideoSession([np.zeros((4, 6, 3), np.uint8)] * 3, ["the cat"])
        >>> session.num_frames, session.height, session.width
        (3, 4, 6)
    """

    frames: Sequence[np.ndarray]
    texts: list[str]

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def height(self) -> int:
        return frame_size(self.frames)[0]

    @property
    def width(self) -> int:
        return frame_size(self.frames)[1]


@dataclass
class VideoSegmentationOutput(ModelOutput):
    """Result for one frame: for all expressions, or, where they start from different frames, for some.

    Args:
        frame_idx (`int`): index of the frame in the video.
        text_indices (`list[int]`, *optional*): which expressions these are, ascending; n of them. All by default.
        mask_logits (`torch.FloatTensor [n, height, width]`): logits at the video's own resolution.
        scores (`torch.FloatTensor [n]`): how sure the model is of each mask, in [0, 1]; 0 for an empty mask.
        object_ids (`list[int]`, *optional*): of families that tell objects apart, the object of each mask.
        boxes (`torch.FloatTensor [n, 4]`, *optional*): x0, y0, x1, y1 in pixels of the video.
        missing (`list[int]`, *optional*): those of `text_indices` that the model gave no answer for on this frame;
            their masks are empty.
    """

    frame_idx: int | None = None
    text_indices: list[int] | None = None
    mask_logits: torch.FloatTensor | None = None
    scores: torch.FloatTensor | None = None
    object_ids: list[int] | None = None
    boxes: torch.FloatTensor | None = None
    missing: list[int] | None = None


def load_frames(video) -> Sequence[np.ndarray]:
    """Frames `uint8 [height, width, 3]` of anything that `glus_hf.load_video` takes; those of a long file or folder
    are read when they are asked for.

    Where only the code of a pushed model is there, without the package, of a sequence of arrays or PIL images.

    Raises:
        UserError: no frames, frames of different sizes, or a file that cannot be read.
    """
    reader = load_module("media.video")  # by name: a pushed model does not need the libraries of the reader
    if reader is not None:
        frames = reader.open_video(video).frames
    elif isinstance(video, (str, os.PathLike)):
        raise UserError("reading a video file needs the package; pip install glus-hf, or pass frames")
    else:
        frames = getattr(video, "frames", None)
        frames = as_rgb_arrays(video) if frames is None else frames
    if len(frames) == 0:
        raise UserError("the video has no frames; pass at least one image")
    check_same_size(frames)
    return frames


def key_frame_per_text(key_frame, num_texts: int, num_frames: int, names: Sequence[str | None] = (None,)) -> list:
    """One key frame per expression, from one for all (a number, a name or None) or one each (a list or an array).

    Args:
        key_frame: index of a frame, or one of `names`; or a list, array or tensor of these.
        num_texts, num_frames: of the session.
        names: what else may stand for a frame, as "auto"; these are returned as they are.

    Raises:
        UserError: not one per expression, or no such frame.

    Example:

        >>> key_frame_per_text(2, num_texts=2, num_frames=5)
        [2, 2]
        >>> key_frame_per_text(np.array([0, 4]), num_texts=2, num_frames=5)
        [0, 4]
    """
    key_frame = _plain(key_frame)
    starts = key_frame if isinstance(key_frame, (list, tuple)) else [key_frame] * num_texts
    starts = [_plain(start) for start in starts]
    if len(starts) != num_texts:
        raise UserError(
            f"there are {num_texts} expressions but {len(starts)} key frames; pass one each, or one for all"
        )
    for start in starts:
        is_name = (start is None or isinstance(start, str)) and start in names
        is_index = isinstance(start, Integral) and not isinstance(start, bool)
        if not is_name and not (is_index and 0 <= start < num_frames):
            named = " or ".join(["", *(repr(name) for name in names if name is not None)])
            raise UserError(f"key_frame must be an integer in 0..{num_frames - 1}{named}, got {start!r}")
    return starts


def check_inference(model, batch_size: int | None, fits: dict[str, tuple]) -> None:
    """Refuse a model in training mode, an impossible batch size, and a processor of another model.

    Args:
        fits: by name of a setting, the processor's value and the model's.

    Raises:
        UserError: one of these.
    """
    if model.training:
        raise UserError("the model is in training mode; call model.eval() before inference")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size must be at least 1, got {batch_size}")
    for name, (found, wanted) in fits.items():
        if found != wanted:
            raise UserError(f"the processor's {name} is {found}, the model's {wanted}; load both from one checkpoint")


def check_prompt_ids(ids: Sequence[int], num_rows: int, image_token_id: int, num_images: int) -> None:
    """Refuse a part of a prompt whose tokens have no rows in the embeddings, or with other than `num_images` positions
    of images.

    Raises:
        UserError: processor and model belong to different checkpoints; one line.

    Example:

        >>> check_prompt_ids([1, -200, -200, 7], num_rows=8, image_token_id=-200, num_images=2)
    """
    found, largest = list(ids).count(image_token_id), max(ids, default=0)
    if found != num_images:
        problem = f"fills {found} positions of images, the model {num_images}"
    elif largest >= num_rows or any(token < 0 for token in ids if token != image_token_id):
        problem = f"gives the token {largest}, the model has {num_rows}"
    else:
        return
    raise UserError(f"the processor {problem}; load both from one checkpoint")


def sides(size) -> tuple[int, int]:
    """Height and width of an image size as configs and image processors have it: a side, a pair or a dict.

    Example:

        >>> sides(64), sides([64, 32]), sides({"height": 64, "width": 64})
        ((64, 64), (64, 32), (64, 64))
    """
    if isinstance(size, int):
        return size, size
    return tuple(size) if isinstance(size, (list, tuple)) else (size["height"], size["width"])


def _plain(value):
    """Numbers of numpy and torch as Python's, their arrays as lists."""
    return value.tolist() if hasattr(value, "tolist") else value


__all__ = [
    "AUTO",
    "WINDOWS",
    "VideoSegmentationOutput",
    "VideoSession",
    "check_inference",
    "check_prompt_ids",
    "key_frame_per_text",
    "load_frames",
    "sides",
]
