"""MotionShapes: synthetic clips of moving shapes, with exact masks and sentences that need their motion.

A scene is a list of sprites (shape x colour x size x motion) on a quiet background. An expression is a filter over
those attributes, put into words; the sprites that pass the filter are its target. Everything follows from a seed, and
any time of any scene renders at any resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .motion_shapes_language import MOTION_PHRASES, Filter, phrase


SHAPES = ("circle", "square", "triangle", "cross")
COLORS = {
    "red": (222, 50, 44),
    "green": (52, 180, 74),
    "blue": (58, 98, 232),
    "yellow": (240, 208, 44),
    "purple": (168, 66, 200),
    "cyan": (64, 208, 216),
}
SIZES = {"small": 0.092, "large": 0.145}
MOTIONS = tuple(motion for motion in MOTION_PHRASES if motion not in ("enter_first", "enter_last"))
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SPLITS = {"train": 0, "validation": 1, "test": 2, "test_held_out": 3, "occlusion": 4, "reveal": 5}
GREY = (128, 128, 128)
KINDS = ("static", "motion", "conjunction", "multi", "relation", "no_target")
HELD_OUT = frozenset(
    (color, shape, motion)
    for index, (color, shape) in enumerate((color, shape) for color in COLORS for shape in SHAPES)
    for motion in (MOTIONS[index % len(MOTIONS)],)
    if index % 2 == 0
)


@dataclass
class Sprite:
    """One shape. Positions and sizes are fractions of the frame; `points [k, 2]` at `times [k]` give the path."""

    shape: str
    color: str
    size: str
    motion: str
    times: np.ndarray
    points: np.ndarray
    scale: tuple[float, float] = (1.0, 1.0)
    tint: np.ndarray = field(default_factory=lambda: np.zeros(3))
    relation: str | None = None

    @property
    def radius(self) -> float:
        return SIZES[self.size]

    def position(self, times: np.ndarray) -> np.ndarray:
        """Centre at `times [t]` in [0, 1] -> `[t, 2]` (x, y)."""
        return np.stack([np.interp(times, self.times, self.points[:, axis]) for axis in (0, 1)], axis=-1)

    def radii(self, times: np.ndarray) -> np.ndarray:
        return self.radius * (self.scale[0] + (self.scale[1] - self.scale[0]) * times)


@dataclass
class Expression:
    """A sentence, its kind (one of `KINDS`), the indices of the sprites it means, the filter it puts into words."""

    text: str
    kind: str
    object_ids: list[int]
    filter: Filter


@dataclass
class Scene:
    """Sprites in painting order (the last one is in front) on a background.

    From `veil[0]` to `veil[1]` (times in [0, 1]) frosted glass hides the colours: every sprite is a grey silhouette.
    """

    sprites: list[Sprite]
    background: np.ndarray
    texture: np.ndarray
    veil: tuple[float, float] | None = None

    def render(self, times: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames `uint8 [t, size, size, 3]` and visible masks `bool [sprites, t, size, size]` at `times` in [0, 1]."""
        times = np.asarray(times, dtype=np.float32)
        grid = ((np.arange(size) + 0.5) / size).astype(np.float32)
        frames = np.repeat(self._paint_background(size)[None], len(times), axis=0)
        masks = np.zeros((len(self.sprites), len(times), size, size), dtype=bool)
        for index, sprite in enumerate(self.sprites):
            center, radius = sprite.position(times).astype(np.float32), sprite.radii(times).astype(np.float32)
            dx = grid[None, None, :] - center[:, 0, None, None]
            dy = grid[None, :, None] - center[:, 1, None, None]
            distance = _signed_distance(sprite.shape, dx, dy, radius[:, None, None])
            alpha = np.clip(0.5 - distance * size, 0, 1)
            frames += alpha[..., None] * (self._colors(sprite, times) - frames)
            masks[:index] &= ~(alpha > 0.5)[None]
            masks[index] = alpha > 0.5
        return np.clip(frames + 0.5, 0, 255).astype(np.uint8), masks

    def _colors(self, sprite: Sprite, times: np.ndarray) -> np.ndarray:
        """Colour at each time, `[t, 1, 1, 3]`."""
        color = np.asarray(COLORS[sprite.color], dtype=np.float32) + sprite.tint.astype(np.float32)
        colors = np.tile(color, (len(times), 1))
        colors[self.is_veiled(times)] = GREY
        return colors[:, None, None]

    def is_veiled(self, times: np.ndarray) -> np.ndarray:
        """Whether the colours are hidden at `times [t]`."""
        start, end = self.veil or (2.0, 2.0)
        return (times > start) & (times < end)

    def _paint_background(self, size: int) -> np.ndarray:
        cells = len(self.texture) - 1
        at = np.linspace(0, cells, size)
        low = np.minimum(at.astype(int), cells - 1)
        part = at - low
        rows = self.texture[low] * (1 - part)[:, None] + self.texture[low + 1] * part[:, None]
        smooth = rows[:, low] * (1 - part) + rows[:, low + 1] * part
        return (self.background + smooth[..., None]).astype(np.float32)

    def targets(self, wanted: Filter) -> list[int]:
        """Sprites that pass a filter."""
        return [index for index, sprite in enumerate(self.sprites) if wanted.matches(sprite)]


