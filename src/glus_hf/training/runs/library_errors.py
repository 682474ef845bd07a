"""Errors of libraries that a user can set right, as ours: a full disk, a package that is not installed, training
arguments that do not go together. All others keep their type: they are defects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from safetensors import SafetensorError

from ...errors import ConfigError, UserError


Arguments = TypeVar("Arguments")

DISK = ("PytorchStreamWriter", "inline_container", "I/O error", "No space left")
CORRECT_VALUE = "correct it in the recipe, or in the environment of the launch (WORLD_SIZE, RANK, ...)"
MISSING_PACKAGE = "to be installed"  # transformers, of report_to


@contextmanager
def library_errors(*folders: str | None) -> Iterator[None]:
    """Turn errors of libraries during a run that writes into these folders into a [`UserError`].

    Raises:
        UserError: a file could not be written, or a package is missing; one line.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(f"{error}; install it, or leave out what needs it") from error
    except (RuntimeError, SafetensorError) as error:
        if any(sign in str(error) for sign in DISK):
            places = " or ".join(dict.fromkeys(str(folder) for folder in folders if folder))
            message = f"a file could not be written or read; is the disk full? Make room and start again ({error})"
            raise UserError(f"{places}: {message}" if places else message) from error
        if MISSING_PACKAGE in str(error):
            raise UserError(str(error)) from error
        raise


def make_arguments(kind: type[Arguments], values: dict) -> Arguments:
    """Training arguments of the section `training`.

    Raises:
        ConfigError: transformers refuses a value, or two that do not go together; one line.
    """
    try:
        return kind(**values)
    except UserError:
        raise
    except (ValueError, TypeError, ImportError, OSError) as error:
        raise ConfigError(f"training: {error}; {CORRECT_VALUE}") from error


__all__ = ["library_errors", "make_arguments"]
