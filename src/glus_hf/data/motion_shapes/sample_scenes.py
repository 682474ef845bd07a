"""Scenes sampled from a seed: look-alikes that move differently, movers that look different, and bystanders."""

from __future__ import annotations

import numpy as np

from .language import MOTION_PHRASES
from .scenes import COLORS, SHAPES, SIZES, Scene, Sprite


MOTIONS = tuple(motion for motion in MOTION_PHRASES if motion not in ("enter_first", "enter_last"))
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
HELD_OUT = frozenset(
    (color, shape, motion)
    for index, (color, shape) in enumerate((color, shape) for color in COLORS for shape in SHAPES)
    for motion in (MOTIONS[index % len(MOTIONS)],)
    if index % 2 == 0
)


def sample_scene(rng: np.random.Generator, held_out: bool = False) -> Scene:
    """Sample a scene: look-alikes that move differently, movers that look different, and bystanders."""
    looks = _sample_looks(rng)
    motions = _sample_motions(rng, looks)
    specs = [(*look, motion) for look, motion in zip(looks, motions, strict=True)]
    specs = [_leave_held_out(rng, spec) for spec in specs]
    if held_out:
        combinations = sorted(HELD_OUT)
        color, shape, motion = combinations[rng.integers(len(combinations))]
        specs[0] = (shape, color, specs[0][2], motion)
    labels = {spec[3] for spec in specs}
    sprites: list[Sprite] = []
    for spec in specs:
        sprites.append(_place(rng, spec, sprites, labels))
    _label_entries(sprites)
    order = rng.permutation(len(sprites))
    background = rng.uniform(20, 95) + rng.uniform(-14, 14, 3)
    texture = rng.normal(0, 1, (7, 7)) * rng.choice([0.0, 4.0, 10.0])
    return Scene([sprites[index] for index in order], background, texture)


def sample_veiled_scene(rng: np.random.Generator, late: bool = False) -> Scene:
    """A scene whose sprites differ in colour alone, behind frosted glass from about a third of the time on.

    With `late` the glass is there from the beginning, and gone from about two thirds of the time on.
    """
    sprites = _sample_apart(rng)
    while sprites is None:
        sprites = _sample_apart(rng)
    background = rng.uniform(20, 70) + rng.uniform(-14, 14, 3)
    texture = rng.normal(0, 1, (7, 7)) * rng.choice([0.0, 4.0])
    veil = (float(rng.uniform(0.25, 0.45)), float(rng.choice([rng.uniform(0.75, 0.95), 2.0])))
    if late:
        veil = (-1.0, 1 - veil[0])
    return Scene(sprites, background, texture, veil)


def _sample_apart(rng) -> list[Sprite] | None:
    """Two to four sprites of one shape and size that never touch: silhouettes that do cannot be told apart again."""
    shape, size = str(rng.choice(SHAPES)), str(rng.choice(list(SIZES)))
    sprites: list[Sprite] = []
    for color in rng.permutation(list(COLORS))[: int(rng.integers(2, 5))]:
        motion = str(rng.choice([*DIRECTIONS, "still", "circle"]))
        sprite = _place(rng, (shape, str(color), size, motion), sprites, set())
        if gap_to(sprite, sprites, np.linspace(0, 1, 25)) <= 0:
            return None
        sprites.append(sprite)
    return sprites


def _sample_looks(rng) -> list[tuple[str, str, str]]:
    """Looks (shape, colour, size): a group of look-alikes, relatives that share one attribute, others."""

    def sample_look():
        return (str(rng.choice(SHAPES)), str(rng.choice(list(COLORS))), str(rng.choice(list(SIZES))))

    first = sample_look()
    looks = [first] * int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    total = int(rng.integers(max(2, len(looks)), 6))
    while len(looks) < total:
        other = sample_look()
        if rng.random() < 0.6:  # shares something with the group, so that single words do not suffice
            kept = rng.random(3) < 0.5
            other = tuple(a if keep else b for a, b, keep in zip(first, other, kept, strict=True))
        looks.append(other)
    return looks


def _sample_motions(rng, looks) -> list[str]:
    weights = np.array([1.2 if motion in DIRECTIONS else 0.8 for motion in MOTIONS])
    motions = [str(rng.choice(MOTIONS, p=weights / weights.sum())) for _ in looks]
    group = [index for index, look in enumerate(looks) if look == looks[0]]
    if len(group) > 1:
        while len({motions[index] for index in group}) == 1:  # look-alikes must not all move alike
            motions[group[-1]] = str(rng.choice(MOTIONS))
    for index in range(len(looks)):
        if index not in group and rng.random() < 0.5:  # same motion, other look
            motions[index] = motions[int(rng.choice(group))]
    return motions


