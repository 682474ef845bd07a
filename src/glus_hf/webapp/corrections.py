"""Corrections: masks of a user for frames of a finished job, which make a new job over the same video."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from ..errors import UserError
from ..media.mask_png import MASK_MODES
from ..media.open_image import open_image
from ..media.rle import encode_rle
from .jobs import DONE, Job, JobStore


NAME = "the mask"
HALF = 128  # what is brighter, in an image with colours, is white


class CannotCorrect(UserError):
    """The engine corrects no masks, or the job is not at its end."""


def correct(store: JobStore, owner: str, job: Job, given: Sequence[tuple[int, int, bytes]]) -> Job:
    """A new job: as a finished one, with masks of a user, and with those that it had already.

    Args:
        store: of the jobs.
        owner: who corrects.
        job: a finished one; it stays as it is.
        given: frames, numbers of expressions, and PNGs of masks.

    Raises:
        QueueFull: as for any job.
        UserError: too many, a frame or an expression that the job does not have, or no mask; one line.
    """
    corrections = dict(job.corrections)
    for frame_idx, expression, png in given:
        check_place(job, frame_idx, expression)
        corrections[frame_idx, expression] = encode_rle(read_mask(png, _size(job)))
    if len(corrections) > store.limits.corrections:
        limit = store.limits.corrections
        raise UserError(f"there are {len(corrections)} corrections, this service takes {limit} in a job")
    starts = [each["key_frame"] for each in job.result["expressions"]]
    return store.submit(owner, job.source, job.texts, starts, corrections)


def check_correctable(job: Job, takes_corrections: bool) -> None:
    """Refuse corrections where there can be none.

    Raises:
        CannotCorrect: the engine takes none, or the job is not done; one line.
    """
    if not takes_corrections:
        raise CannotCorrect("the model of this service takes no corrected masks")
    if job.state != DONE:
        raise CannotCorrect(f"the job is {job.state}: only a finished job can be corrected")


def check_place(job: Job, frame_idx: int, expression: int) -> None:
    """Refuse a frame or an expression that a finished job does not have.

    Raises:
        UserError: one line.
    """
    for name, number, count in (
        ("frame", frame_idx, job.result["num_frames"]),
        ("expression", expression, len(job.texts)),
    ):
        if not 0 <= number < count:
            raise UserError(f"there is no {name} {number}: the job has {count} {name}s, counted from 0")


def read_mask(png: bytes, size: tuple[int, int]) -> np.ndarray:
    """The mask of a PNG: what is not black, in an image with colours what is brighter than half.

    Args:
        png: content of the file.
        size: `(height, width)` that it must have; known from its header before anything is decoded.

    Returns:
        `[height, width]`, bool.

    Raises:
        UserError: no PNG, a damaged one, or one of another size; one line.
    """
    options = {"formats": ("PNG",), "remedy": "send a PNG of the video's size", "error": UserError}
    width, height = open_image(io.BytesIO(png), NAME, decode=False, **options).size
    if (height, width) != tuple(size):
        raise UserError(
            f"{NAME} has {width} x {height} pixels, the video {size[1]} x {size[0]}: send one of that size"
        )
    image = open_image(io.BytesIO(png), NAME, **options)
    if image.mode in MASK_MODES:
        return np.asarray(image) > 0
    return np.asarray(image.convert("L")) >= HALF


def _size(job: Job) -> tuple[int, int]:
    return job.result["height"], job.result["width"]


__all__ = ["CannotCorrect", "check_correctable", "check_place", "correct", "read_mask"]
