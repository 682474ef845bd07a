"""Referring expressions: cleaned and checked in one place for inference, training and the key-frame selector."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from ..errors import UserError


LETTERS_PER_TOKEN = 64  # more than any tokenizer has on average
LINE_BREAK_OR_TAB = re.compile(r"\s*[\t-\r\x1c-\x1f\x85\u2028\u2029]\s*")


def as_expressions(text: str | Iterable[str], name: str = "expression") -> list[str]:
    """One or more texts as a list.

    Args:
        text: a `str`, or several.
        name: what messages call one.

    Raises:
        UserError: there is none, or it is neither; one line.

    Example:

        >>> as_expressions("the cat"), as_expressions(("the cat", "the dog"))
        (['the cat'], ['the cat', 'the dog'])
    """
    if isinstance(text, (bytes, Mapping)) or not isinstance(text, Iterable):
        raise UserError(f"no {name} given but {type(text).__name__}; pass a text or a list of texts")
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise UserError(f"no {name} given; pass a text or a list of texts")
    return texts


def plain_expression(text: str) -> str:
    """An expression in lower case, without white space around it or a full stop at its end.

    Example:

        >>> plain_expression("The dog on the left. ")
        'the dog on the left'
    """
    return text.strip().removesuffix(".").strip().lower()


def is_visible(text: str) -> bool:
    """Whether a text has a letter, a digit or a sign: control characters and white space alone say nothing.

    Example:

        >>> is_visible("dog"), is_visible("\\0\\t")
        (True, False)
    """
    return any(unicodedata.category(character)[0] in "LMNPS" for character in text)


def one_line(text: str) -> str:
    """Line breaks and tabs as a space; spaces of any kind are tokens, however many, and stay."""
    return LINE_BREAK_OR_TAB.sub(" ", text)


def check_expression(
    text: str,
    clean: Callable[[str], str],
    protocol_tokens: Iterable[str],
    count_tokens: Callable[[str], int],
    max_tokens: int,
) -> str:
    """Clean an expression and refuse what no prompt can hold.

    Args:
        text: what the user wrote.
        clean: the family's cleaning.
        protocol_tokens: what an expression must not contain.
        count_tokens: length of a cleaned expression.
        max_tokens: longest accepted one.

    Returns:
        `clean(text)`.

    Raises:
        UserError: not a `str`, no valid unicode, nothing left, a protocol token inside, or too long.

    Example:

        >>> check_expression("The cat.", plain_expression, ["[SEG]"], len, 20)
        'the cat'
    """
    if not isinstance(text, str):
        raise UserError(f"an expression must be a str, got {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError("the expression is not valid unicode; decode it with the right encoding") from None
    if len(text) > max(max_tokens, 1) * LETTERS_PER_TOKEN:  # counting its tokens could take long
        raise UserError(
            f"the expression has {len(text)} letters, far more than {max_tokens} tokens; shorten it or raise "
            "max_expression_tokens"
        )
    cleaned = clean(text)
    if not is_visible(cleaned):
        raise UserError(f"the expression {text[:40]!r} is empty; name the object in a few words")
    token = find_protocol_token(cleaned, protocol_tokens)
    if token is not None:
        raise UserError(f"the expression contains the protocol token {token}; remove it from the expression")
    length = count_tokens(cleaned)
    if length > max_tokens:
        raise UserError(
            f"the expression has {length} tokens, the limit is {max_tokens}; shorten it or raise max_expression_tokens"
        )
    return cleaned


def find_protocol_token(text: str, protocol_tokens: Iterable[str]) -> str | None:
    """The first protocol token in an expression, whatever its case; None without one.

    A tokenizer that normalises unicode would turn look-alikes into the real thing: normalised text is compared.

    Example:

        >>> find_protocol_token("the [seg] one", ["<s>", "[SEG]"])
        '[SEG]'
    """
    text = unicodedata.normalize("NFKC", text).lower()
    return next((token for token in dict.fromkeys(protocol_tokens) if token.lower() in text), None)


def sample_templates(rng, num_templates: int, turns: int | None = None):
    """Indices of templates, uniformly: one, or one per turn of a conversation.

    Args:
        rng (`np.random.Generator`): the only source of randomness.
        num_templates: how many there are.
        turns: None for a single index.
    """
    return int(rng.integers(num_templates)) if turns is None else rng.integers(num_templates, size=turns)


__all__ = [
    "as_expressions",
    "check_expression",
    "find_protocol_token",
    "is_visible",
    "one_line",
    "plain_expression",
    "sample_templates",
]
