"""Expressions about a scene: filters over the attributes of its sprites, put into words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .language import Filter, phrase
from .sample_scenes import MOTIONS
from .scenes import COLORS, SHAPES, Scene


KINDS = ("static", "motion", "conjunction", "multi", "relation", "no_target")


@dataclass
class Expression:
    """An expression, its kind (one of `KINDS`), the indices of the sprites it means, the filter it puts into words."""

    text: str
    kind: str
    object_ids: list[int]
    filter: Filter


def sample_expressions(rng, scene: Scene, count: int, weights: dict[str, float] | None = None) -> list[Expression]:
    """Up to `count` different expressions of a scene, kinds sampled by `weights` (static-rich by default)."""
    weights = weights or {"static": 0.4, "motion": 0.2, "conjunction": 0.15, "multi": 0.15, "relation": 0.04}
    weights = {"no_target": 0.06, **weights}
    filters: dict[str, list[Filter]] = {}
    for wanted in _candidate_filters(rng, scene):
        kind = classify(scene, wanted)
        if kind:
            filters.setdefault(kind, []).append(wanted)
    expressions: list[Expression] = []
    for _ in range(4 * count):
        kinds = [kind for kind in weights if filters.get(kind) and weights[kind] > 0]
        if not kinds or len(expressions) == count:
            break
        probabilities = np.array([weights[kind] for kind in kinds])
        kind = kinds[rng.choice(len(kinds), p=probabilities / probabilities.sum())]
        wanted = filters[kind].pop(int(rng.integers(len(filters[kind]))))
        targets = scene.targets(wanted)
        text = phrase(rng, wanted, len(targets))
        if text not in {expression.text for expression in expressions}:
            expressions.append(Expression(text, kind, targets, wanted))
    return expressions


def _candidate_filters(rng, scene: Scene) -> list[Filter]:
    """Filters made of the attributes of one sprite each, and a few that mix sprites (often without target)."""
    candidates = {}
    for sprite in scene.sprites:
        for mask in range(1, 8):
            shape, color, size = (sprite.shape, sprite.color, sprite.size)
            look = (shape if mask & 1 else None, color if mask & 2 else None, size if mask & 4 else None)
            for motion in (None, sprite.motion, sprite.relation):
                candidates[Filter(*look, motion)] = None
        candidates[Filter(None, None, None, sprite.motion)] = None
    for _ in range(6):
        other = scene.sprites[rng.integers(len(scene.sprites))]
        motion = str(rng.choice(MOTIONS)) if rng.random() < 0.5 else None
        shape = str(rng.choice(SHAPES)) if rng.random() < 0.5 else other.shape
        color = str(rng.choice(list(COLORS))) if motion is None or rng.random() < 0.5 else other.color
        candidates[Filter(shape, color, None, motion)] = None
    return list(candidates)


def classify(scene: Scene, wanted: Filter) -> str | None:
    """Kind of the expression that a filter makes in a scene; None where its words would be unfair or too long."""
    targets = scene.targets(wanted)
    look = Filter(wanted.shape, wanted.color, wanted.size)
    alike = scene.targets(look)
    if wanted.size and any(scene.sprites[index].motion in ("grow", "shrink") for index in alike):
        return None
    if not targets:
        return "no_target" if wanted.size is None else None
    if len(targets) > 3 or (len(targets) > 1 and len(targets) == len(scene.sprites)):
        return None
    if wanted.motion is None:
        return "static" if len(targets) == 1 else "multi"
    if len(alike) == len(targets):
        return None  # the motion words would not be needed
    if len(targets) > 1:
        return "multi"
    if wanted.motion in ("enter_first", "enter_last"):
        return "relation"
    moving_alike = scene.targets(Filter(motion=wanted.motion))
    return "conjunction" if len(moving_alike) > 1 else "motion"
