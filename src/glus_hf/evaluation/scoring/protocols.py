"""How each benchmark counts, averages and rounds, as named presets.

A protocol is data; scoring one expression is in expression_scores.py, averaging in averages.py, reading whole trees in
score.py. docs/metrics.md has the table and names the bugs of the published evaluators that a preset reproduces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ...errors import UserError


MISSING_POLICIES = ("error", "zero", "skip", "empty")


@dataclass(frozen=True)
class Protocol:
    """One benchmark's way of scoring.

    Attributes:
        name: of the preset.
        summary: one line for people.
        missing: what an expression with a missing frame does. "error" stops; "zero" gives it 0 everywhere; "skip"
            leaves it out of every average; "empty" takes a missing frame as an empty mask, and gives 0 to an
            expression without any frame. Whatever was missing is counted and reported.
        unit: "expression", or "davis_object" for fused masks with free ids.
        frames: "all" frames of the video, or the "annotated" ones, whose mask in the row is not None.
        extras: further metrics of each expression: "robustness" (A and R on masks), "raw_robustness" (A and R on the
            PNG's bytes), "temporal" (tIoU and vIoU), "no_target" (N-acc, T-acc, Final).
        averaged_types: types of expression whose means are averaged, each with the same weight; empty for the mean
            over all expressions.
        type_order: types in the order in which the public evaluator adds up all expressions, which decides the last
            digit; empty for the order of the rows.
        j_and_f_without_no_target: leave expressions without target out of J and F.
        rounding: "none"; "total": percent with two decimals at the end; "expression": so for each expression before
            averaging.
    """

    name: str
    summary: str
    missing: str = "error"
    unit: str = "expression"
    frames: str = "all"
    extras: tuple[str, ...] = ()
    averaged_types: tuple[str, ...] = ()
    type_order: tuple[str, ...] = ()
    j_and_f_without_no_target: bool = False
    rounding: str = "none"

    def __post_init__(self):
        if self.missing not in MISSING_POLICIES:
            raise UserError(f"missing {self.missing!r} is unknown; use {', '.join(MISSING_POLICIES)}")
        if self.unit == "davis_object" and self.missing == "skip":
            raise UserError(f"{self.name} fuses the masks of whole videos: missing 'skip' does not apply; use zero")

    @property
    def scale(self) -> int:
        """What 1.0 is in this protocol's totals: 1, or 100 where it rounds percent."""
        return 1 if self.rounding == "none" else 100


_PRESETS = (
    Protocol("mevis", "mean over frames, then over expressions"),
    Protocol("mevis_v2", "MeViSv2: J&F over all expressions, N-acc, T-acc, Final", extras=("no_target",)),
    Protocol(
        "mevis_v2_targets_only",
        "MeViSv2 with J&F over the expressions that have a target",
        extras=("no_target",),
        j_and_f_without_no_target=True,
    ),
    Protocol("refer_youtube_vos", "mean over frames, then over expressions"),
    Protocol("ref_davis17", "every expression by itself (VISA, Sa2VA, GLUS); percent, 2 decimals", rounding="total"),
    Protocol(
        "ref_davis17_official",
        "DAVIS unsupervised: fused ids per annotator, best assignment, void ignored, mean of the annotators",
        unit="davis_object",
    ),
    Protocol(
        "revos",
        "mean of referring and reasoning; percent, each expression rounded to 2 decimals",
        missing="zero",
        extras=("robustness",),
        averaged_types=("referring", "reasoning"),
        rounding="expression",
    ),
    Protocol(
        "revos_png255",
        "revos with A and R computed on the PNG's bytes, as published tables have them",
        missing="zero",
        extras=("raw_robustness",),
        averaged_types=("referring", "reasoning"),
        rounding="expression",
    ),
    Protocol("reasonvos", "annotated frames; missing expressions are left out", missing="skip", frames="annotated"),
    Protocol(
        "long_rvos",
        "J, F, tIoU, vIoU",
        missing="empty",
        extras=("temporal",),
        type_order=("dynamic", "static", "hybrid"),
    ),
    Protocol("motion_shapes", "mean over frames, then over expressions"),
    Protocol("lvvis", "mean over frames, then over expressions"),
    Protocol("own", "mean over frames, then over expressions"),
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _PRESETS})


def get_protocol(protocol: str | Protocol, missing: str | None = None) -> Protocol:
    """A preset by name, with another policy for missing predictions if asked.

    Raises:
        ValueError: an unknown name or policy, or one that does not go with the protocol.

    Example:
        >>> get_protocol("reasonvos").missing, get_protocol("reasonvos", missing="zero").missing
        ('skip', 'zero')
    """
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise UserError(f"protocol {protocol!r} is unknown; use one of {', '.join(PROTOCOLS)}")
        protocol = PROTOCOLS[protocol]
    return protocol if missing is None else replace(protocol, missing=missing)


def default_protocol(dataset: str, expression_types=()) -> str:
    """Name of the protocol of a dataset: its own name, and `mevis_v2` where MeViS has expressions without target.

    Args:
        dataset: the column `dataset` of the rows.
        expression_types: the column `expression_type` of the rows.

    Raises:
        ValueError: the dataset has no protocol.

    Example:
        >>> default_protocol("mevis", [None, "no_target"])
        'mevis_v2'
    """
    if dataset not in PROTOCOLS:
        raise UserError(f"dataset {dataset!r} has no protocol of its own; use one of {', '.join(PROTOCOLS)}")
    return "mevis_v2" if dataset == "mevis" and "no_target" in set(expression_types) else dataset


__all__ = [
    "MISSING_POLICIES",
    "PROTOCOLS",
    "Protocol",
    "default_protocol",
    "get_protocol",
]
