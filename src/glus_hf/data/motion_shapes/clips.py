"""Clips of MotionShapes: everything in them follows from split, seed and number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from .hard_expressions import sample_hard_expressions
from .hard_scenes import sample_hard_scene
from .sample_expressions import Expression, sample_expressions
from .sample_scenes import sample_scene, sample_veiled_scene
from .scenes import Scene


SPLITS = {"train": 0, "validation": 1, "test": 2, "test_held_out": 3, "occlusion": 4, "reveal": 5}
SPLITS |= {"hard_train": 6, "hard_validation": 7, "hard_test": 8}


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
            `hard_train`, `hard_validation` and `hard_test` have many look-alikes whose short events only neighbouring
            frames tell, on a textured background that moves; see [`sample_hard_scene`].
        seed: a different seed is a different dataset.
        size: side of the square frames in pixels.
        num_frames: length; by default 8 to 24 (hard clips: 20 to 32), sampled by the seed. Of a hard clip with fewer
            than 20 frames, a short event can fall between two frames.
        num_expressions: most expressions per clip.

    Example:

        >>> clip = generate_clip(0, split="test", size=64, num_frames=8)
        >>> clip.frames.shape
        (8, 64, 64, 3)
    """
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r} of MotionShapes; use one of {tuple(SPLITS)}")
    rng = np.random.default_rng([SPLITS[split], seed, index])
    sampled_length = int(rng.integers(8, 25))
    if split in ("occlusion", "reveal"):
        scene = sample_veiled_scene(rng, late=split == "reveal")
        expressions = sample_expressions(rng, scene, num_expressions, {"static": 1.0, "no_target": 0.0})
    elif split.startswith("hard_"):
        sampled_length = int(rng.integers(20, 33))
        scene = sample_hard_scene(rng)
        expressions = sample_hard_expressions(rng, scene, num_expressions)
    else:
        scene = sample_scene(rng, held_out=split == "test_held_out")
        expressions = sample_expressions(rng, scene, num_expressions)
    length = num_frames or sampled_length
    frames, masks = scene.render(np.linspace(0, 1, length) if length > 1 else np.zeros(1), size)
    return Clip(frames, masks, expressions, scene)
