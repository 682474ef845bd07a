"""What a run knows of an expression: lines of its manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields
from typing import TypeVar

from ...inference.frame_masks import MISSING_FRAMES


Record = TypeVar("Record", bound="ExpressionRecord")
KINDS = {"str": [str], "int": [int], "float": [int, float], "bool": [bool], "dict": [dict]}


@dataclass
class ExpressionRecord:
    """An expression that is done: its ids, and a digest of all that the result depends on."""

    video_id: str
    expression_id: str
    digest: str

    @property
    def key(self) -> tuple[str, str]:
        """What tells expressions of one dataset apart."""
        return self.video_id, self.expression_id

    def to_dict(self) -> dict:
        """The line of the manifest, without what is not known."""
        names = sorted((field.name for field in fields(self)), key="dataset".__ne__)  # comes first, as ever
        values = {name: getattr(self, name) for name in names}
        return {NAMES.get(name, name): value for name, value in values.items() if value is not None}

    @classmethod
    def from_dict(cls: type[Record], line: Mapping) -> Record:
        """Of a line of a manifest; what this version does not know is left out.

        Raises:
            KeyError, TypeError: it is no such line.
        """
        keys = {field: NAMES.get(field.name, field.name) for field in fields(cls)}
        return cls(**{field.name: _checked(field, line[key]) for field, key in keys.items() if key in line})


def _checked(field: Field, value):
    """The value, if it is of the kind that the field says: a manifest may have been edited."""
    kind = field.type.removesuffix(" | None")
    if value is None and kind != field.type:
        return value
    values = value if kind.startswith("list[") else [value]
    wanted = KINDS[kind.removeprefix("list[").removesuffix("]")]
    if not (isinstance(values, list) and all(type(part) in wanted for part in values)):
        raise TypeError(f"{field.name} is {value!r}")
    return value


@dataclass
class ExpressionResult(ExpressionRecord):
    """An expression that was segmented.

    Attributes:
        num_frames: of its video.
        key_frame: name of the frame it started from.
        mean_score: of the masks.
        missing: names of the frames without an answer.
        seconds: time per expression.
        dataset: its dataset, which older lines may lack.
        confidence, no_target: with a selector, see `inference.frame_selector`.
        score: what was scored right away, see `scoring.incremental_scores`.
        num_labels, sum_labels: with pseudo-labels, how many frames have one and their sum.

    Example:
        >>> result = ExpressionResult("v", "0", "d1", 5, "00000", 0.9, [], 0.1)
        >>> ExpressionResult.from_dict(result.to_dict()) == result
        True
    """

    num_frames: int
    key_frame: str
    mean_score: float
    missing: list[str]
    seconds: float
    dataset: str | None = None
    confidence: float | None = None
    no_target: bool | None = None
    score: dict | None = None
    num_labels: int | None = None
    sum_labels: float | None = None


@dataclass
class ExpressionScores(ExpressionRecord):
    """An expression whose frames a selector has scored: `scores [num_frames]`."""

    scores: list[float]


@dataclass(frozen=True)
class ExpressionFailure:
    """An expression without a result, and why."""

    video_id: str
    expression_id: str
    error: str

    @property
    def key(self) -> tuple[str, str]:
        return self.video_id, self.expression_id


NAMES = {"missing": MISSING_FRAMES}
"""Keys of the lines that differ from the names of the fields."""


def by_key(records: Iterable) -> dict[tuple[str, str], object]:
    """Records or failures by `(video_id, expression_id)`.

    Example:
        >>> list(by_key([ExpressionFailure("v", "0", "no frames")]))
        [('v', '0')]
    """
    return {record.key: record for record in records}


__all__ = ["ExpressionFailure", "ExpressionRecord", "ExpressionResult", "ExpressionScores", "by_key"]