def _leave_held_out(rng, spec):
    shape, color, size, motion = spec
    while (color, shape, motion) in HELD_OUT:
        motion = str(rng.choice(MOTIONS))
    return shape, color, size, motion


def _place(rng, spec, others: list[Sprite], labels: set[str]) -> Sprite:
    """Sample paths until one keeps clear of the sprites placed so far (the clearest of 30)."""
    best, best_gap = None, -np.inf
    times = np.linspace(0, 1, 9)
    for _ in range(30):
        sprite = _sample_sprite(rng, spec, labels)
        gap = gap_to(sprite, others, times)
        if gap > best_gap:
            best, best_gap = sprite, gap
        if gap > 0.0 or (gap > -0.12 and rng.random() < 0.15):  # some overlap: occlusions belong to the task
            break
    return best


def gap_to(sprite: Sprite, others: list[Sprite], times: np.ndarray) -> float:
    """Smallest distance between the outlines of a sprite and any other; 1 without others."""
    gaps = [
        (np.linalg.norm(sprite.position(times) - other.position(times), axis=-1) - sprite.radius - other.radius)
        for other in others
    ]
    return min((gap.min() for gap in gaps), default=1.0)


def _sample_sprite(rng, spec, labels: set[str]) -> Sprite:
    shape, color, size, motion = spec
    radius = SIZES[size]
    tint = rng.uniform(-12, 12) + rng.uniform(-6, 6, 3)
    low, high = radius + 0.02, 1 - radius - 0.02
    scale = (1.0, 1.0)
    times = np.array([0.0, 1.0])
    start = rng.uniform(low, high, 2)
    if motion in DIRECTIONS:
        direction = np.array(DIRECTIONS[motion])
        distance = rng.uniform(0.38, min(0.62, high - low))
        start = np.where(direction > 0, rng.uniform(low, high - distance, 2), start)
        start = np.where(direction < 0, rng.uniform(low + distance, high, 2), start)
        points = np.stack([start, start + direction * distance])
    elif motion == "circle":
        reach = rng.uniform(0.13, 0.2)
        times = np.linspace(0, 1, 33)
        turn = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * 2 * np.pi * times * rng.uniform(0.9, 1.2)
        center = rng.uniform(low + reach, high - reach, 2)
        points = center + reach * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    elif motion in ("zigzag", "bounce"):
        times = np.linspace(0, 1, 41)
        reach, cycles = rng.uniform(0.2, 0.3), rng.uniform(1.6, 2.2)
        phase = cycles * times + rng.uniform(0, 1)
        if motion == "zigzag":  # side to side
            offset = np.stack([reach * (2 * np.abs(2 * (phase % 1) - 1) - 1), 0 * times], axis=-1)
        else:  # hops
            offset = np.stack([0 * times, reach - 2 * reach * np.abs(np.sin(np.pi * phase))], axis=-1)
        margin = reach * (np.array([1, 0]) if motion == "zigzag" else np.array([0, 1]))
        points = rng.uniform(low + margin, high - margin) + offset
    elif motion in ("enter", "leave"):
        away = {name: step for name, step in DIRECTIONS.items() if name not in labels} or DIRECTIONS
        step = np.array(away[str(rng.choice(list(away)))]) * (1 if motion == "enter" else -1)
        inside = rng.uniform(low + 0.1, high - 0.1, 2)
        outside = np.where(step == 0, inside, np.where(step > 0, -radius - 0.05, 1 + radius + 0.05))
        moment = rng.uniform(0.22, 0.55)
        times = np.array([0, moment, moment + 0.22, 1.0])
        points = np.stack([outside, outside, inside, inside])
        if motion == "leave":
            times, points = 1 - times[::-1], points[::-1]
    else:
        points = np.stack([start, start])
        scale = {"grow": (0.6, 1.45), "shrink": (1.45, 0.6)}.get(motion, scale)
    return Sprite(shape, color, size, motion, times, points, scale, tint)


def _label_entries(sprites: list[Sprite]) -> None:
    """Mark first and last among the sprites that enter, where there are two or more."""
    entering = sorted((sprite for sprite in sprites if sprite.motion == "enter"), key=lambda sprite: sprite.times[1])
    if len(entering) > 1 and entering[-1].times[1] - entering[0].times[1] > 0.1:
        entering[0].relation, entering[-1].relation = "enter_first", "enter_last"
