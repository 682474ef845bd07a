"""The rules of a tokenizer.json, looked at before the library runs them: it would end the process, not raise.

A rule that replaces text may not make it much longer, and a regular expression may not take time without end: no
repetition within a repetition, no reference to what was found.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator

from .json_fields import shorten


MAX_RULES = 256  # steps, nested ones too
MAX_GROWTH = 32  # letters that all rules together may make of one
MAX_TEXT = 64  # letters that a rule may put in
MAX_TOKENS = 10_000_000
MAX_TOKEN_LENGTH = 1000
MAX_REGEX = 4096
MAX_COUNT = 1000  # of a{1000}, or of (a{10}){100}
MAX_UNBOUNDED = 4  # of *, + and {n,} in one branch: more take the length of the text to that power
MAX_PADDING = 1_000_000
MIN_TRIE = 1024  # bytes: a character map looks up any first byte
STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_QUANTIFIER = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}")
_REFERENCE = re.compile(r"\\(?:[1-9]|k<|k'|g<|g')|\(\?(?:R|&|P>|P=|\d|\()")


def check_tokenizer(fields: dict) -> None:
    """Refuse a tokenizer.json with rules that could take all time or memory.

    Args:
        fields: its content.

    Raises:
        ValueError: it has such a rule; the message does not say in which file.

    Example:
        >>> check_tokenizer({"normalizer": {"type": "Prepend", "prepend": "_"}})
    """
    rules = [rule for step in STEPS for rule in _rules(fields.get(step))]
    if len(rules) > MAX_RULES:
        raise ValueError(f"has {len(rules)} rules, more than {MAX_RULES}")
    growth = 1
    for rule in rules:
        growth *= _growth(rule)
        if rule["type"] == "Precompiled":
            _check_charsmap(rule.get("precompiled_charsmap"))
        for regex in _regexes(rule):
            check_regex(regex)
    if growth > MAX_GROWTH:
        raise ValueError(f"has rules that make {growth} letters of one, more than {MAX_GROWTH}")
    _check_model(fields.get("model"))
    _check_added(fields.get("added_tokens"))
    _check_padding(fields.get("padding"))


def check_regex(regex: str) -> None:
    """Refuse a regular expression that could take exponential time.

    Raises:
        ValueError: it repeats a repetition or a choice, refers to what it found, or counts too far.

    Example:
        >>> check_regex("(a+)+$")
        Traceback (most recent call last):
        ValueError: has the regular expression '(a+)+$' with a repetition of a repetition
    """
    shown = shorten(repr(regex), 60)
    if len(regex) > MAX_REGEX:
        raise ValueError(f"has a regular expression of {len(regex)} letters")
    plain = _without_classes(regex)
    if _REFERENCE.search(plain):
        raise ValueError(f"has the regular expression {shown} with a reference")
    counts = [
        int(number[-9:]) for match in _QUANTIFIER.finditer(plain) for number in match.groups("") if number.isdigit()
    ]
    if math.prod(max(count, 1) for count in counts) > MAX_COUNT:
        raise ValueError(f"has the regular expression {shown} with counts above {MAX_COUNT}")
    if _repeats_itself(plain):
        raise ValueError(f"has the regular expression {shown} with a repetition of a repetition")
    if any(_num_unbounded(branch) > MAX_UNBOUNDED for branch in plain.split("|")):
        raise ValueError(f"has the regular expression {shown} with more than {MAX_UNBOUNDED} repetitions in a row")


def _without_classes(regex: str) -> str:
    r"""The expression with "." for every escape but a reference, and for every class in brackets."""
    plain = re.sub(r"\\[pP]\{[^}]*\}|\\(?![1-9kg]).", ".", regex, flags=re.DOTALL)
    while (shorter := re.sub(r"\[[^\[\]]*\]", ".", plain)) != plain:
        plain = shorter
    return re.sub(r"\(\?[a-z-]*[:=!>]|\(\?<[=!]", "(", plain)


def _repeats_itself(plain: str) -> bool:
    """Whether a group that may come more than once has a repetition or a choice in it."""
    open_groups: list[bool] = []  # whether something in each varies
    for position, letter in enumerate(plain):
        if letter == "(":
            open_groups.append(False)
        elif letter == ")" and open_groups:
            varies, quantifier = open_groups.pop(), _QUANTIFIER.match(plain, position + 1)
            if varies and quantifier is not None and quantifier[0] not in ("?", "{1}", "{0,1}"):
                return True
            if open_groups:
                open_groups[-1] |= varies
        elif letter == "|" or _varies(plain, position):
            open_groups = [True] * len(open_groups)
    return False


def _varies(plain: str, position: int) -> bool:
    """Whether a quantifier of more than one count stands here."""
    quantifier = _QUANTIFIER.match(plain, position)
    opens_group = plain[position - 1 : position] == "("  # as in (?<name>
    return quantifier is not None and not opens_group and (quantifier[1] is None or bool(quantifier[2]))


def _num_unbounded(branch: str) -> int:
    return sum(match[0] in "*+" or (match[2] == "," and not match[3]) for match in _QUANTIFIER.finditer(branch))


def _rules(step: object) -> Iterator[dict]:
    """A step and all steps nested in it."""
    waiting = [step]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict) and "type" in current:
            yield current
        if isinstance(current, dict):
            waiting += [value for value in current.values() if isinstance(value, (dict, list))]
        elif isinstance(current, list):
            waiting += [value for value in current if isinstance(value, dict)]


def _growth(rule: dict) -> int:
    """Letters that a rule makes of one, at most."""
    if rule["type"] == "Prepend" and len(str(rule.get("prepend"))) > MAX_TEXT:
        raise ValueError(f"puts {len(str(rule['prepend']))} letters before a text, more than {MAX_TEXT}")
    if rule["type"] == "TemplateProcessing":
        parts = max(len(rule[name]) if isinstance(rule.get(name), list) else 0 for name in ("single", "pair"))
        if parts > MAX_RULES:
            raise ValueError(f"has a template of {parts} parts, more than {MAX_RULES}")
    if rule["type"] != "Replace":
        return 1
    pattern, content = rule.get("pattern"), str(rule.get("content"))
    text = pattern.get("String") if isinstance(pattern, dict) else pattern
    if text == "":
        raise ValueError("replaces the empty text")
    if len(content) > MAX_TEXT:
        raise ValueError(f"replaces a text by {len(content)} letters, more than {MAX_TEXT}")
    return max(1, -(-len(content) // (len(text) if isinstance(text, str) else 1)))


def _check_charsmap(charsmap: object) -> None:
    """Refuse a character map of SentencePiece that is cut short: its size, so many bytes, and what they lead to."""
    try:
        content = base64.b64decode(charsmap, validate=True)
    except (TypeError, ValueError):
        raise ValueError("has a character map that is no base64") from None
    size = int.from_bytes(content[:4], "little")
    if size < MIN_TRIE or size % 4 or size > len(content) - 4:
        raise ValueError("has a damaged character map")


def _regexes(rule: dict) -> Iterator[str]:
    pattern = rule.get("pattern")
    if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
        yield pattern["Regex"]


def _check_model(model: object) -> None:
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, dict):
        return  # pairs of a Unigram, which the library numbers itself
    ids = list(vocabulary.values())
    if not all(type(index) is int and 0 <= index < MAX_TOKENS for index in ids):
        raise ValueError(f"has ids of tokens that are no whole numbers from 0 to {MAX_TOKENS - 1}")
    if len(set(ids)) < len(ids):
        raise ValueError("has an id for two tokens")
    unknown = model.get("unk_token")
    if model.get("type") == "WordLevel" and unknown not in vocabulary:
        raise ValueError(f"has no id for its unknown word {shorten(repr(unknown))}")
    prefixes = (model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix"))
    if any(isinstance(text, str) and len(text) > MAX_TEXT for text in prefixes):
        raise ValueError(f"has parts of words of more than {MAX_TEXT} letters")


def _check_added(tokens: object) -> None:
    for token in tokens if isinstance(tokens, list) else ():
        index, content = (token.get("id"), token.get("content")) if isinstance(token, dict) else (None, None)
        if type(index) is not int or not 0 <= index < MAX_TOKENS:
            raise ValueError(f"has an added token with the id {shorten(repr(index))}")
        if not isinstance(content, str) or not 0 < len(content) <= MAX_TOKEN_LENGTH:
            shown = shorten(repr(content))
            raise ValueError(f"has the added token {shown}, which is no text of 1 to {MAX_TOKEN_LENGTH} letters")


def _check_padding(padding: object) -> None:
    strategy = padding.get("strategy") if isinstance(padding, dict) else None
    length = strategy.get("Fixed") if isinstance(strategy, dict) else None
    multiple = padding.get("pad_to_multiple_of") if isinstance(padding, dict) else None
    for number in (length, multiple):
        if isinstance(number, (int, float)) and not 0 < number <= MAX_PADDING:
            raise ValueError(f"pads every text to {number} tokens")


__all__ = ["check_regex", "check_tokenizer"]
