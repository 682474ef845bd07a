"""Loading and saving, the same for all families: what does not fit fails in one line that says what to do."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel

from ..checkpoint_files.folder_check import check_model_files, check_processor_files, read_weight_headers
from ..checkpoint_files.json_fields import read_fields, shorten
from ..errors import CheckpointError, UserError
from ..hub import PACKAGED, is_alias, is_packaged, resolve_checkpoint
from ..hub_access import explain_hub_error, is_hub_name, split_revision, without_waiting
from ..model_families import load_module
from .adapters import base_of, load_adapted
from .hub_files import MODEL, PROCESSOR, WEIGHTS, fetch_folder
from .remote_code import class_reference, save_code
from .weight_fit import check_finite, check_shapes, find_misfits, make_without_data


SHOWN_KEYS = 3
HUB_REMEDY = "check the name, and that this model of the Hub has all its files"
LONGEST_REASON = 400  # letters of what a library says
REMEDY = "correct the options given, if any, or save model and processor there again"


class CheckpointMixin:
    """How configs, processors and models of all families are loaded and saved; stands before transformers' class.

    `from_pretrained` takes aliases, refuses weights that do not fit and reports what is wrong in one line.
    `save_pretrained` of a class with `register_for_auto_class` puts the code it needs beside the weights, with that of
    the shared rooms, so that remote code is as strict.

    Example:

        >>> from glus_hf import GLUSConfig
        >>> issubclass(GLUSConfig, CheckpointMixin)
        True
    """

    _saved_with_code_as: ClassVar[str | None] = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Load from an alias ("glus-tiny"), a folder or the Hub ("owner/name", "owner/name@revision"); `kwargs` as in
        transformers. An adapter (a checkpoint of training) is merged into the model that it names. The Auto classes of
        transformers know no alias: give them `glus_hf.resolve_checkpoint("glus-tiny")`.

        Raises:
            CheckpointError: nothing of this kind is there, or weights are missing, unexpected or of the wrong shape;
                one line.
        """
        pretrained_model_name_or_path, kwargs = split_revision(pretrained_model_name_or_path, kwargs)
        name = resolve_name(pretrained_model_name_or_path, kwargs.get("revision"))
        kwargs, subfolder = without_waiting(name, cls._loading_options(kwargs)), kwargs.get("subfolder") or ""
        if issubclass(cls, PreTrainedModel):
            if name is not None and kwargs.get("config") is None:
                check_checkpoint(name, [cls.config_class.model_type], subfolder)
            if name is not None:
                check_files(name, kwargs, of_model=True)
                if (base := _base_of(name, kwargs)) is not None:
                    return load_adapted(cls, name, base, *args, **kwargs)
            check_weights(cls, name, kwargs)
            loaded = load_strictly(super().from_pretrained, name, *args, **kwargs)
            _name_as_given(loaded, pretrained_model_name_or_path)
            return loaded
        is_config = issubclass(cls, PreTrainedConfig)
        if is_config and not os.path.isfile(name):
            check_checkpoint(name, [cls.model_type], subfolder)
        check_files(name, kwargs, of_model=is_config)
        with readable_errors(name):
            return super().from_pretrained(name, *args, **kwargs)

    @classmethod
    def _loading_options(cls, kwargs: dict) -> dict:
        """Hook: options of a family's own as those of transformers."""
        return kwargs

    def post_init(self) -> None:
        """As in transformers, but what a part may ignore when it is loaded alone, the whole model may not."""
        super().post_init()
        self._keys_to_ignore_on_load_unexpected = set(type(self)._keys_to_ignore_on_load_unexpected or ())

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Of a model, for peft: transformers has it under another name and warns of this one."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    @classmethod
    def register_for_auto_class(cls, *args, **kwargs):
        """As in transformers: from now on the code is saved with the weights."""
        super().register_for_auto_class(*args, **kwargs)
        # transformers would copy the files of one folder only; see save_pretrained
        cls._saved_with_code_as, cls._auto_class = cls._auto_class, None

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As in transformers; after `register_for_auto_class` with the code."""
        auto_class = self._saved_with_code_as
        if auto_class is not None:
            described = self.config if isinstance(self, PreTrainedModel) else self
            known = getattr(described, "auto_map", None) or {}
            described.auto_map = {**known, auto_class: class_reference(type(self))}
        saved = super().save_pretrained(save_directory, *args, **kwargs)
        if auto_class is not None:
            save_code(type(self), save_directory)
        return saved

    def push_to_hub(self, repo_id: str, *, processor=None, max_shard_size: int | str = "5GB", **options):
        """Push a whole repository in one commit: weights, processor, card; after `register_for_auto_class` the code.

        Args:
            repo_id: "owner/name", or "name" for your own.
            processor: of a model; by default that of the checkpoint it was loaded from.
            max_shard_size: of a weight file.
            options: `revision` (branch), `private`, `token`, `create_pr`, `commit_message`, `commit_description` as in
                transformers; `tags`, `base_model`, `datasets`, `results`, `license` and `training` of the card.

        Returns:
            The commit.

        Raises:
            CheckpointError: the Hub refuses or cannot be reached; one line. The repository is as it was.
        """
        publishing = load_module("publishing.push_objects")
        if publishing is None or isinstance(self, PreTrainedConfig):
            return super().push_to_hub(repo_id, max_shard_size=max_shard_size, **options)
        if isinstance(self, PreTrainedModel):
            return publishing.push_model(self, processor, repo_id, max_shard_size, **options)
        return publishing.push_object(self, repo_id, **options)


def _base_of(name: str, options: dict) -> str | None:
    with readable_errors(name):
        return base_of(name, options)


def _name_as_given(loaded, name_or_path) -> None:
    """An alias stays the name of its model: the folder it stands for is another one on every machine."""
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    if isinstance(name_or_path, str) and is_alias(name_or_path) and not os.path.isdir(name_or_path):
        model.name_or_path = name_or_path


def resolve_name(name_or_path, revision: str | None = None):
    """Folder of an alias ("glus-tiny", or "glus-7b" at a revision); anything else, None too, unchanged."""
    return None if name_or_path is None else resolve_checkpoint(name_or_path, revision)


def check_checkpoint(name_or_path, model_types: Sequence[str], subfolder: str = "") -> None:
    """Check what can be seen without loading: the folder exists and its `config.json` is one of `model_types`.

    Names on the Hub (`owner/name`) are not looked at.

    Raises:
        CheckpointError: no such folder, no or a broken `config.json`, or another kind of model.

    Example:
        >>> check_checkpoint("no-such-model", ["glus"])
        Traceback (most recent call last):
        CheckpointError: no-such-model: no such folder or bundled model; check the path or use ...
    """
    folder = os.path.join(name_or_path, subfolder) if subfolder else str(name_or_path)
    if not os.path.isdir(folder):
        _refuse_local(str(name_or_path), folder)
        return
    path = os.path.join(folder, "config.json")
    if os.path.isfile(os.path.join(folder, "adapter_config.json")) and not os.path.exists(path):
        return  # a LoRA adapter; transformers loads the model it names
    model_type = _read_field(folder, path, "model_type")
    if model_type not in model_types:
        hint = "convert original GLUS weights first" if model_type == "llava" else "pass the folder of such a model"
        found = shorten(repr(model_type), 60)
        raise CheckpointError(f"{folder}: holds a {found} model, not {' or '.join(model_types)!r}; {hint}")


def check_files(name_or_path, options: dict, of_model: bool) -> None:
    """Look at the files of a model's configuration, or of a processor, before a library reads them.

    Args:
        name_or_path: a folder or a name on the Hub, whose files are then downloaded.
        options: those of `from_pretrained` (`revision`, `subfolder`, `token`, ...).
        of_model: of a model, else of a processor.

    Raises:
        CheckpointError: one is damaged, or has numbers or rules that could take all memory or time; one line.
    """
    with readable_errors(name_or_path):
        folder = fetch_folder(name_or_path, options, MODEL if of_model else PROCESSOR)
        if folder is not None:
            (check_model_files if of_model else check_processor_files)(folder)


def check_weights(model_class: type[PreTrainedModel], name_or_path, options: dict) -> None:
    """Compare the headers of weight files with the model that the configuration describes, before either takes memory.

    Raises:
        CheckpointError: a file is damaged or not there, or the weights do not fit; one line.
    """
    if name_or_path is None:
        return
    with readable_errors(name_or_path):
        folder = fetch_folder(name_or_path, options, WEIGHTS)
        weights = None if folder is None else read_weight_headers(folder)
        config = options.get("config")
        if weights is None or not isinstance(config, PreTrainedConfig | None):
            return
        if config is None:
            if not os.path.isfile(folder / "config.json"):
                return  # an adapter: its base is another folder
            config = _stored_config(model_class, folder)
        is_packed = any(
            packing is not None
            for packing in (options.get("quantization_config"), getattr(config, "quantization_config", None))
        )
        model = make_without_data(model_class, config)
        tolerant = bool(options.get("ignore_mismatched_sizes"))
        _refuse_misfits(name_or_path, find_misfits(model, weights, is_packed), tolerant)
        if not _is_as_bundled(config, model_class, folder):
            check_shapes(name_or_path, model)


def _stored_config(model_class: type[PreTrainedModel], folder: Path) -> PreTrainedConfig:
    return model_class.config_class.from_dict(read_fields(folder / "config.json"))


def _is_as_bundled(config: PreTrainedConfig, model_class: type[PreTrainedModel], folder: Path) -> bool:
    """Whether this is a bundled model with its own configuration, which computes: the tests of the package run it."""
    return is_packaged(folder) and config.to_diff_dict() == _stored_config(model_class, folder).to_diff_dict()


def model_type_of(name_or_path: str | os.PathLike) -> str:
    """The `model_type` of a checkpoint; of an adapter that of the model it was trained on.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be read; one line.

    Example:
        >>> model_type_of("glus-tiny")
        'glus'
    """
    name_or_path, options = split_revision(name_or_path, {})
    name = resolve_name(name_or_path)
    adapter, path = os.path.join(name, "adapter_config.json"), os.path.join(name, "config.json")
    if os.path.isfile(adapter) and not os.path.exists(path):
        check_files(name, {}, of_model=True)  # its base is no adapter again
        return model_type_of(_read_field(name, adapter, "base_model_name_or_path"))
    if os.path.isdir(name):
        return _read_field(name, path, "model_type")
    with readable_errors(name):
        return PreTrainedConfig.get_config_dict(name, **without_waiting(name, options))[0].get("model_type", "")


def load_strictly(load: Callable, name_or_path, *args, **kwargs):
    """Call `load` (a `PreTrainedModel.from_pretrained`) and refuse weights that do not fit the model.

    `transformers` initialises missing weights at random and drops unexpected ones with a warning; here both are
    errors, as are wrong shapes (unless the caller passes `ignore_mismatched_sizes=True`).

    Returns:
        What `load` returns: the model, or with `output_loading_info=True` the pair (model, loading info).

    Raises:
        CheckpointError: the checkpoint cannot be read or does not fit; one line with the first keys and their count.
    """
    wants_info = kwargs.pop("output_loading_info", False)
    tolerant = kwargs.pop("ignore_mismatched_sizes", False)
    with readable_errors(name_or_path), _quiet_loading():
        model, info = load(name_or_path, *args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs)
    _refuse_misfits(name_or_path, info, tolerant)
    check_finite(name_or_path, model)
    return (model, info) if wants_info else model


def _refuse_misfits(name_or_path, info: dict, tolerant: bool = False) -> None:
    problems = _problems(info, tolerant)
    if problems:
        raise CheckpointError(
            f"{name_or_path}: the weights do not fit the model: {'; '.join(problems)}; "
            "use the config.json that was saved with these weights, or convert them first"
        )


@contextmanager
def readable_errors(name_or_path) -> Iterator[None]:
    """Turn the errors of files that are missing or damaged, or of options that the caller gave, into a
    [`CheckpointError`] that names the checkpoint. A name that can be no folder and none on the Hub is refused at once:
    the Hub would be asked for each of its files."""
    if name_or_path is not None and not os.path.exists(name_or_path):
        _refuse_local(str(name_or_path))
    try:
        yield
    except CheckpointError:
        raise
    except SafetensorError as error:
        message = f"{name_or_path}: its weights are damaged ({_reason(error)}); copy or download them again"
        raise CheckpointError(message) from None
    except pickle.UnpicklingError:
        message = "its weights are damaged, or hold more than tensors and are refused, because that could run code"
        raise CheckpointError(f"{name_or_path}: {message}; get them again as safetensors") from None
    except OSError as error:
        if message := explain_hub_error(name_or_path, error):
            raise CheckpointError(message) from error
        remedy = HUB_REMEDY if is_hub_name(name_or_path) else "save model and processor there again"
        message = f"{name_or_path}: cannot be loaded; {remedy} ({_reason(error)})"
        raise CheckpointError(message) from error
    except UserError as error:
        raise CheckpointError(f"{name_or_path}: cannot be loaded ({_reason(error)}); {REMEDY}") from error
    except Exception as error:  # a file can make transformers and tokenizers raise anything
        if message := explain_hub_error(name_or_path, error):
            raise CheckpointError(message) from error
        raise CheckpointError(_unloadable(name_or_path, error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of tokenizers, which is no Exception
            raise
        raise CheckpointError(_unloadable(name_or_path, error)) from None


def _unloadable(name_or_path, error: BaseException) -> str:
    return f"{name_or_path}: cannot be loaded ({type(error).__name__}: {_reason(error)}); {REMEDY}"


def _reason(error: BaseException) -> str:
    """What a library says; where it quotes a whole traceback, its last line."""
    text = str(error).strip()
    return shorten(text.splitlines()[-1] if "Traceback (most recent call last)" in text else text, LONGEST_REASON)


def _problems(info: dict, tolerant: bool) -> list[str]:
    """One text per kind of misfit. `mismatched_keys` are (key, shape in the file, shape in the model)."""
    mismatched = {key: (list(found), list(wanted)) for key, found, wanted in info.get("mismatched_keys", ())}
    shapes = [f"{key} {found} instead of {wanted}" for key, (found, wanted) in sorted(mismatched.items())]
    kinds = {
        "missing": sorted(set(info.get("missing_keys", ())) - set(mismatched)),
        "unexpected": sorted(info.get("unexpected_keys", ())),
        "of whole numbers": sorted(info.get("whole_numbers", ())),
        "of the wrong shape": [] if tolerant else shapes,
    }
    return [_listed(kind, keys) for kind, keys in kinds.items() if keys]


def _listed(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    shown = ", ".join(shorten(key, 200) for key in keys[:SHOWN_KEYS])
    return f"{len(keys)} {kind} ({shown}{more})"


def _read_field(folder: str, path: str, name: str) -> str:
    if not os.path.lexists(path):
        raise CheckpointError(f"{folder}: has no config.json; pass a folder made by save_pretrained")
    return str(read_fields(path).get(name))


def _refuse_local(name: str, folder: str | None = None) -> None:
    """Refuse a name that can only be meant as a folder, which is not there: Hub names of models are `owner/name`."""
    if name.count("/") != 1 or name[0] in "./~" or name.endswith("/") or "\\" in name:
        message = f"no such folder or bundled model; check the path or use {' or '.join(PACKAGED)}"
        raise CheckpointError(f"{folder or name}: {message}")


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Hide the table of missing and unexpected weights that `transformers` logs: it becomes our error."""
    logger = logging.getLogger("transformers.modeling_utils")
    hide = lambda record: "LOAD REPORT" not in record.getMessage()
    logger.addFilter(hide)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # what cannot be read is an error
            yield
    finally:
        logger.removeFilter(hide)


__all__ = [
    "CheckpointMixin",
    "check_checkpoint",
    "check_files",
    "check_weights",
    "load_strictly",
    "model_type_of",
    "readable_errors",
    "resolve_name",
]
