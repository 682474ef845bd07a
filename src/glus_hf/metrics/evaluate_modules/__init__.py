"""The metrics as modules of `evaluate`: one folder each, for `evaluate.load` or as a class.

`import evaluate; evaluate.load(path("j_and_f"))` works offline and across processes like any other metric;
`JAndF()` is the same without files.
"""

from __future__ import annotations

import importlib
from pathlib import Path


_CLASSES = {
    "GiouCiou": "giou_ciou",
    "JAndF": "j_and_f",
    "NAccTAcc": "n_acc_t_acc",
    "RevosRobustness": "revos_robustness",
    "TiouViou": "tiou_viou",
}
NAMES = tuple(sorted(_CLASSES.values()))
"""The modules' names."""

__all__ = [*_CLASSES, "NAMES", "path"]


def path(name: str) -> str:
    """Folder of a metric, for `evaluate.load`.

    Args:
        name: one of `NAMES`.

    Raises:
        ValueError: there is no such metric.

    Example:
        >>> import evaluate
        >>> metric = evaluate.load(path("j_and_f"))
        >>> empty = [None, None]
        >>> metric.compute(predictions=[empty], references=[empty])["J&F"]
        1.0
    """
    if name not in NAMES:
        raise ValueError(f"there is no metric {name!r}; use one of {', '.join(NAMES)}")
    return str(Path(__file__).parent / name)


def __getattr__(name: str):
    # the classes import evaluate and datasets, which takes seconds
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _CLASSES[name]
    return getattr(importlib.import_module(f".{module}.{module}", __name__), name)
