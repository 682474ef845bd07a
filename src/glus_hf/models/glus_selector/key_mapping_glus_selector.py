"""Names of weights: upstream's layout of Chat-UniVi and the selector <-> ours.

Upstream's files hold the language model, the projector and the score head. The tower comes from CLIP's folder, as
upstream takes it; where the files hold a copy of it, that is left out, as upstream does. The tower is never trained.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..glus.key_mapping_glus import CLIP_NAMES, CLIP_PREFIX, IGNORED, LANGUAGE_NAMES, OUR_CLIP_PREFIX
from ..glus.key_mapping_glus import _compile as compile_pattern
from ..glus.key_mapping_glus import _translate as translate
from ..glus.key_mapping_glus import _with_prefixes as with_prefixes


SCORE_HEAD_PREFIX = "model.text_hidden_fcs."
OUR_SCORE_HEAD_PREFIX = "score_head."
TOWER_PREFIX = "model.vision_tower.vision_tower."
SCORE_HEAD_NAMES = {SCORE_HEAD_PREFIX + "0.{i}.{p}": OUR_SCORE_HEAD_PREFIX + "{i}.{p}"}
NAMES = (
    {name: target for name, target in LANGUAGE_NAMES.items() if not name.startswith(SCORE_HEAD_PREFIX)}
    | SCORE_HEAD_NAMES
    | with_prefixes(CLIP_NAMES, CLIP_PREFIX, OUR_CLIP_PREFIX)  # first: the names to say when one is missing
    | with_prefixes(CLIP_NAMES, "", OUR_CLIP_PREFIX)
)
RULES = [(compile_pattern(upstream), ours) for upstream, ours in NAMES.items()]
REVERSE_RULES = [(compile_pattern(ours), upstream) for upstream, ours in NAMES.items()]


def our_name(name: str) -> str | None:
    """Our name of an upstream weight; `None` for a name that is not of the layout.

    Example:
        >>> our_name("model.text_hidden_fcs.0.4.bias")
        'score_head.4.bias'
    """
    return translate(name, RULES)


def upstream_name(name: str) -> str | None:
    """Upstream's name of one of our weights.

    Example:
        >>> upstream_name("score_head.4.bias")
        'model.text_hidden_fcs.0.4.bias'
    """
    return translate(name, REVERSE_RULES)


def is_copy_of_tower(name: str) -> bool:
    """Whether a weight of upstream's files belongs to the tower that CLIP's folder has too.

    Example:
        >>> is_copy_of_tower("model.vision_tower.vision_tower.vision_model.post_layernorm.bias")
        True
    """
    if not name.startswith(TOWER_PREFIX):
        return False
    own = name.removeprefix(TOWER_PREFIX)
    return our_name(own) is not None or IGNORED.fullmatch(own) is not None


def plan_names(names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Which upstream weights make which of ours: our name -> upstream's (one, unless two have the same target), and
    the names that are not of the layout, sorted. Constants that are computed today and the text half of CLIP are in
    neither."""
    plan: dict[str, list[str]] = {}
    unknown = []
    for name in names:
        target = our_name(name)
        if target is not None:
            plan.setdefault(target, []).append(name)
        elif not IGNORED.fullmatch(name):
            unknown.append(name)
    return plan, sorted(unknown)


__all__ = ["is_copy_of_tower", "our_name", "plan_names", "upstream_name"]
