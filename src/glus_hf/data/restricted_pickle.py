"""Read pickled mask dictionaries without running what is in them."""

from __future__ import annotations

import functools
import io
import os
import pickle
import pickletools

from ..errors import DatasetFileError, UserError
from ..safe_files import read_bytes
from .strict_json import file_stamp


MAX_OPCODES = 8_000_000  # that of Ref-DAVIS17 has some hundred thousand
_REMEMBER = ("PUT", "BINPUT", "LONG_BINPUT")


def load_plain_pickle(path: str | os.PathLike, max_opcodes: int = MAX_OPCODES):
    """Unpickle a file that holds only dicts, lists, tuples, strings, bytes, numbers, booleans and None.

    A pickle may call any function of any module while it is read. This reader refuses every global (functions and
    classes, NumPy's too) before anything is called, except the one that old protocols write for bytes.

    Args:
        path: pickle file, such as Ref-DAVIS17's `mask_dict.pkl`.
        max_opcodes: instructions that it may have.

    Raises:
        DatasetFileError: the file is damaged or holds anything else; the message names the file and the global.

    Example:
        >>> load_plain_pickle("mask_dict.pkl")  # doctest: +SKIP
    """
    content = read_bytes(path, "pickle", DatasetFileError)
    try:
        _check_opcodes(content, max_opcodes)
        return _PlainUnpickler(io.BytesIO(content)).load()
    except UserError as error:
        raise DatasetFileError(f"{path}: {error}") from None
    except _ForbiddenGlobal as error:
        raise DatasetFileError(
            f"{path}: refused: the pickle wants to load {error}, a mask dictionary holds only plain values: "
            "do not use this file"
        ) from None
    except Exception as error:  # the pickle machine raises whatever its damaged input leads to
        raise DatasetFileError(
            f"{path}: cannot be read as a pickle ({type(error).__name__}): download it again"
        ) from None


def _check_opcodes(content: bytes, most: int) -> None:
    """Refuse what would take far more memory than its file: each of millions of bytes can make an object, and one
    that is remembered under a large number makes a table of that length."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content), start=1):
        if count > most:
            raise UserError(f"holds more than {most} values: this is no mask dictionary; do not use it")
        if opcode.name in _REMEMBER and int(argument) > 2 * count + 256:
            raise UserError("is damaged (a value with an impossible number): download it again")


class _ForbiddenGlobal(Exception):
    pass


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        raise _ForbiddenGlobal(f"{module}.{name}"[:200])

    def persistent_load(self, pid):
        raise _ForbiddenGlobal("a persistent id")

    def get_extension(self, code):
        raise _ForbiddenGlobal("an extension")


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """How protocols 0 to 2 spell bytes."""
    if encoding != "latin1" or not isinstance(text, str):
        raise _ForbiddenGlobal(f"_codecs.encode to {encoding!r}"[:200])
    return text.encode("latin1")


def cached_plain_pickle(path: str):
    """[`load_plain_pickle`], kept for the next call while the file stays the same. Do not change what it returns."""
    return _cached_plain_pickle(path, file_stamp(path))


@functools.lru_cache(maxsize=2)
def _cached_plain_pickle(path: str, stamp: tuple):
    return load_plain_pickle(path)
