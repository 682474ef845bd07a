"""The words of MotionShapes: attribute filters and the expressions made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


# per motion: (singular, plural) phrases that follow the noun
MOTION_PHRASES: dict[str, list[tuple[str, str]]] = {
    "still": [
        ("standing still", "standing still"),
        ("that does not move", "that do not move"),
        ("staying in place", "staying in place"),
        ("not moving", "not moving"),
    ],
    **{
        side: [
            (f"moving {side}", f"moving {side}"),
            (f"going {to}", f"going {to}"),
            (f"that moves {to}", f"that move {to}"),
            (f"heading {side}", f"heading {side}"),
            (f"traveling {to}", f"traveling {to}"),
        ]
        for side, to in (("left", "to the left"), ("right", "to the right"), ("up", "upwards"), ("down", "downwards"))
    },
    "circle": [
        ("circling around", "circling around"),
        ("moving in a circle", "moving in a circle"),
        ("that goes around in a circle", "that go around in a circle"),
        ("circling", "circling"),
    ],
    "zigzag": [
        ("moving from side to side", "moving from side to side"),
        ("swinging left and right", "swinging left and right"),
        ("that goes back and forth", "that go back and forth"),
        ("zigzagging", "zigzagging"),
    ],
    "bounce": [
        ("bouncing up and down", "bouncing up and down"),
        ("that bounces", "that bounce"),
        ("hopping", "hopping"),
        ("jumping up and down", "jumping up and down"),
    ],
    "grow": [
        ("growing", "growing"),
        ("getting bigger", "getting bigger"),
        ("that grows", "that grow"),
        ("becoming larger", "becoming larger"),
    ],
    "shrink": [
        ("shrinking", "shrinking"),
        ("getting smaller", "getting smaller"),
        ("that shrinks", "that shrink"),
        ("becoming smaller", "becoming smaller"),
    ],
    "enter": [
        ("entering the scene", "entering the scene"),
        ("that comes in later", "that come in later"),
        ("coming into view", "coming into view"),
        ("that enters late", "that enter late"),
    ],
    "leave": [
        ("leaving the scene", "leaving the scene"),
        ("that goes away", "that go away"),
        ("going out of view", "going out of view"),
        ("that leaves early", "that leave early"),
    ],
    "enter_first": [
        ("that enters first", "that enter first"),
        ("coming in first", "coming in first"),
        ("that is first to enter", "that are first to enter"),
        ("entering before the others", "entering before the others"),
    ],
    "enter_last": [
        ("that enters last", "that enter last"),
        ("coming in last", "coming in last"),
        ("that is last to enter", "that are last to enter"),
        ("entering after the others", "entering after the others"),
    ],
}
PLURALS = {"cross": "crosses"}
SYNONYMS = {"large": ("large", "big"), "small": ("small", "little")}
NUMBERS = {2: ("the two", "both", "the"), 3: ("the three", "all three", "the")}
NOUNS = ("thing", "object", "shape")
WORDS = ("the", "in", "video", "one", "that", "is", "which", "visible", "two", "three", "both", "all")


@dataclass(frozen=True)
class Filter:
    """Attributes that a target must have; None means any."""

    shape: str | None = None
    color: str | None = None
    size: str | None = None
    motion: str | None = None

    def matches(self, sprite) -> bool:
        return (
            self.shape in (None, sprite.shape)
            and self.color in (None, sprite.color)
            and self.size in (None, sprite.size)
            and (self.motion in (None, sprite.motion, sprite.relation) or self.motion in sprite.facts)
        )


def phrase(rng, wanted: Filter, count: int, motion_phrases: Mapping[str, list[tuple[str, str]]] | None = None) -> str:
    """Put a filter into words, in one of several ways; `count` targets decide singular or plural.

    `motion_phrases`: those of other motions than [`MOTION_PHRASES`].
    """
    plural = count > 1
    noun = wanted.shape or str(rng.choice(NOUNS))
    noun = PLURALS.get(noun, f"{noun}s") if plural else noun
    size = str(rng.choice(SYNONYMS[wanted.size])) if wanted.size else ""
    article = str(rng.choice(NUMBERS[count])) if plural else "the"
    phrases = (motion_phrases or MOTION_PHRASES)[wanted.motion] if wanted.motion else []
    motion = phrases[rng.integers(len(phrases))] if phrases else ""
    motion = motion[plural] if motion else ""
    color_last = wanted.color and not motion and rng.random() < 0.25
    verb = "are" if plural else "is"
    color = "" if color_last else wanted.color or ""
    tail = f"that {verb} {wanted.color}" if color_last else motion
    if not motion and rng.random() < 0.2:
        tail = f"{tail} in the video".strip()
    return " ".join(word for word in (article, size, color, noun, tail) if word)


def vocabulary() -> list[str]:
    """All words that MotionShapes expressions use, sorted."""
    words = set(WORDS) | set(NOUNS) | {f"{noun}s" for noun in NOUNS} | {"are", "crosses", "circles", "squares"}
    words |= {"triangles", "circle", "square", "triangle", "cross"}
    words |= {"red", "green", "blue", "yellow", "purple", "cyan"}
    words |= {word for pair in SYNONYMS.values() for word in pair}
    for pairs in MOTION_PHRASES.values():
        words |= {word for pair in pairs for text in pair for word in text.split()}
    return sorted(words)
