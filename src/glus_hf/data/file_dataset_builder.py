"""What all builders of datasets share: options, splits, where the files are, errors of one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import datasets

from ..errors import DatasetFileError, UserError
from .dataset_files import SourceFiles
from .dataset_root import find_root


# Part of every cache path: raise it when the rows made from unchanged files change.
ROWS_VERSION = "1.0.0"


@dataclass
class FileDatasetConfig(datasets.BuilderConfig):
    """Options of a builder; a dataset with options of its own adds fields.

    Attributes:
        split: the one split to build; None builds all that are there.
        fingerprint: digest of the files, set by the builder, so that the cache never serves rows of edited files.
    """

    version: datasets.Version | str | None = ROWS_VERSION
    split: str | None = None
    fingerprint: str = ""


class FileDatasetBuilder(datasets.GeneratorBasedBuilder):
    """Base of all builders in `datasets_scripts`.

    A subclass sets `ROWS`, `SPLITS` and `FOLDERS` and implements `source_files`, `parts` and `part_rows`; all three
    may read `self.config`. `part_rows` may run in another process than `parts`.

    Args:
        cache_dir: where prepared rows are kept, by default that of `datasets`.
        data_dir: folder of the dataset, or the folder that holds it.
        split: one of `SPLITS` (or an alias); None takes all that are there.
        options: of the dataset's config.

    Raises:
        DatasetFileError: unknown split or option, or files are missing.
    """

    BUILDER_CONFIG_CLASS = FileDatasetConfig
    ROWS: datasets.Features
    PART = "video"  # what the work of a split is divided into
    KIND = ""  # goes before the name in the cache, where another builder has the same name
    DEFAULT_WRITER_BATCH_SIZE = 64  # rows hold masks: 1000, the default of datasets, is hundreds of megabytes
    SPLITS: tuple[str, ...] = ()
    ALIASES: dict[str, str] = {"validation": "valid"}
    FOLDERS: tuple[str, ...] = ()  # names of the dataset's folder, looked for inside data_dir
    OPTION_NAMES: dict[str, str] = {}  # option: field of the config, where the config cannot have the option's name
    LICENSE = ""

    def __init__(self, cache_dir=None, *, data_dir=None, split=None, **options):
        name = type(self).__module__.rpartition(".")[2]
        inherited = {key: options.pop(key) for key in BUILDER_ARGUMENTS & options.keys()}
        options = self._config_options(name, options)
        split = None if split is None else self.canonical_split(name, split)
        self.config = self.BUILDER_CONFIG_CLASS(split=split, **options)
        root, self.source = find_root(name, data_dir, self.folders(), self._source_files, self.needs_data_dir)
        super().__init__(
            cache_dir,
            dataset_name=inherited.pop("dataset_name", None) or f"{self.KIND}{name}",
            config_name=split or "all",
            data_dir=root,
            split=split,
            fingerprint="-".join(files.fingerprint() for files in self.source.values()),
            **inherited,
            **options,
        )

    # --- what a dataset implements -------------------------------------------------------------------------------

    @property
    def needs_data_dir(self) -> bool:
        """False for generated data."""
        return True

    def folders(self) -> tuple[str, ...]:
        """Names of the dataset's folder, best first."""
        return self.FOLDERS

    def splits(self, root: str) -> Sequence[str]:
        """All splits that `root` may hold."""
        return self.SPLITS

    def source_files(self, root: str, split: str) -> SourceFiles:
        """Files of a split; DatasetFileError names those that are missing."""
        raise NotImplementedError

    def parts(self, split: str) -> list[str]:
        """What the split is divided into, in order: each is read as a whole."""
        raise NotImplementedError

    def part_rows(self, split: str, part: str) -> Iterator[tuple[str, dict]]:
        """Key and row of everything in a part, in the order of its file."""
        raise NotImplementedError

    def no_rows(self, split: str, what: str) -> DatasetFileError:
        """The error that a split is empty."""
        files = self.source[split]
        return DatasetFileError(
            f"{(*files.metadata, *files.annotations)[0]}: holds no {what} of {split!r}; check the download"
        )

    # --- what datasets calls --------------------------------------------------------------------------------------

    @classmethod
    def canonical_split(cls, name: str, split: str) -> str:
        """`split` or what it is an alias of."""
        split = str(split)
        if not cls.SPLITS or split in cls.SPLITS:
            return split
        if cls.ALIASES.get(split) in cls.SPLITS:
            return cls.ALIASES[split]
        raise DatasetFileError(f"{name}: unknown split {split!r}: use {', '.join(cls.SPLITS)}")

    def _config_options(self, name: str, options: dict) -> dict:
        base = {item.name for item in fields(FileDatasetConfig)}
        known = {item.name: item.name for item in fields(self.BUILDER_CONFIG_CLASS) if item.name not in base}
        for option, config_field in self.OPTION_NAMES.items():
            known[option] = known.pop(config_field)
        if unknown := options.keys() - known.keys():
            listed = f"use {', '.join(sorted(known))}" if known else "leave it out"
            raise DatasetFileError(f"{name}: unknown option {', '.join(map(repr, sorted(unknown)))}: {listed}")
        return {known[option]: value for option, value in options.items()}

    def _source_files(self, root: str) -> dict[str, SourceFiles]:
        if self.config.split is not None:
            return {self.config.split: self.source_files(root, self.config.split)}
        found, problems = {}, []
        for split in self.splits(root):
            try:
                found[split] = self.source_files(root, split)
            except DatasetFileError as error:
                problems.append(error)
        if not found:
            raise problems[0] if problems else DatasetFileError(f"{root}: no split found; check data_dir")
        return found

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=(type(self).__doc__ or "").partition("\n")[0], features=self.ROWS, license=self.LICENSE
        )

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        # the list is what datasets divides among processes
        return [
            datasets.SplitGenerator(name=split_name(split), gen_kwargs={"split": split, "parts": self._parts(split)})
            for split in self.source
        ]

    def _parts(self, split: str) -> list[str]:
        parts = self.parts(split)
        if not parts:
            raise self.no_rows(split, self.PART)
        return parts

    def _generate_examples(self, split: str, parts: list[str]) -> Iterator[tuple]:
        for part in parts:
            yield from self.part_rows(split, part)

    def _prepare_split_single(self, *args, **kwargs):
        # datasets wraps errors, and across processes the cause is lost: raise the one line that names the file
        try:
            yield from super()._prepare_split_single(*args, **kwargs)
        except datasets.exceptions.DatasetGenerationError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.filename is None:  # a write; the system does not say where
                raise cache_error(self._cache_dir_root, cause) from None
            if isinstance(cause, (UserError, OSError)):
                raise DatasetFileError(str(cause)) from None
            raise


def cache_error(cache: str, error: OSError) -> DatasetFileError:
    """What to say where the rows of a dataset cannot be kept."""
    reason = error.strerror or error
    return DatasetFileError(
        f"{cache}: the rows of the dataset cannot be kept there ({reason}); make room, or set HF_DATASETS_CACHE to "
        "another folder"
    )


BUILDER_ARGUMENTS = {"dataset_name", "hash", "base_path", "info", "token", "writer_batch_size"}


def split_name(split: str) -> str:
    """Name of a split as `datasets` allows it: letters, digits and `_`.

    Example:
        >>> split_name("my-valid")
        'my_valid'
    """
    return "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in split)
