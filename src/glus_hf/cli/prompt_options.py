"""Points, boxes and drawn objects as options of a command: `--point`, `--box`, `--scribble` and `--mask`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError


NUMBER = r"\s*-?\d{1,6}(?:\.\d{1,6})?\s*"
PAIR, CORNERS = re.compile(f"{NUMBER},{NUMBER}"), re.compile(",".join([NUMBER] * 4))

MAX_PROMPTS = 500  # of one call; each object's mask has the size of the image

Points = Annotated[
    list[str] | None,
    typer.Option(
        "--point", metavar="X,Y", help='A pixel of an object; several of one object as "120,80 130,85"; repeatable.'
    ),
]
Boxes = Annotated[
    list[str] | None, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="Box around an object, in pixels; repeatable.")
]


@dataclass
class Prompts:
    """What the options say, and the names of the objects in the order of the pipeline: points, boxes, maps."""

    arguments: dict = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


def read_points(texts: Sequence[str] | None) -> list[list[list[float]]]:
    """x and y of the points of each object.

    Raises:
        UserError: a text is no point; one line.

    Example:
        >>> read_points(["120,80", "10,20 12.5,22"])
        [[[120.0, 80.0]], [[10.0, 20.0], [12.5, 22.0]]]
    """
    return [[_numbers(pair, PAIR, "--point", "X,Y") for pair in text.split() or [text]] for text in texts or ()]


def read_boxes(texts: Sequence[str] | None) -> list[list[float]]:
    """x0, y0, x1 and y1 of each box.

    Raises:
        UserError: a text is no box, or it has no area; one line.

    Example:
        >>> read_boxes(["10,20,40,60"])
        [[10.0, 20.0, 40.0, 60.0]]
    """
    boxes = [_numbers(text, CORNERS, "--box", "X0,Y0,X1,Y1") for text in texts or ()]
    for text, (x0, y0, x1, y1) in zip(texts or (), boxes, strict=True):
        if x0 >= x1 or y0 >= y1:
            raise UserError(f"--box {text:.80}: has no area; write the left upper corner first")
    return boxes


def _numbers(text: str, pattern: re.Pattern, option: str, form: str) -> list[float]:
    if not pattern.fullmatch(text):
        raise UserError(f"{option} {text:.80}: write {form} in pixels of the image, as numbers")
    return [float(number) for number in text.split(",")]


def gather_prompts(
    size: tuple[int, int], points: list, boxes: list, scribbles: Sequence[Path] = (), masks: Sequence[Path] = ()
) -> list[Prompts]:
    """Arguments of calls of the pipeline: one for points and boxes, one for lines, and one for masks.

    Args:
        size: (height, width) of the image.
        points, boxes: of `read_points` and `read_boxes`.
        scribbles, masks: images of lines and of masks; see [`read_drawn_objects`].

    Raises:
        UserError: no prompt or more than 500, one outside the image, or an image that cannot be read; one line.
    """
    _check_inside(size, points, boxes)
    first = Prompts()
    if points:
        first.arguments["input_points"] = points
        first.names += ["point" if len(each) == 1 else "points" for each in points]
    if boxes:
        first.arguments["input_boxes"] = boxes
        first.names += ["box"] * len(boxes)
    drawn = [_drawn(size, "scribble", scribbles), _drawn(size, "mask", masks)]
    found = [each for each in (first, *drawn) if each.names]
    if not found:
        raise UserError("nothing says which object is meant; pass --point, --box, --scribble or --mask")
    count = sum(len(each.names) for each in found)
    if count > MAX_PROMPTS:
        raise UserError(f"{count} objects are too many for one call, which takes {MAX_PROMPTS}; split them")
    return found


def _check_inside(size: tuple[int, int], points: list, boxes: list) -> None:
    height, width = size
    problem = f"is outside the image of {width} x {height} pixels; correct it"
    for x, y in (point for each in points for point in each):
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(f"--point {x:g},{y:g} {problem}")
    for x0, y0, x1, y1 in boxes:
        if not (x0 < width and y0 < height and x1 > 0 and y1 > 0):
            raise UserError(f"--box {x0:g},{y0:g},{x1:g},{y1:g} {problem}")


def _drawn(size: tuple[int, int], kind: str, paths: Sequence[Path]) -> Prompts:
    from ..media.drawn_objects import read_drawn_objects

    maps = [mask for path in paths for mask in read_drawn_objects(path, size).values()]
    if not maps:
        return Prompts()
    import numpy as np

    arguments = {"segmentation_maps": np.stack(maps), "is_scribble": kind == "scribble"}
    return Prompts(arguments, [kind] * len(maps))


__all__ = ["Boxes", "Points", "Prompts", "gather_prompts", "read_boxes", "read_points"]
