"""Masks that a user gives for frames, in the place of the model's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..errors import UserError


class Correction(NamedTuple):
    """The mask of an expression on a frame. The pipeline takes a plain tuple, too.

    Attributes:
        frame_idx: 0..T-1.
        expression: its number, counted from 0.
        mask: `[height, width]`, bool, an array or a tensor; empty where the frame does not show it.
    """

    frame_idx: int
    expression: int
    mask: np.ndarray


def takes_corrections(processor) -> bool:
    """Whether sessions of a processor can be corrected.

    Example:
        >>> takes_corrections(pipeline(model="glus-tiny").processor)  # doctest: +SKIP
        True
    """
    return bool(getattr(processor, "takes_corrections", False))


def add_corrections(processor, session, corrections: Iterable[tuple]) -> set[int]:
    """Give a session the masks of a user, before it is propagated.

    Args:
        processor: that made the session.
        session: of a video and its expressions.
        corrections: [`Correction`]s, or tuples like them; of two for the same expression and frame the last counts.

    Returns:
        The numbers of the expressions that some frame shows, by the masks of the user.

    Raises:
        UserError: the family takes none; or a frame, an expression or a mask that does not belong to the session.

    Example:
        >>> add_corrections(processor, session, [(12, 0, mask)])  # doctest: +SKIP
        {0}
    """
    try:
        corrections = [Correction(*correction) for correction in corrections]
    except TypeError:
        raise UserError("corrections must be a list of (frame, number of the expression, mask)") from None
    if corrections and not takes_corrections(processor):
        raise UserError("this model takes no corrected masks; use a GLUS model, or leave corrections out")
    for frame_idx, expression, mask in corrections:
        session.add_prompt(frame_idx, expression, mask=mask)
    return {prompt.object_id for prompt in session.prompts if prompt.values.any()} if corrections else set()


__all__ = ["Correction", "add_corrections", "takes_corrections"]