@dataclass
class Clip:
    """A rendered scene: `frames uint8 [T, H, W, 3]`, `masks bool [sprites, T, H, W]` and its expressions."""

    frames: np.ndarray
    masks: np.ndarray
    expressions: list[Expression]
    scene: Scene

    def target_masks(self, expression: Expression) -> np.ndarray:
        """Union of the visible masks of an expression's targets, `bool [T, H, W]`."""
        return self.masks[expression.object_ids].any(axis=0)


def generate_clip(
    index: int, split: str = "test", seed: int = 0, size: int = 128, num_frames: int | None = None, num_expressions=6
) -> Clip:
    """Clip number `index` of a split; the same arguments always give the same clip.

    Args:
        index: number of the clip in the split.
        split: one of `SPLITS`; splits never share a scene. `test_held_out` has combinations of colour, shape
            and motion that no other split shows. `occlusion` has clips that are veiled from about a third of the clip
            on, with sprites that differ in colour alone: who is who must be remembered. `reveal` has such clips
            that are veiled until about two thirds of the clip: the first frame does not show who is who.
        seed: a different seed is a different data set.
        size: side of the square frames in pixels.
        num_frames: length; by default 8 to 24, drawn from the seed.
        num_expressions: most expressions per clip.

    Example:

        >>> clip = generate_clip(0, split="test", size=64, num_frames=8)
        >>> clip.frames.shape
        (8, 64, 64, 3)
    """
    if split not in SPLITS:
        raise ValueError(f"MotionShapes has the splits {tuple(SPLITS)}, not {split!r}.")
    rng = np.random.default_rng([SPLITS[split], seed, index])
    drawn_length = int(rng.integers(8, 25))
    if split in ("occlusion", "reveal"):
        scene = sample_veiled_scene(rng, late=split == "reveal")
        expressions = sample_expressions(rng, scene, num_expressions, {"static": 1.0, "no_target": 0.0})
    else:
        scene = sample_scene(rng, held_out=split == "test_held_out")
        expressions = sample_expressions(rng, scene, num_expressions)
    length = num_frames or drawn_length
    frames, masks = scene.render(np.linspace(0, 1, length) if length > 1 else np.zeros(1), size)
    return Clip(frames, masks, expressions, scene)


def sample_scene(rng: np.random.Generator, held_out: bool = False) -> Scene:
    """Draw a scene: look-alikes that move differently, movers that look different, and bystanders."""
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
        if _gap(sprite, sprites, np.linspace(0, 1, 25)) <= 0:
            return None
        sprites.append(sprite)
    return sprites


def _sample_looks(rng) -> list[tuple[str, str, str]]:
    """Looks (shape, colour, size): a group of look-alikes, relatives that share one attribute, others."""

    def draw():
        return (str(rng.choice(SHAPES)), str(rng.choice(list(COLORS))), str(rng.choice(list(SIZES))))

    first = draw()
    looks = [first] * int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    total = int(rng.integers(max(2, len(looks)), 6))
    while len(looks) < total:
        other = draw()
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
    """Draw paths until one keeps clear of the sprites placed so far (the clearest of 30)."""
    best, best_gap = None, -np.inf
    times = np.linspace(0, 1, 9)
    for _ in range(30):
        sprite = _sample_sprite(rng, spec, labels)
        gap = _gap(sprite, others, times)
        if gap > best_gap:
            best, best_gap = sprite, gap
        if gap > 0.0 or (gap > -0.12 and rng.random() < 0.15):  # some overlap: occlusions belong to the task
            break
    return best


def _gap(sprite: Sprite, others: list[Sprite], times: np.ndarray) -> float:
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


def sample_expressions(rng, scene: Scene, count: int, weights: dict[str, float] | None = None) -> list[Expression]:
    """Up to `count` different expressions of a scene, kinds drawn by `weights` (static-rich by default)."""
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
    """Kind of the expression that a filter makes in a scene; None where the sentence would be unfair or too long."""
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


def _signed_distance(shape: str, dx, dy, radius):
    if shape == "circle":
        return np.sqrt(dx * dx + dy * dy) - radius
    if shape == "square":
        return np.maximum(np.abs(dx), np.abs(dy)) - 0.86 * radius
    if shape == "triangle":
        return np.maximum(0.87 * np.abs(dx) - 0.5 * (dy + radius), dy - 0.72 * radius)
    thin, long = 0.36 * radius, 1.02 * radius
    across = np.maximum(np.abs(dx) - long, np.abs(dy) - thin)
    down = np.maximum(np.abs(dx) - thin, np.abs(dy) - long)
    return np.minimum(across, down)
