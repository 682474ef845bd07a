"""From prompts of objects to their masks, frame by frame: what `glus-hf track` and its evaluation share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import UserError
from ..models.refusals import explained_outputs
from ..models.video_prompts import VideoPrompt
from .frame_masks import FrameMasks, frame_masks


def open_tracking(model, processor, video, prompts: Iterable[VideoPrompt]):
    """A session with prompts.

    Raises:
        UserError: the model follows no prompts, or one is refused; one line.
    """
    name = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    try:
        session = processor.init_video_session(video)
    except TypeError:  # of a family that needs expressions
        raise UserError(f"a {name} model follows no points, boxes or masks; use a GLEE model") from None
    for prompt in prompts:
        session.add_prompt(prompt.frame_idx, prompt.object_id, **{prompt.kind: prompt.values})
    return session


def track_frames(
    model, processor, session, reference: str = "first", backward: bool = True, batch_size: int | None = None
) -> Iterator[FrameMasks]:
    """Masks of the objects of a session; `text_indices` count them by ascending id. A frame may come twice, with other
    objects each time; those of a frame never share a pixel.

    Args:
        model, processor: of a family that follows prompts.
        session: of `open_tracking`.
        reference: "first", "previous" or "first+previous".
        backward: go back from the first prompt of an object to the first frame, too.
        batch_size: objects that are decoded at once.

    Yields:
        [`FrameMasks`], on the CPU.
    """
    options = {"reference": reference, "backward": backward, "batch_size": batch_size}
    for output in explained_outputs(model, model.propagate_in_video_iterator(session, **options)):
        yield frame_masks(output, processor)


def object_ids(session) -> list[int]:
    """Ids of a session's objects, ascending."""
    return sorted({prompt.object_id for prompt in session.prompts})


__all__ = ["object_ids", "open_tracking", "track_frames"]
