"""Masks of frames that come one by one, for whoever has a pipeline: a camera, a decoder, standard input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..errors import UserError
from ..models.expressions import as_expressions
from ..models.refusals import explained
from .frame_masks import FrameMasks, frame_masks


class LiveSession:
    """Expressions that are looked for in every frame that is pushed; see the pipeline's `open_live`.

    Args:
        model: has `push_frame`.
        processor: has `init_live_session` and `post_process_masks`.
        text (`str` or `list[str]`): the expression(s).
        threshold: mask logits above it are foreground.
        options: of the processor's `init_live_session`.

    Raises:
        UserError: the model takes no frames one by one, or an expression is refused.

    Example:
        >>> live = LiveSession(model, processor, "the red circle")  # doctest: +SKIP
        >>> live.push(frame).masks.shape  # doctest: +SKIP
        (1, 720, 1280)
    """

    def __init__(
        self,
        model,
        processor,
        text: str | Sequence[str],
        threshold: float = 0.0,
        batch_size: int | None = None,
        frame_stride: int = 1,
        **options,
    ):
        if not hasattr(processor, "init_live_session"):
            kind = getattr(model.config, "model_type", "this")
            raise UserError(f"a {kind} model takes no frames one by one: use a GLUS model, or a whole video")
        self.model, self.processor, self.threshold = model, processor, threshold
        self.settings = {"batch_size": batch_size, "frame_stride": frame_stride}
        self.labels = as_expressions(text)
        self.session = processor.init_live_session(text, **options)

    def push(self, frame) -> FrameMasks:
        """Masks of the next frame.

        Args:
            frame: PIL image, or array or tensor `[height, width, 3]`; uint8, or floating point in 0 to 1.

        Raises:
            UserError: no image, or of another size than the first; the frames after it may be pushed all the same.
        """
        with explained(self.model):
            output = self.model.push_frame(self.session, frame, **self.settings)
        return frame_masks(output, self.processor, self.threshold)

    def push_all(self, frames: Iterable) -> Iterator[FrameMasks]:
        """[`push`] for each frame, when it comes."""
        return (self.push(frame) for frame in frames)


__all__ = ["LiveSession"]
