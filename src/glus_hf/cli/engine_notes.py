"""What a user has to know of a model before its masks: what it is for, and what it cost to fit this machine."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .output import echo


DRAWN_ONLY = "glus-tiny"
FOOTAGE_NOTE = (
    "glus-tiny knows drawn shapes only: its masks mean nothing on real footage; use --model grounded-tiny "
    "(looks, 0.85 GB) or --model glus-7b (looks and motion, 14.5 GB and a large card)"
)


def tell_of_footage(model: str, video: str | Path) -> None:
    """A line on stderr where the bundled model meets a video file that this package did not write."""
    from ..media.writer_tag import is_footage

    if model == DRAWN_ONLY and is_footage(video):
        echo(FOOTAGE_NOTE, err=True)


def fit_mask_size(model, side: int | None) -> None:
    """`--mask-size`; without it, a model that has a size for a CPU gets it there, and a line says so on stderr.

    Raises:
        UserError: the model has one size only, or cannot have this one.
    """
    if not hasattr(model, "set_mask_size"):
        if side is not None:
            raise UserError(f"--mask-size: a {model.config.model_type} model has one mask size; leave it out")
        return
    own, on_cpu = model.config.mask_config.image_size, model.mask_size_on_cpu
    if side is None and model.device.type == "cpu" and own > on_cpu:
        echo(f"Masks are drawn at {on_cpu} px on a CPU; --mask-size {own} is finer and slower", err=True)
        side = on_cpu
    if side is not None:
        model.set_mask_size(side)


def notice_of(model) -> str | None:
    """What the user of an engine must know of its masks; None without such a note."""
    return getattr(model, "notice", None)


__all__ = ["fit_mask_size", "notice_of", "tell_of_footage"]
