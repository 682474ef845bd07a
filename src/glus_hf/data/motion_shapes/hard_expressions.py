"""Expressions about hard scenes: what short thing a sprite does, when, and what it passes."""

from __future__ import annotations

import numpy as np

from .hard_language import HardPhrases
from .hard_scenes import EVENTS, HARD_MOTIONS
from .language import Filter, phrase
from .sample_expressions import Expression
from .scenes import COLORS, SHAPES, Scene


HARD_KINDS = ("static", "event", "change", "order", "behind", "multi", "no_target")
HARD_WEIGHTS = {
    "static": 0.2,
    "event": 0.24,
    "change": 0.2,
    "order": 0.16,
    "behind": 0.06,
    "multi": 0.1,
    "no_target": 0.04,
}


def sample_hard_expressions(rng, scene: Scene, count: int, weights: dict[str, float] | None = None):
    """Up to `count` different expressions of a hard scene, kinds of `HARD_KINDS` sampled by `weights`.

    All but those of kind "static" need what a sprite does: others look alike.

    Example:

        >>> from glus_hf.data.motion_shapes.hard_scenes import sample_hard_scene
        >>> rng = np.random.default_rng(0)
        >>> sampled = sample_hard_expressions(rng, sample_hard_scene(rng), 6)
        >>> {expression.kind for expression in sampled} <= {*HARD_KINDS}
        True
    """
    weights = HARD_WEIGHTS if weights is None else weights
    filters: dict[str, list[Filter]] = {}
    for wanted in _candidates(rng, scene):
        kind = classify_hard(scene, wanted)
        if kind and weights.get(kind):
            filters.setdefault(kind, []).append(wanted)
    expressions: dict[str, Expression] = {}
    while filters and len(expressions) < count:
        shares = np.array([weights[kind] for kind in filters])
        kind = list(filters)[rng.choice(len(filters), p=shares / shares.sum())]
        wanted = filters[kind].pop(int(rng.integers(len(filters[kind]))))
        if not filters[kind]:
            del filters[kind]
        targets = scene.targets(wanted)
        text = phrase(rng, wanted, len(targets), HardPhrases())
        expressions.setdefault(text, Expression(text, kind, targets, wanted))
    return list(expressions.values())


def _candidates(rng, scene: Scene) -> list[Filter]:
    """Looks with what one of their sprites does, and a few of sprites that are not there."""
    found = {}
    for sprite in scene.sprites:
        for shape, color in ((sprite.shape, None), (None, sprite.color), (sprite.shape, sprite.color)):
            for motion in (None, sprite.motion, *sorted(sprite.facts)):
                found[Filter(shape, color, None, motion)] = None
    for _ in range(4):
        other = scene.sprites[rng.integers(len(scene.sprites))]
        found[Filter(other.shape, other.color, None, str(rng.choice(EVENTS)))] = None
        found[Filter(str(rng.choice(SHAPES)), str(rng.choice(list(COLORS))), None, None)] = None
    return list(found)


def classify_hard(scene: Scene, wanted: Filter) -> str | None:
    """Kind of the expression that a filter makes in a hard scene; None where it would be unfair or too long."""
    targets, alike = scene.targets(wanted), scene.targets(Filter(wanted.shape, wanted.color))
    if not targets:
        return "no_target"
    if len(targets) > 3 or (wanted.motion and len(alike) == len(targets)):
        return None  # too many to name, or what they do is not needed
    if wanted.motion is None:
        return "static" if len(targets) == 1 else "multi"
    if wanted.motion == "pass":
        return "behind" if len(targets) == 1 else "multi"
    if wanted.motion not in HARD_MOTIONS:
        kind = "behind" if wanted.motion.startswith(("behind:", "front:")) else "order"
    else:
        kind = "event" if wanted.motion in ("jump", "shake", "blink") else "change"
    return "multi" if len(targets) > 1 else kind
