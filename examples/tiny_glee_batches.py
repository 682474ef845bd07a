"""Batches of MotionShapes stills for glee-tiny: frames with expressions, frames with names, objects with texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tiny_glee import SIZE
from torch import Tensor

from glus_hf import GLEECollator, GLEEProcessor
from glus_hf.data.motion_shapes import COLORS, SHAPES, Expression, Scene, sample_expressions, sample_scene
from glus_hf.data.motion_shapes.language import Filter, phrase
from glus_hf.models.glee.image_prompts_glee import prompt_inputs
from glus_hf.models.glee.targets_glee import image_targets


KINDS = {"static": 0.5, "motion": 0.13, "conjunction": 0.1, "multi": 0.18, "relation": 0.02, "no_target": 0.07}
PER_SCENE = 2  # expressions of one scene, each with a frame of its own
LEAST_PIXELS = 12  # of an object that texts are compared with
LOOKS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))  # shape, colour, size
LOOK_PARTS = (0.34, 0.06, 0.1, 0.2, 0.1, 0.05, 0.15)  # shapes are the hardest to learn
NAME_LISTS = ("shapes", "colors", "both")
PROMPTS = {"mask": 0.4, "point": 0.25, "box": 0.2, "scribble": 0.15}
PROMPTED_NAME = "object"
POOL_STREAM = 83  # of random numbers: scenes of a limited number
NEAR = 0.1  # of a clip: how far apart the frames of half of the pairs are at most


@dataclass(frozen=True)
class Scenes:
    """Where scenes come from: any number of them, or `number` ones that follow from `seed`; of these, more hold all of
    fewer. With `stills` a scene is its first frame alone, without expressions about motion."""

    number: int | None = None
    seed: int = 0
    stills: bool = False

    def draw(self, rng) -> Scene:
        if self.number is None:
            return sample_scene(rng)
        return sample_scene(np.random.default_rng([POOL_STREAM, self.seed, int(rng.integers(self.number))]))

    def frame(self, rng, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        return sample_frame(rng, scene, times=np.zeros(1) if self.stills else None)

    def shows(self, expression: Expression) -> bool:
        return not (self.stills and expression.filter.motion)


def sample_frame(rng, scene: Scene, size: int = SIZE, times=None) -> tuple[np.ndarray, np.ndarray]:
    """A frame `[size, size, 3]` at any time of a scene, and the visible masks of its sprites."""
    frames, masks = scene.render(rng.random(1) if times is None else times, size)
    return frames[0], masks[:, 0]


def referring_batch(rng, processor: GLEEProcessor, images: int, kinds=None, scenes: Scenes | None = None) -> dict:
    """Frames with an expression each; what it means in the whole clip is one target, if the frame shows it."""
    samples, scenes = [], scenes or Scenes()
    while len(samples) < images:
        scene = scenes.draw(rng)
        for expression in filter(scenes.shows, sample_expressions(rng, scene, PER_SCENE, kinds or KINDS)):
            frame, masks = scenes.frame(rng, scene)
            target = masks[expression.object_ids].any(0)[None]
            samples.append({"frames": [frame], "expressions": [expression.text], "masks": [target]})
    return GLEECollator(processor)(samples[:images])


def names_batch(rng, processor: GLEEProcessor, images: int, scenes: Scenes | None = None) -> dict:
    """Frames and names for all of them, with every object that the frames show and a name means."""
    scenes = scenes or Scenes()
    drawn = [scenes.draw(rng) for _ in range(images)]
    kind = str(rng.choice(NAME_LISTS, p=[0.4, 0.2, 0.4]))
    names = choose_names(rng, kind)
    frames, masks = zip(*(scenes.frame(rng, scene) for scene in drawn), strict=True)
    labels = [named_targets(kind, names, *pair) for pair in zip(drawn, masks, strict=True)]
    return {**processor(list(frames), names), "labels": labels}


def named_targets(kind: str, names: list[str], scene: Scene, visible: np.ndarray) -> dict:
    """Targets of a frame: its objects that a name means; `instance_ids` are the numbers of their sprites."""
    named = [name_of(kind, sprite) in names for sprite in scene.sprites]
    made = image_targets(torch.from_numpy(visible[named]), torch.tensor(named).nonzero()[:, 0], *[(SIZE, SIZE)] * 2)
    ids = made["class_labels"]
    classes = [names.index(name_of(kind, scene.sprites[number])) for number in ids.tolist()]
    return {**made, "class_labels": torch.tensor(classes, dtype=torch.long), "instance_ids": ids}


def clip_batch(rng, processor: GLEEProcessor, clips: int) -> dict:
    """Pairs of frames of one scene each, and all objects in both, by names of both looks and colours."""
    drawn = [sample_scene(rng) for _ in range(clips)]
    names, frames, labels = choose_names(rng, "both"), [], []
    for scene in drawn:
        pair, visible = scene.render(np.sort(pair_of_times(rng)), SIZE)
        frames += list(pair)
        labels += [named_targets("both", names, scene, visible[:, time]) for time in range(2)]
    return {**processor(frames, names), "labels": labels, "clip_length": 2}


def name_of(kind: str, sprite) -> str:
    """What a sprite is called in a list of names.

    Example:

        >>> name_of("both", sample_scene(np.random.default_rng(0)).sprites[0])
        'yellow cross'
    """
    return {"shapes": sprite.shape, "colors": f"{sprite.color} thing", "both": f"{sprite.color} {sprite.shape}"}[kind]


def choose_names(rng, kind: str) -> list[str]:
    """All names of a kind in any order, or some of them."""
    every = {
        "shapes": list(SHAPES),
        "colors": [f"{color} thing" for color in COLORS],
        "both": [f"{color} {shape}" for color in COLORS for shape in SHAPES],
    }[kind]
    count = len(every) if rng.random() < 0.6 else int(rng.integers(1, len(every) + 1))
    return [str(name) for name in rng.permutation(every)[:count]]


def prompt_batch(rng, processor: GLEEProcessor, clips: int) -> dict:
    """Pairs of frames of one scene each, a prompt on the first, and its object in both."""
    frames, labels, masks, kinds, size = [], [], [], [], (SIZE, SIZE)
    while len(kinds) < clips:
        scene = sample_scene(rng)
        pair, visible = scene.render(pair_of_times(rng), SIZE)
        shown = np.flatnonzero(visible[:, 0].sum((1, 2)) >= LEAST_PIXELS)
        if len(shown) == 0:
            continue
        target = visible[rng.choice(shown)]
        found = prompt_inputs([size], [size], size, **draw_prompt(rng, target[0]))
        frames += list(pair)
        masks.append(found["prompt_masks"])
        kinds += found["prompt_kinds"]
        labels += [image_targets(torch.from_numpy(each[None]), torch.zeros(1).long(), size, size) for each in target]
    prompts = {"prompt_masks": torch.cat(masks), "prompt_kinds": kinds, "clip_length": 2}
    pixels, task = processor.image_processor(frames).pixel_values, {"task": "category", "labels": labels}
    return {"pixel_values": pixels, **processor.tokenize([PROMPTED_NAME]), **task, **prompts}


def pair_of_times(rng) -> np.ndarray:
    """Two times in 0..1; those of half of all pairs are near each other."""
    first, second = rng.random(2)
    if rng.random() < 0.5:
        second = np.clip(first + NEAR * (2 * second - 1), 0, 1)
    return np.array([first, second])


def draw_prompt(rng, mask: np.ndarray, kind: str | None = None) -> dict:
    """A prompt for an object, as the processor takes it: its mask, its box, a point on it or a line between points."""
    kind = kind or str(rng.choice(list(PROMPTS), p=list(PROMPTS.values())))
    if kind == "mask":
        return {"segmentation_maps": [mask]}
    rows, columns = np.nonzero(mask)
    if kind == "box":
        return {"input_boxes": [[[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]]}
    ends = rng.integers(len(rows), size=1 if kind == "point" else 2)
    points = np.stack([columns[ends], rows[ends]], 1).astype(float)
    if kind == "scribble":
        shares = np.linspace(0, 1, int(np.abs(points[1] - points[0]).max()) + 2)[:, None]
        points = points[0] + shares * (points[1] - points[0])
        line = np.zeros_like(mask)
        line[points[:, 1].round().astype(int), points[:, 0].round().astype(int)] = True
        return {"segmentation_maps": [line], "is_scribble": True}
    return {"input_points": [[points.tolist()]]}


@dataclass
class ContrastiveBatch:
    """Images, the masks of their objects, texts, and which object each text means: `matches [objects, texts]`."""

    pixel_values: Tensor
    masks: list[Tensor]
    input_ids: Tensor
    attention_mask: Tensor
    matches: Tensor


def contrastive_batch(rng, processor: GLEEProcessor, images: int, texts: int) -> ContrastiveBatch:
    """Objects of some frames, and texts about looks, each made of some attributes of one of them."""
    frames, masks, sprites = [], [], []
    for _ in range(images):
        scene = sample_scene(rng)
        frame, visible = sample_frame(rng, scene)
        shown = np.flatnonzero(visible.sum((1, 2)) >= LEAST_PIXELS)
        frames.append(frame)
        masks.append(torch.from_numpy(visible[shown]))
        sprites += [scene.sprites[index] for index in shown]
    wanted = [look_of_some(rng, sprites) for _ in range(texts)]
    said = [processor.clean_expression(say(rng, each)) for each in wanted]
    matches = torch.tensor([[each.matches(sprite) for each in wanted] for sprite in sprites])
    pixels = processor.image_processor(frames).pixel_values
    return ContrastiveBatch(pixels, masks, **processor.tokenize(said), matches=matches)


def look_of_some(rng, sprites: list) -> Filter:
    """Some attributes of one of the sprites; no size of those that change it."""
    sprite = sprites[rng.integers(len(sprites))]
    shape, color, size = LOOKS[rng.choice(len(LOOKS), p=LOOK_PARTS)]
    size = size and sprite.motion not in ("grow", "shrink")
    shape = shape or not (color or size)
    return Filter(sprite.shape if shape else None, sprite.color if color else None, sprite.size if size else None)


def say(rng, wanted: Filter) -> str:
    """A look in words: an expression for one or for several, or a name without its article."""
    words = phrase(rng, wanted, int(rng.choice([1, 1, 2, 3])))
    return words.removeprefix("the ") if rng.random() < 0.3 else words
