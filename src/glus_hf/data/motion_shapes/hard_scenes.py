"""Hard scenes: many look-alikes whose short events only neighbouring frames tell, on a background that moves."""

from __future__ import annotations

import numpy as np

from .sample_scenes import gap_to
from .scenes import COLORS, SHAPES, Scene, Sprite


EVENTS = ("jump", "shake", "blink", "start", "stop", "turn")
HARD_MOTIONS = (*EVENTS, "still", "pass")
STATES = ("still", "left", "right", "up", "down", "blink")
DURATION = (0.1, 0.15)  # of a short event: two to four frames of a clip
CLEAR = 0.1  # two moments closer than this have no order
REACH = 0.13  # of a jump


def sample_hard_scene(rng: np.random.Generator) -> Scene:
    """Four to eight sprites in groups of identical look; each stands or drifts, and most do one short thing.

    Jumps, shakes and blinks leave no trace; starts, stops and turns differ in their moment. Often one sprite passes a
    large one that stands still, behind it or in front. The texture of the background moves.

    Example:

        >>> scene = sample_hard_scene(np.random.default_rng(0))
        >>> 4 <= len(scene.sprites) <= 8, scene.drift is not None
        (True, True)
    """
    looks = _sample_groups(rng)
    sprites = _sample_passing(rng, looks) if rng.random() < 0.5 else []
    for look in looks[1:-1] if sprites else looks:
        sprites.append(_place(rng, look, _sample_motion(rng, look, sprites), sprites))
    order = rng.permutation(len(sprites))
    sprites = [sprites[index] for index in order]
    _note_order(sprites)
    _note_passing(sprites)
    _note_before_and_after(sprites)
    background = rng.uniform(30, 85) + rng.uniform(-14, 14, 3)
    texture = rng.normal(0, rng.uniform(8, 16), (12, 12))
    angle = rng.uniform(0, 2 * np.pi)
    drift = rng.uniform(2, 6) * np.array([np.cos(angle), np.sin(angle)])
    return Scene(sprites, background, texture, drift=(float(drift[0]), float(drift[1])))


def moment(sprite: Sprite) -> float | None:
    """When the short thing that a sprite does begins; None for those that do none."""
    if sprite.motion == "blink":
        return sprite.flash[0]
    return float(sprite.times[1]) if sprite.motion in EVENTS else None


def first_move(sprite: Sprite) -> float | None:
    """When a sprite begins to move; None for those that never do."""
    if sprite.motion in ("still", "blink"):
        return None
    return 0.0 if sprite.motion in ("stop", "turn", "pass") else moment(sprite)


def states(sprite: Sprite, times: np.ndarray) -> np.ndarray:
    """What a sprite is doing at each of `times [t]`, seen together with the time before: indices of `STATES [t]`."""
    moved = np.diff(sprite.position(times), axis=0, prepend=sprite.position(times[:1]))
    across, along = np.where(moved[:, 0] < 0, 1, 2), np.where(moved[:, 1] < 0, 3, 4)
    found = np.where(np.abs(moved[:, 0]) > np.abs(moved[:, 1]), across, along)
    found[np.abs(moved).max(-1) < 1e-3] = 0
    if sprite.flash is not None:
        found[(times > sprite.flash[0]) & (times < sprite.flash[1])] = STATES.index("blink")
    return found


# ---- sampling


def _sample_groups(rng) -> list[tuple[str, str]]:
    """Looks (shape, colour) of four to eight sprites: one or two groups of identical look, and up to two others."""
    looks = [(shape, color) for shape in SHAPES for color in COLORS]
    chosen = [looks[index] for index in rng.permutation(len(looks))]
    total, first = int(rng.integers(4, 9)), int(rng.integers(2, 4))
    singles = min(int(rng.integers(1, 3)), total - first)
    rest = total - first - singles
    if rest == 1:
        first, rest = first + 1, 0
    return [*chosen[1 : 1 + singles], *[chosen[0]] * first, *[chosen[3]] * rest]


def _sample_motion(rng, look, placed: list[Sprite]) -> str:
    """An event; look-alikes do different things, or the same one at different times."""
    same = [sprite.motion for sprite in placed if (sprite.shape, sprite.color) == look]
    if same and rng.random() < 0.3 and same[0] in EVENTS:
        return same[0]
    return str(rng.choice([*EVENTS, "still"]))


