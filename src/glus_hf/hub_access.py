"""Checkpoints on the Hub: what a failure means in one line, and no long wait where the Hub cannot be reached."""

from __future__ import annotations

import logging
import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants, errors, try_to_load_from_cache

from .errors import CheckpointError


logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5
MARKERS = ("config.json", "adapter_config.json", "processor_config.json", "preprocessor_config.json")
LOG_IN = "or log in with `hf auth login` if it is private"
OFFLINE = "connect to the network or pass the folder of a checkpoint"


def is_hub_name(name_or_path) -> bool:
    """Whether a name can only be one of the Hub: `owner/name`, and no folder here.

    Example:
        >>> is_hub_name("owner/name"), is_hub_name("./name"), is_hub_name("glus-tiny")
        (True, False, False)
    """
    name = str(name_or_path)
    is_pair = name.count("/") == 1 and "\\" not in name and name[0] not in "./~" and not name.endswith("/")
    return is_pair and not os.path.exists(name)


def split_revision(name_or_path, options: dict) -> tuple:
    """A name and its options, with the revision of "owner/name@revision" among them; anything else unchanged.

    Raises:
        CheckpointError: `options` name another revision; one line.

    Example:
        >>> split_revision("owner/name@v2", {})
        ('owner/name', {'revision': 'v2'})
    """
    name, _, revision = str(name_or_path).partition("@")
    if not revision or not name or not is_hub_name(name) or os.path.exists(str(name_or_path)):
        return name_or_path, options
    if options.get("revision") not in (None, revision):
        raise CheckpointError(f"{name_or_path}: revision= names another one, {options['revision']}; leave one out")
    return name, {**options, "revision": revision}


def without_waiting(name_or_path, options: dict) -> dict:
    """Options of `from_pretrained`, with `local_files_only` where the Hub cannot be reached but its files are here.

    Without this each of a checkpoint's files would be asked for five times, for half a minute.

    Raises:
        CheckpointError: the Hub cannot be reached, and the checkpoint is not in the cache; one line.

    Example:
        >>> without_waiting("./my-model", {"revision": "main"})
        {'revision': 'main'}
    """
    if name_or_path is None or not is_hub_name(name_or_path) or options.get("local_files_only"):
        return options
    reason = hub_failure()
    if reason is None:
        return options
    place = {"cache_dir": options.get("cache_dir"), "revision": options.get("revision")}
    if not any(isinstance(try_to_load_from_cache(str(name_or_path), file, **place), str) for file in MARKERS):
        hub = f"the Hub ({constants.ENDPOINT}) cannot be reached ({reason})"
        raise CheckpointError(f"{name_or_path}: is no folder here and not in the cache, and {hub}; {OFFLINE}")
    if not constants.HF_HUB_OFFLINE:
        logger.warning(f"the Hub cannot be reached ({reason}): {name_or_path} is taken from the cache")
    return {**options, "local_files_only": True}


def hub_failure() -> str | None:
    """Why the Hub cannot be asked, found out in seconds; None if it can, or if a proxy has to say."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    if {"http", "https", "all"} & set(getproxies()):
        return None
    parts = urlsplit(constants.ENDPOINT)
    try:
        address = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return None


def explain_hub_error(name_or_path, error: BaseException) -> str | None:
    """One line about what the Hub, or the way to it, has to do with an error; None if nothing.

    Example:
        >>> explain_hub_error("owner/name", OSError("disk full")) is None
        True
    """
    for cause in _causes(error):
        for kind, problem in _PROBLEMS:
            if isinstance(cause, kind):
                return f"{name_or_path}: {problem}"
        if isinstance(cause, errors.HfHubHTTPError):
            status = getattr(getattr(cause, "response", None), "status_code", "an error")
            return f"{name_or_path}: the Hub answered {status}; try again later, {LOG_IN}"
        if getattr(cause, "response", None) is not None:
            continue  # of the library below; the next one says what the answer means
        if type(cause).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            return f"{name_or_path}: the Hub cannot be reached ({str(cause) or type(cause).__name__}); {OFFLINE}"
    return None


def _causes(error: BaseException | None) -> list[BaseException]:
    """An error and what it came from, the first cause first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found[::-1]


_PROBLEMS = (
    (errors.GatedRepoError, "is gated on the Hub; ask for access on its page, then log in with `hf auth login`"),
    (errors.RepositoryNotFoundError, f"is no folder here and no model on the Hub; check the name, {LOG_IN}"),
    (errors.RevisionNotFoundError, "has no such revision on the Hub; check revision="),
    (errors.HFValidationError, "is no folder here and no name of the Hub; check the path, or write owner/name"),
    (errors.OfflineModeIsEnabled, f"is not in the cache, and HF_HUB_OFFLINE is set; unset it, {OFFLINE}"),
    (errors.LocalEntryNotFoundError, f"is not in the cache, and the Hub cannot be reached; {OFFLINE}"),
    (errors.EntryNotFoundError, "lacks a file on the Hub; check that it is a checkpoint made by save_pretrained"),
)


__all__ = ["explain_hub_error", "hub_failure", "is_hub_name", "split_revision", "without_waiting"]
