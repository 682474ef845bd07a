"""What is worth knowing about expressions and what came of them: words the model does not know, and expressions that
it does not tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np


UNKNOWN_WORDS = "unknown_words"
SAME_AS = "same_as"
MIN_IOU = 0.999  # two right descriptions of one object give masks that differ at the edges; one prompt does not
MAX_SCORE_DIFFERENCE = 0.001


def unknown_words(tokenizer, text: str) -> list[str]:
    """Words of an expression that a tokenizer can only write as its unknown token, each once.

    Args:
        tokenizer: a fast tokenizer; of any other, or None, no word is unknown.
        text: an expression, cleaned as for the prompt.

    Example:
        >>> unknown_words(None, "the dog")
        []
    """
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None or not getattr(tokenizer, "is_fast", False):
        return []
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    pairs = zip(found["input_ids"], found["offset_mapping"], strict=True)
    words = [text[slice(*span)].strip() for token, span in pairs if token == unknown]
    return list(dict.fromkeys(word for word in words if any(letter.isalnum() for letter in word)))


def add_notes(
    results: Sequence[dict], unknown: Sequence[list[str]], masks: Sequence[Sequence[np.ndarray]] | None = None
) -> None:
    """Add `unknown_words` and `same_as` to the results of the texts of one video: `label`, `scores` and `masks` each,
    or `masks` apart."""
    for result, words in zip(results, unknown, strict=True):
        result |= {UNKNOWN_WORDS: words, SAME_AS: []}
    masks = [result["masks"] for result in results] if masks is None else masks
    areas = [_area(of_text) for of_text in masks] if len(results) > 1 else []
    for first, second in combinations(range(len(results)), 2):
        one, other = results[first], results[second]
        can_be = areas[first] and areas[second] and _are_close(areas[first], areas[second])
        pair = [{"masks": masks[text], "scores": results[text]["scores"]} for text in (first, second)]
        if can_be and one["label"] != other["label"] and is_same_answer(*pair):
            one[SAME_AS].append(other["label"])
            other[SAME_AS].append(one["label"])


def is_same_answer(one: dict, other: dict) -> bool:
    """Whether two results have the same pixels (IoU over the video) and the same mean score.

    Example:
        >>> result = {"masks": np.ones((2, 4, 4), bool), "scores": np.array([0.9, 0.8])}
        >>> is_same_answer(result, result), is_same_answer(result, {**result, "scores": np.array([0.5, 0.8])})
        (True, False)
    """
    if abs(float(one["scores"].mean() - other["scores"].mean())) > MAX_SCORE_DIFFERENCE:
        return False
    common = union = 0
    for mask, other_mask in zip(one["masks"], other["masks"], strict=True):
        common += np.count_nonzero(mask & other_mask)
        union += np.count_nonzero(mask | other_mask)
    return bool(common >= MIN_IOU * union)


def _area(masks: Sequence[np.ndarray]) -> int:
    return masks.area if hasattr(masks, "area") else sum(np.count_nonzero(mask) for mask in masks)


def _are_close(area: int, other: int) -> bool:
    return min(area, other) >= MIN_IOU * max(area, other)


def describe_notes(results: Sequence[dict]) -> list[str]:
    """The notes of the results of one video, a line each.

    Example:
        >>> describe_notes([{"label": "the dog", "unknown_words": ["dog"], "same_as": []}])
        ["the model does not know the word 'dog' in 'the dog': the mask may be of anything"]
    """
    lines = []
    for result in results:
        words = ", ".join(map(repr, result[UNKNOWN_WORDS]))
        plural = "s" if len(result[UNKNOWN_WORDS]) > 1 else ""
        if words:
            lines.append(
                f"the model does not know the word{plural} {words} in {result['label']!r}: the mask may be of anything"
            )
    groups: list[set[str]] = []
    for result in results:
        group = {result["label"], *result[SAME_AS]}
        if len(group) > 1 and not any(group <= known for known in groups):
            groups.append(group)
            labels = " and ".join(map(repr, dict.fromkeys([result["label"], *result[SAME_AS]])))
            lines.append(f"{labels} got the same pixels and scores: the model does not tell them apart")
    return lines


__all__ = ["SAME_AS", "UNKNOWN_WORDS", "add_notes", "describe_notes", "is_same_answer", "unknown_words"]