def _sample_passing(rng, looks) -> list[Sprite]:
    """A large sprite of unique look that stands still, and one that goes past it from side to side."""
    at = rng.uniform(0.35, 0.65, 2)
    still = _sprite(looks[0], "still", np.array([0.0, 1.0]), np.stack([at, at]), "large")
    away = np.array([rng.choice([-1, 1]) * rng.uniform(0.24, 0.34), rng.uniform(-0.03, 0.03)])
    return [still, _sprite(looks[-1], "pass", [0, 1], [at - away, at + away])]


def _sprite(look, motion: str, times, points, size: str = "small") -> Sprite:
    return Sprite(look[0], look[1], size, motion, np.asarray(times, dtype=float), np.asarray(points, dtype=float))


def _place(rng, look, motion: str, others: list[Sprite]) -> Sprite:
    """Sample paths until one keeps clear of the others (the clearest of 40)."""
    times, best, best_gap = np.linspace(0, 1, 21), None, -np.inf
    for _ in range(40):
        sprite = _sample_path(rng, look, motion)
        gap = gap_to(sprite, others, times)
        if gap > best_gap:
            best, best_gap = sprite, gap
        if gap > 0.01:
            break
    return best


def _sample_path(rng, look, motion: str) -> Sprite:
    at, begin = rng.uniform(0.12, 0.88, 2), rng.uniform(0.12, 0.75)
    if motion == "turn":
        begin = rng.uniform(0.35, 0.65)
    end = begin + rng.uniform(*DURATION)
    middle = (begin + end) / 2
    away = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])[rng.integers(4)]
    away = np.where(at + away * 0.3 > 0.9, -1, np.where(at + away * 0.3 < 0.1, 1, away)) * np.abs(away)
    if motion == "jump":
        at[1] = max(at[1], 0.12 + REACH)
        return _sprite(look, motion, [0, begin, middle, end, 1], [at, at, at - [0, REACH], at, at])
    if motion == "shake":
        side, quarter = np.array([0.06, 0.0]), (end - begin) / 4
        moments = [0, begin, begin + quarter, end - quarter, end, 1]
        return _sprite(look, motion, moments, [at, at, at - side, at + side, at, at])
    if motion == "start":
        return _sprite(look, motion, [0, begin, 1], [at, at, _inside(at + away * 0.55 * (1 - begin))])
    if motion == "stop":
        end = _inside(at + away * 0.55 * begin)
        return _sprite(look, motion, [0, begin, 1], [at, end, end])
    if motion == "turn":
        far, back = _inside(at + away * 0.5 * begin), _inside(at + away * 0.5 * (2 * begin - 1))
        return _sprite(look, motion, [0, begin, 1], [at, far, back])
    sprite = _sprite(look, motion, [0, 1], [at, at])
    if motion == "blink":
        sprite.flash, sprite.facts = (begin, end), frozenset({"still"})  # it does not move either
    return sprite


def _inside(point: np.ndarray) -> np.ndarray:
    return np.clip(point, 0.1, 0.9)


# ---- what holds between sprites


def _note_order(sprites: list[Sprite]) -> None:
    """First and last of those that do the same, where their moments are clearly apart."""
    for event in EVENTS:
        doing = sorted((sprite for sprite in sprites if sprite.motion == event), key=moment)
        if len(doing) > 1 and moment(doing[1]) - moment(doing[0]) > CLEAR:
            doing[0].facts |= {f"{event}_first"}
        if len(doing) > 1 and moment(doing[-1]) - moment(doing[-2]) > CLEAR:
            doing[-1].facts |= {f"{event}_last"}


def _note_passing(sprites: list[Sprite]) -> None:
    """Behind whom, or in front of whom, a sprite passes."""
    for index, sprite in enumerate(sprites):
        for other_index, other in enumerate(sprites):
            if sprite.motion == "pass" and other.size == "large":
                sprite.facts |= {f"{'behind' if index < other_index else 'front'}:{other.color} {other.shape}"}


def _note_before_and_after(sprites: list[Sprite]) -> None:
    """Who moves before or after a sprite of unique look that moves; nobody where one moment is too close."""
    looks = [(sprite.shape, sprite.color) for sprite in sprites]
    for reference in sprites:
        start = first_move(reference)
        if start is None or start == 0 or looks.count((reference.shape, reference.color)) > 1:
            continue
        others = [sprite for sprite in sprites if sprite is not reference and first_move(sprite) is not None]
        if any(abs(first_move(sprite) - start) <= CLEAR for sprite in others):
            continue
        for sprite in others:
            relation = "before" if first_move(sprite) < start else "after"
            sprite.facts |= {f"{relation}:{reference.color} {reference.shape}"}
