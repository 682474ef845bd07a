"""Models of transformers that become parts of one of ours, weight by weight, without being loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming

from ..conversion.plan import ConversionPlan
from .hub_parts import BUFFERS


class PartsPlan(ConversionPlan):
    """Where the weights of parts go; sources have the names of the model already, see `name_in_model`.

    Args:
        model_class: of the model that is made.
        copies: weights of the model that repeat others.
        kwargs: as for [`ConversionPlan`].
    """

    def __init__(
        self, model_class: type[PreTrainedModel], config: PreTrainedConfig, sources, dtype: str = "keep", copies=()
    ):
        self.model_class, self.copies = model_class, copies
        super().__init__(config, sources, dtype)

    def _plan_names(self, names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
        return {name: [name] for name in names}, []

    def _original_names(self, target: str, rows: int) -> list[str]:
        return [target]

    def _make_model(self) -> PreTrainedModel:
        return self.model_class(self.config)

    def _is_copy(self, target: str) -> bool:
        return target in self.copies

    def model_dtype(self) -> torch.dtype:
        """That of the first large weight."""
        name = next(name for name, weight in self.shapes.items() if weight.is_floating_point() and weight.ndim > 1)
        return self._cast(name, self.shapes[name]).dtype


def name_in_model(part: str, made: nn.Module, left_out: tuple[str, ...] = ()) -> Callable[[str], str | None]:
    """From the names in a part's files, old ones too, to those in the model; None for what it does not keep.

    Args:
        part: its name in the model.
        made: the part, without data.
        left_out: beginnings of names of weights that are not taken.
    """
    steps = [step for step in get_model_conversion_mapping(made) if isinstance(step, WeightRenaming)]
    known = made.state_dict().keys()

    def rename(name: str) -> str | None:
        found = name
        if found not in known:
            for step in steps:
                found = step.rename_source_key(found)[0]
        if found.endswith((*BUFFERS, "rotary_emb.inv_freq")) or found.startswith(left_out or "\0"):
            return None
        return f"{part}.{found}"

    return rename


__all__ = ["PartsPlan", "name_in_model"]
