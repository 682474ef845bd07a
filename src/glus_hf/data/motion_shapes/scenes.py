"""Scenes of moving shapes: sprites with paths on a background, drawn at any time and size with exact masks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .language import Filter


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
GREY = (128, 128, 128)
WHITE = (250, 250, 250)


@dataclass
class Sprite:
    """One shape. Positions and sizes are fractions of the frame; `points [k, 2]` at `times [k]` give the path.

    `facts` are names of relations to others that hold of it; it is white during `flash` (times in [0, 1]).
    """

    shape: str
    color: str
    size: str
    motion: str
    times: np.ndarray
    points: np.ndarray
    scale: tuple[float, float] = (1.0, 1.0)
    tint: np.ndarray = field(default_factory=lambda: np.zeros(3))
    relation: str | None = None
    facts: frozenset[str] = frozenset()
    flash: tuple[float, float] | None = None

    @property
    def radius(self) -> float:
        return SIZES[self.size]

    def position(self, times: np.ndarray) -> np.ndarray:
        """Centre at `times [t]` in [0, 1] -> `[t, 2]` (x, y)."""
        return np.stack([np.interp(times, self.times, self.points[:, axis]) for axis in (0, 1)], axis=-1)

    def radii(self, times: np.ndarray) -> np.ndarray:
        return self.radius * (self.scale[0] + (self.scale[1] - self.scale[0]) * times)


@dataclass
class Scene:
    """Sprites in painting order (the last one is in front) on a background.

    From `veil[0]` to `veil[1]` (times in [0, 1]) frosted glass hides the colours: every sprite is a grey silhouette.
    With `drift` the texture, which then repeats, moves by so many of its cells (x, y) from first to last frame.
    """

    sprites: list[Sprite]
    background: np.ndarray
    texture: np.ndarray
    veil: tuple[float, float] | None = None
    drift: tuple[float, float] | None = None

    def render(self, times: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames `uint8 [t, size, size, 3]` and visible masks `bool [sprites, t, size, size]` at `times` in [0, 1]."""
        times = np.asarray(times, dtype=np.float32)
        grid = ((np.arange(size) + 0.5) / size).astype(np.float32)
        if self.drift is None:
            frames = np.repeat(self._paint_background(size)[None], len(times), axis=0)
        else:
            frames = np.stack([self._paint_moved(size, np.array(self.drift) * time) for time in times])
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
        if sprite.flash is not None:
            colors[(times > sprite.flash[0]) & (times < sprite.flash[1])] = WHITE
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

    def _paint_moved(self, size: int, offset: np.ndarray) -> np.ndarray:
        """The background with its texture moved by `offset` cells (x, y); it goes on at the other side."""
        cells = len(self.texture)
        weights = []
        for shift in offset:
            at = (np.linspace(0, cells, size, endpoint=False) - shift) % cells
            low, part = at.astype(int) % cells, (at % 1)[:, None]
            weights.append(np.eye(cells)[low] * (1 - part) + np.eye(cells)[(low + 1) % cells] * part)
        smooth = weights[1] @ self.texture @ weights[0].T
        return (self.background + smooth[..., None]).astype(np.float32)

    def targets(self, wanted: Filter) -> list[int]:
        """Sprites that pass a filter."""
        return [index for index, sprite in enumerate(self.sprites) if wanted.matches(sprite)]


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
