"""MotionShapes: synthetic clips of moving shapes, with exact masks and expressions that need their motion.

A scene is a list of sprites (shape x colour x size x motion) on a quiet background. An expression is a filter over
those attributes, put into words; the sprites that pass the filter are its target. Everything follows from a seed, and
any time of any scene renders at any resolution.
"""

from .clips import SPLITS, Clip, generate_clip
from .hard_expressions import HARD_KINDS, sample_hard_expressions
from .hard_scenes import sample_hard_scene
from .sample_expressions import KINDS, Expression, classify, sample_expressions
from .sample_scenes import DIRECTIONS, HELD_OUT, MOTIONS, sample_scene, sample_veiled_scene
from .scenes import COLORS, SHAPES, SIZES, Scene, Sprite


__all__ = [
    "COLORS",
    "DIRECTIONS",
    "HARD_KINDS",
    "HELD_OUT",
    "KINDS",
    "MOTIONS",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "Clip",
    "Expression",
    "Scene",
    "Sprite",
    "classify",
    "generate_clip",
    "sample_expressions",
    "sample_hard_expressions",
    "sample_hard_scene",
    "sample_scene",
    "sample_veiled_scene",
]
