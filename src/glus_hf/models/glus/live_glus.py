"""Frames that come one by one, as from a camera: the masks of each before the next one is there.

The language model reads context frames that stand for the whole video, which nobody has seen yet. Two rules: the
context is a fixed set of images; or it is sampled from the frames seen so far, anew whenever their number reaches a
power of two. What is held does not grow: a window of frames, those that later contexts may take, and the memories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ...errors import UserError
from ...media.images import to_frame
from ...media.sizes import check_size
from ..memory_bank import MemoryBank
from ..prefix_cache import default_batch_size
from ..propagation import GLUSVideoSegmentationOutput, PropagationPass, decode_read_frame
from ..window_reader import WindowReader
from ..window_schedule import make_schedule
from .inference_glus import GLUSInferenceSession, check_fit


class LiveFrames(Sequence):
    """The frames of a stream that may still be asked for, by their number. Context images that are no frames of it
    have the numbers -1, -2, ...

    Example:

        >>> frames = LiveFrames()
        >>> for _ in range(3):
        ...     frames.append(np.zeros((4, 6, 3), np.uint8))
        >>> frames.keep({1, 2})
        >>> len(frames), sorted(frames.held), frames.frame_size
        (3, [1, 2], (4, 6))
    """

    def __init__(self, context: Sequence[np.ndarray] = ()):
        self.held: dict[int, np.ndarray] = {-1 - place: image for place, image in enumerate(context)}
        self.frame_size: tuple[int, int] | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        return self.held[index]

    def append(self, frame: np.ndarray) -> None:
        """Take the next frame, which must have the size of the first."""
        self.frame_size = self.frame_size or frame.shape[:2]
        check_size(f"frame {self._count}", frame.shape[:2], self.frame_size, remedy="resize the frames to one size")
        self.held[self._count] = frame
        self._count += 1

    def keep(self, indices: Iterable[int]) -> None:
        """Drop all other frames."""
        kept = set(indices)
        self.held = {index: frame for index, frame in self.held.items() if index < 0 or index in kept}


@dataclass
class GLUSLiveSession(GLUSInferenceSession):
    """A stream of frames and its expressions; made by [`GLUSProcessor.init_live_session`].

    Args:
        sample_context (`Callable`): from a number of frames to the indices of the context frames among them.
        source (`Iterable`, *optional*): what `propagate_in_video_iterator` takes frames from.
        expected_frames (`int`, *optional*): how many frames will come, for models that embed the time of a frame.
        context_times (`list[float]`): of a fixed context, the time in [0, 1] of each image.
        kwargs: as for [`GLUSInferenceSession`]. `missing_seg_frames` stays empty: outputs have `missing`.
    """

    sample_context: Callable[[int], list[int]] | None = None
    source: Iterable | None = None
    expected_frames: int | None = None
    context_times: list[float] = field(default_factory=list)
    reader: WindowReader | None = field(default=None, repr=False)
    forward_pass: PropagationPass | None = field(default=None, repr=False)

    @property
    def context_is_fixed(self) -> bool:
        return bool(self.context_times)

    def frame_time(self, frame_idx: int) -> float:
        """In [0, 1]: of the frames expected, or of twice those there were when the context was sampled."""
        if frame_idx < 0:
            return self.context_times[-1 - frame_idx]
        expected = self.expected_frames or 2 * last_power_of_two(self.num_frames)
        return min(frame_idx / max(expected - 1, 1), 1.0)

    def note_missing(self, text: int, frame_idx: int) -> None:
        """Nothing: a stream has no end, and every output says what is missing."""

    def is_due(self) -> bool:
        """Whether context and times change with the frame that came last."""
        if self.reader is None:
            return True
        if self.context_is_fixed and self.expected_frames is not None:
            return False
        return self.num_frames == last_power_of_two(self.num_frames)

    def later_context(self) -> set[int]:
        """Frames seen that later contexts take."""
        if self.context_is_fixed:
            return set()
        found, number = set(), 2 * last_power_of_two(self.num_frames)
        while True:
            seen = {index for index in self.sample_context(number) if index < self.num_frames}
            found |= seen
            if not seen - {0}:
                return found
            number *= 2


def last_power_of_two(number: int) -> int:
    """The largest one that is no larger than a number of at least 1.

    Example:

        >>> [last_power_of_two(number) for number in (1, 2, 3, 4, 15)]
        [1, 2, 2, 4, 8]
    """
    return 1 << (number.bit_length() - 1)


@torch.no_grad()
def push_frame(
    model, session: GLUSLiveSession, frame, batch_size: int | None = None, frame_stride: int = 1
) -> GLUSVideoSegmentationOutput:
    """The masks of the next frame of a stream; see [`GLUSForVideoSegmentation.push_frame`]."""
    session.frames.append(to_frame(frame, f"frame {session.num_frames}"))
    frame_idx = session.num_frames - 1
    schedule = make_schedule("sliding", frame_stride, model.config, session.num_frames)
    if session.is_due():
        if not session.context_is_fixed:
            session.context_frame_indices = session.sample_context(session.num_frames)
        check_fit(model, session, batch_size)
        session.use_device(model.device)
        size = batch_size or default_batch_size(model)
        session.reader = WindowReader(model.frame_reader, session, size, 0, schedule)
    if session.forward_pass is None:
        bank = MemoryBank(model.config.num_maskmem, model.config.memory_stride)
        session.forward_pass = PropagationPass(0, 1, list(range(len(session.texts))), bank)
    passes = [session.forward_pass]
    predictions = session.reader.read([frame_idx], [passes])[0]
    output = decode_read_frame(model.mask_branch, session, passes, predictions, frame_idx)
    recent = range(session.num_frames - model.config.num_query_frames - frame_stride, session.num_frames)
    session.frames.keep({*recent, *session.later_context()})
    return output


def push_frames(
    model, session: GLUSLiveSession, batch_size: int | None = None, frame_stride: int = 1
) -> Iterator[GLUSVideoSegmentationOutput]:
    """[`push_frame`] for every frame of the session's source, as it comes.

    Raises:
        UserError: the session has no source.
    """
    if session.source is None:
        raise UserError("the live session has no video: pass video= to init_live_session, or call push_frame")
    for frame in session.source:
        yield push_frame(model, session, frame, batch_size, frame_stride)


__all__ = ["GLUSLiveSession", "LiveFrames", "push_frame", "push_frames"]
