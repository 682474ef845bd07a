"""Characters that steer what shows a text instead of being seen."""

import unicodedata


UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Kinds of characters that steer a terminal, turn the direction of a text or cannot be encoded."""
JOINERS = "\u200c\u200d"  # emoji and several scripts need them


def is_unseen(letter: str) -> bool:
    """Whether a character is one of these; a line break is too, a joiner of letters is not.

    Example:
        >>> is_unseen("\\x1b"), is_unseen("a"), is_unseen("\\u200d")
        (True, False, False)
    """
    return letter not in JOINERS and unicodedata.category(letter) in UNSEEN


__all__ = ["is_unseen"]
