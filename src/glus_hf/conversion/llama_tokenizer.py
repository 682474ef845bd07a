"""The tokenizer of a folder in the original format, and whether it belongs to the embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..checkpoint_files.folder_check import check_processor_files
from ..checkpoint_files.json_fields import shorten
from ..errors import CheckpointError
from ..safe_files import read_bytes
from .provenance import read_json
from .weight_files import refuse_pointer


def load_tokenizer(folder: Path):
    """The Llama tokenizer of a folder in the original format. The ids of its added tokens come from its files.

    Raises:
        CheckpointError: there is none, or what reads it is not installed; one line.
    """
    from transformers import LlamaTokenizer

    files = [folder / name for name in ("tokenizer.model", "tokenizer.json") if (folder / name).is_file()]
    if not files:
        raise CheckpointError(f"{folder}: has no tokenizer (tokenizer.model); download it again")
    for file in files:
        refuse_pointer(file)
    check_processor_files(folder)
    if files == [folder / "tokenizer.model"]:  # where it cannot be read, transformers would try other readers
        if not _has_sentencepiece():
            raise _needs_sentencepiece(folder)
        _check_sentencepiece(files[0])
    try:
        tokenizer = LlamaTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # transformers raises half a dozen types here
        if not _has_sentencepiece():
            raise _needs_sentencepiece(folder) from None
        raise CheckpointError(
            f"{folder}: its tokenizer cannot be read ({shorten(error)}); download it again"
        ) from None
    saved = folder / "added_tokens.json"
    for token, index in read_json(saved).items() if saved.is_file() else ():
        if (found := tokenizer.get_vocab().get(token)) != index:
            raise CheckpointError(
                f"{folder}: {token} has id {index} in added_tokens.json, but {found} in the tokenizer, whose ids "
                "have no gaps; take tokenizer files and weights from the same checkpoint"
            )
    tokenizer.pad_token = tokenizer.unk_token  # as the original code has it, whatever the files say
    return tokenizer


def add_tokens(tokenizer, tokens: Sequence[str], fields: Mapping) -> tuple[list[str], int]:
    """Add the tokens that a tokenizer lacks. Returns them, and the rows that the embeddings then need."""
    missing = [token for token in tokens if token not in tokenizer.get_vocab()]
    tokenizer.add_tokens(missing)
    return missing, max(_vocabulary_size(fields), 1 + max(tokenizer.get_vocab().values()))


def check_vocabulary(folder: Path, fields: Mapping, vocabulary: Mapping[str, int], tokens: Sequence[str]) -> None:
    """Refuse a tokenizer whose tokens have no row in the embeddings."""
    token = max(tokens, key=vocabulary.__getitem__)
    if vocabulary[token] >= _vocabulary_size(fields):
        raise CheckpointError(
            f"{folder}: {token} has id {vocabulary[token]}, but config.json has a vocab_size of "
            f"{fields.get('vocab_size')!r}; take tokenizer and config.json from the same checkpoint"
        )


def _vocabulary_size(fields: Mapping) -> int:
    """Rows of the embeddings, as `config.json` says; 0 if it does not."""
    size = fields.get("vocab_size")
    return size if isinstance(size, int) else 0


def _needs_sentencepiece(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"{folder}: reading tokenizer.model needs sentencepiece and protobuf; pip install glus-hf[convert]"
    )


def _check_sentencepiece(file: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    try:
        SentencePieceProcessor().LoadFromSerializedProto(read_bytes(file, "tokenizer", CheckpointError))
    except RuntimeError:
        raise CheckpointError(f"{file}: is damaged or cut short; download it again") from None


def _has_sentencepiece() -> bool:
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in ("sentencepiece", "google.protobuf"))


__all__ = ["add_tokens", "check_vocabulary", "load_tokenizer"]
