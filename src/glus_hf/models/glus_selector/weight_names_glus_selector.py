"""Names of weights: the original code's layout of Chat-UniVi and the selector <-> ours.

The original files hold the language model, the projector and the score head. As in the original code, the tower comes
from CLIP's folder, and a copy of it in the files is left out. The tower is never trained.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...conversion.llava_names import CLIP_NAMES, IGNORED, LANGUAGE_MODEL_NAMES
from ...conversion.name_rules import NameRules


SCORE_HEAD_PREFIX = "model.text_hidden_fcs."
OUR_SCORE_HEAD_PREFIX = "score_head."
TOWER_PREFIX = "model.vision_tower.vision_tower."
RULES = NameRules(
    LANGUAGE_MODEL_NAMES | {SCORE_HEAD_PREFIX + "0.{i}.{p}": OUR_SCORE_HEAD_PREFIX + "{i}.{p}"} | CLIP_NAMES
)


def our_name(name: str) -> str | None:
    """Our name of an original weight; `None` for a name that is not of the layout.

    Example:
        >>> our_name("model.text_hidden_fcs.0.4.bias")
        'score_head.4.bias'
    """
    return RULES.our_name(name)


def upstream_name(name: str) -> str | None:
    """The original code's name of one of our weights.

    Example:
        >>> upstream_name("score_head.4.bias")
        'model.text_hidden_fcs.0.4.bias'
    """
    return RULES.original_name(name)


def is_copy_of_tower(name: str) -> bool:
    """Whether a weight of the original code's files belongs to the tower that CLIP's folder has too.

    Example:
        >>> is_copy_of_tower("model.vision_tower.vision_tower.vision_model.post_layernorm.bias")
        True
    """
    if not name.startswith(TOWER_PREFIX):
        return False
    own = name.removeprefix(TOWER_PREFIX)
    return our_name(own) is not None or IGNORED.fullmatch(own) is not None


def plan_names(names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Which original weights make which of ours: our name -> the original one (or two, with the same target), and the
    names that are not of the layout, sorted. Constants that are computed today and the text half of CLIP are in
    neither."""
    return RULES.plan(names, IGNORED)


__all__ = ["is_copy_of_tower", "our_name", "plan_names", "upstream_name"]
