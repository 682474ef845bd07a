"""Types of expressions by the three challenges that the paper names."""

from __future__ import annotations


CHALLENGES = {
    "Motion": ("motion", "conjunction", "dynamic"),
    "Global reasoning": ("relation", "multi", "hybrid", "order"),
    "Vision-language reasoning": ("reasoning",),
}
"""Challenge -> types of MotionShapes, Long-RVOS, ReVOS and own data that ask for it."""
OTHER = "Other expressions"


def challenge_of(expression_type: str | None) -> str:
    """The challenge of a type.

    Example:
        >>> challenge_of("motion"), challenge_of(None)
        ('Motion', 'Other expressions')
    """
    return next((name for name, types in CHALLENGES.items() if expression_type in types), OTHER)


__all__ = ["CHALLENGES", "OTHER", "challenge_of"]
