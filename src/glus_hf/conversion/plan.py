"""Which weight goes where: every weight used exactly once and of the right shape, or one error that lists them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError, UserError
from .new_weights import NewWeights
from .weight_files import ShardWriter, WeightFiles, progress_bar


OWN = "own:"  # before a name that is ours already
DTYPES = {"keep": None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Source = WeightFiles | NewWeights


class WeightsDoNotFit(CheckpointError):
    """Weights are missing, unexpected or of the wrong shape. The message lists them all.

    Attributes:
        keys (`dict[str, list[str]]`): all of them, under "missing", "unexpected" and "of the wrong shape".
    """

    longest_message = 200_000  # letters; the names of a model of 7B are about 70,000

    def __init__(self, where: str, keys: dict[str, list[str]], remedy: str):
        self.keys = keys
        parts = [f"{len(names)} {kind} ({', '.join(names)})" for kind, names in keys.items() if names]
        super().__init__(f"{where}: the weights do not fit: {'; '.join(parts)}; {remedy}")


class ConversionPlan:
    """The way of every weight of `sources` into a model of `config`. A family implements the first three hooks.

    Args:
        config (`PreTrainedConfig`): of the model that is made.
        sources: where its weights come from. Names are those of the original layout, or ours after "own:".
        dtype (`str`): "keep", or the dtype of all weights.

    Attributes:
        architecture (`str`): class of the model.
        misfits (`dict[str, list[str]]`): weights that are "missing", "unexpected" or "of the wrong shape", by
            original names; see `check`.

    Raises:
        CheckpointError: two sources hold the same weight, or the config makes no model.
    """

    def __init__(self, config, sources: Sequence[Source], dtype: str = "keep"):
        if dtype not in DTYPES:
            raise UserError(f"dtype {dtype!r} is unknown; use {', '.join(DTYPES)}")
        self.config, self.sources, self.dtype = config, sources, DTYPES[dtype]
        self.shapes = self._join_shapes()
        self.targets, unknown = self._plan_names(name for name in self.shapes if not name.startswith(OWN))
        self.targets |= {name.removeprefix(OWN): [name] for name in self.shapes if name.startswith(OWN)}
        self.misfits = self._find_misfits(unknown)

    def _plan_names(self, names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
        """Hook: which weights of the layout make which of ours, and the names that are not of the layout."""
        raise NotImplementedError

    def _original_names(self, target: str, rows: int) -> list[str]:
        """Hook: names that the layout has for one of our weights."""
        raise NotImplementedError

    def _make_model(self):
        """Hook: the model, without data."""
        raise NotImplementedError

    def _join_sources(self, target: str, tensors: list[Tensor]) -> Tensor:
        """Hook: one of our weights from its original ones, in the order of the plan."""
        return tensors[0]

    def _is_copy(self, target: str) -> bool:
        """Hook: whether one of our weights repeats another one, so that the layout has it once."""
        return False

    def check(self) -> None:
        """Refuse weights that are missing, unexpected or of the wrong shape.

        Raises:
            WeightsDoNotFit: there are any.
        """
        if not any(self.misfits.values()):
            return
        where = " and ".join(source.role for source in self.sources if isinstance(source, WeightFiles))
        raise WeightsDoNotFit(where, self.misfits, "check that the files and configs belong together and are complete")

    def model_dtype(self) -> torch.dtype:
        """What `from_pretrained` casts to without being told: the dtype of the language model's head."""
        return self._cast("lm_head.weight", self.shapes[self.targets["lm_head.weight"][0]]).dtype

    def _join_shapes(self) -> dict[str, Tensor]:
        shapes: dict[str, Tensor] = {}
        for source in self.sources:
            twice = sorted(shapes.keys() & source.shapes().keys())
            if twice:
                names = ", ".join(twice)
                raise CheckpointError(f"{source.role}: {names}: given twice; pass one source for each part")
            shapes |= source.shapes()
        return shapes

    def _find_misfits(self, unknown: list[str]) -> dict[str, list[str]]:
        try:
            with torch.device("meta"):
                model = self._make_model()
        except (KeyError, ValueError, TypeError, ZeroDivisionError) as error:
            raise CheckpointError(f"the configs make no model ({type(error).__name__}: {error})") from error
        self.architecture = type(model).__name__
        expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
        missing, wrong, used = [], [], set()
        for name, shape in self._wanted(expected):
            used.add(name)
            found = self.shapes.get(name)
            if found is None:
                missing.append(name)
            elif list(found.shape) != shape:
                wrong.append(f"{name.removeprefix(OWN)} {list(found.shape)} instead of {shape}")
        given = {name for names in self.targets.values() for name in names}
        surplus = {name.removeprefix(OWN) for name in given - used}
        return {"missing": missing, "unexpected": sorted(surplus | set(unknown)), "of the wrong shape": wrong}

    def _wanted(self, expected: dict[str, torch.Size]) -> Iterator[tuple[str, list[int]]]:
        """Names and shapes of the weights that the model is made of, as the sources have or should have them."""
        for target, shape in sorted(expected.items()):
            names = self._original_names(target, rows=shape[0] if shape else 1)
            given = self.targets.get(target, [])
            if self._is_copy(target):
                continue
            if len(names) > 1:
                yield from ((name, [1, *shape[1:]]) for name in names)
            else:
                yield (given or names or [target])[0], list(shape)

    def _join(self, target: str, weights) -> Tensor:
        return self._join_sources(target, [weights[name] for name in self.targets[target]])

    def _cast(self, target: str, tensor: Tensor) -> Tensor:
        """Hook: a weight as it is written."""
        return tensor.to(self.dtype) if self.dtype is not None and tensor.is_floating_point() else tensor

    def num_bytes(self) -> int:
        """Size of all weights, as they are written."""
        return sum(self._cast(target, self._join(target, self.shapes)).nbytes for target in self.targets)

    def read(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight of the model, by our name, in the order of the files."""
        targets_of: dict[str, list[str]] = {}
        for target, names in self.targets.items():
            for name in names:
                targets_of.setdefault(name, []).append(target)
        waiting: dict[str, Tensor] = {}
        for source in self.sources:
            for name, tensor in source.read():
                for target in targets_of.get(name, ()):
                    names = self.targets[target]
                    if len(names) == 1:
                        yield target, self._cast(target, self._join_sources(target, [tensor]))
                        continue
                    waiting[name] = tensor.clone()
                    if all(other in waiting for other in names):
                        yield target, self._cast(target, self._join(target, waiting))

    def write(self, folder: Path, limit: int, progress: bool = True, label: str = "converting") -> None:
        """Write all weights into `folder`, shards of at most `limit` bytes."""
        write_weights(self.read(), folder, limit, self.num_bytes(), progress, label)


def write_weights(
    weights: Iterator[tuple[str, Tensor]], folder: Path, limit: int, num_bytes: int, progress: bool, label: str
) -> None:
    """Write weights into safetensors shards, with a progress bar.

    Raises:
        CheckpointError: there is no room for `num_bytes`; one line.
    """
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise CheckpointError(
            f"{folder.parent}: {num_bytes / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; make room there or "
            "choose another output"
        )
    with progress_bar(label, num_bytes, progress) as bar:
        writer = ShardWriter(folder, limit, bar.update)
        for name, tensor in weights:
            writer.add(name, tensor)
        writer.finish()


__all__ = ["ConversionPlan", "WeightsDoNotFit"]
