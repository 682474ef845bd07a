"""Prompts to ids as the slow Llama tokenizer of 2023 gave them to LLaVA-like models, with today's fast tokenizers.

A prompt is cut at `<image>`, and the chunks at `<s>`, `</s>` and the added tokens. White space (newlines too) next to
an added token is dropped, next to `<s>` and `</s>` kept. Every piece of text is encoded alone, with its own dummy
prefix "▁", and never searched for special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


BOS_TOKEN = "<s>"
EOS_TOKEN = "</s>"
UNK_TOKEN = "<unk>"
IMAGE_TOKEN = "<image>"  # never in the vocabulary: stands for an image in a prompt
SPECIAL_TOKENS = (BOS_TOKEN, EOS_TOKEN, UNK_TOKEN)
PREFIX = "▁"
IGNORE_INDEX = -100
SYSTEM_PROMPT = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
"""Of the style "llava_v1", spelling included."""


def tokenize_prompt(
    tokenizer, prompt: str, image_token_id: int, added_tokens: Sequence[str], legacy: bool = True, add_bos: bool = True
) -> list[int]:
    """Ids of a prompt, one `image_token_id` per `<image>`.

    Args:
        tokenizer: a fast tokenizer that knows `<s>`, `</s>` and the added tokens.
        prompt: whatever it says, it is not checked.
        image_token_id: a sentinel, not a row of the vocabulary.
        added_tokens: tokens that the prompt is cut at, as [SEG].
        legacy: without it, pieces behind a token of their chunk have the dummy prefix only if they start with a space.
        add_bos: put `<s>` first.
    """
    ids = [tokenizer.convert_tokens_to_ids(BOS_TOKEN)] if add_bos else []
    for index, chunk in enumerate(prompt.split(IMAGE_TOKEN)):
        if index > 0:
            ids.append(image_token_id)
        ids += _tokenize_chunk(tokenizer, chunk, added_tokens, legacy)
    return ids


def _tokenize_chunk(tokenizer, chunk: str, added_tokens: Sequence[str], legacy: bool) -> list[int]:
    separators = sorted([BOS_TOKEN, EOS_TOKEN, *added_tokens], key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, separators)) + ")", chunk)
    ids = []
    for index, part in enumerate(parts):
        if index % 2 == 1:  # re.split puts the separators at odd places
            ids.append(tokenizer.convert_tokens_to_ids(part))
            continue
        if index > 0 and parts[index - 1] in added_tokens:
            part = part.lstrip()
        if index + 1 < len(parts) and parts[index + 1] in added_tokens:
            part = part.rstrip()
        if part:
            ids += encode_piece(tokenizer, part, with_prefix=legacy or index == 0 or part.startswith(" "))
    return ids


def encode_piece(tokenizer, text: str, with_prefix: bool = True) -> list[int]:
    """Ids of "▁" + text. Fast tokenizers leave the "▁" out before a space (or altogether), so we bring our own."""
    prefixed = text if _always_prepends(tokenizer) else " " + text
    ids = tokenizer.encode(prefixed, add_special_tokens=False, split_special_tokens=True, verbose=False)
    if with_prefix:
        return ids
    first = tokenizer.convert_ids_to_tokens(ids[0])
    if not first.startswith(PREFIX):
        return ids
    bare = [] if first == PREFIX else [tokenizer.convert_tokens_to_ids(first.removeprefix(PREFIX))]
    return bare + ids[1:]


def _always_prepends(tokenizer) -> bool:
    """Whether the tokenizer puts its dummy prefix "▁" even before a text that starts with a space."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # sentencepiece itself always does
        return True
    text = " a" if backend.normalizer is None else backend.normalizer.normalize_str(" a")
    if backend.pre_tokenizer is not None:
        text = "".join(piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text))
    return text.startswith("▁▁")


__all__ = ["encode_piece", "tokenize_prompt"]
