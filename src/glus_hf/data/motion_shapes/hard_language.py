"""The words of hard MotionShapes clips: short events, starts and stops, their order, and passing behind another."""

from __future__ import annotations

from .language import MOTION_PHRASES, PLURALS, vocabulary


# per event: (singular, plural) phrases that follow the noun
EVENT_PHRASES: dict[str, list[tuple[str, str]]] = {
    "jump": [
        ("that jumps", "that jump"),
        ("jumping once", "jumping once"),
        ("that makes a jump", "that make a jump"),
        ("that hops once", "that hop once"),
    ],
    "shake": [
        ("that shakes", "that shake"),
        ("shaking for a moment", "shaking for a moment"),
        ("that trembles", "that tremble"),
        ("trembling for a moment", "trembling for a moment"),
    ],
    "blink": [
        ("that blinks", "that blink"),
        ("blinking once", "blinking once"),
        ("that flashes", "that flash"),
        ("flashing once", "flashing once"),
    ],
    "start": [
        ("that starts to move", "that start to move"),
        ("starting to move", "starting to move"),
        ("that sets off", "that set off"),
        ("that begins to move", "that begin to move"),
    ],
    "stop": [
        ("that stops", "that stop"),
        ("coming to a stop", "coming to a stop"),
        ("coming to rest", "coming to rest"),
        ("that stops moving", "that stop moving"),
    ],
    "turn": [
        ("that turns around", "that turn around"),
        ("turning back", "turning back"),
        ("changing direction", "changing direction"),
        ("that turns back", "that turn back"),
    ],
    "still": [phrase for phrase in MOTION_PHRASES["still"] if "staying" not in phrase[0]],
    "pass": [
        ("that passes another", "that pass another"),
        ("passing another", "passing another"),
        ("that goes past another", "that go past another"),
        ("going past another", "going past another"),
    ],
}
THIRD_PERSON = {
    "jump": "jumps",
    "shake": "shakes",
    "blink": "blinks",
    "start": "starts to move",
    "stop": "stops",
    "turn": "turns back",
}
RELATION_PHRASES = {
    "before": ("that moves before {}", "moving before {}", "that is moving before {}", "that moves earlier than {}"),
    "after": ("that moves after {}", "moving after {}", "that is moving after {}", "that moves later than {}"),
    "behind": ("that passes behind {}", "passing behind {}", "that goes behind {}", "moving behind {}"),
    "front": (
        "that passes in front of {}",
        "passing in front of {}",
        "that goes in front of {}",
        "moving in front of {}",
    ),
}


class HardPhrases(dict):
    """Phrases by name of an event or relation; names of relations hold what they are relations to.

    Example:

        >>> HardPhrases()["jump_first"][0], HardPhrases()["behind:red square"][0][0]
        (('that jumps first', 'that jump first'), 'that passes behind the red square')
    """

    def __init__(self):
        super().__init__(EVENT_PHRASES)

    def __missing__(self, name: str) -> list[tuple[str, str]]:
        relation, _, look = name.partition(":")
        if look:
            return [(text.format(f"the {look}"),) * 2 for text in RELATION_PHRASES[relation]]
        event, _, rank = name.rpartition("_")
        verb = THIRD_PERSON[event]
        bare = " ".join([verb.split()[0][:-1], *verb.split()[1:]])
        return [
            (f"that {verb} {rank}", f"that {bare} {rank}"),
            (f"that is the {rank} one that {verb}", f"that are the {rank} ones that {bare}"),
            (f"that {verb} {'before' if rank == 'first' else 'after'} the others",) * 2,
            (f"which {verb} {rank}", f"which {bare} {rank}"),
        ]


def hard_vocabulary() -> list[str]:
    """All words that expressions of hard clips use, those of plain clips among them, sorted."""
    phrases = HardPhrases()
    texts = [text for pairs in EVENT_PHRASES.values() for pair in pairs for text in pair]
    texts += [text for event in THIRD_PERSON for pair in phrases[f"{event}_first"] for text in pair]
    texts += [text for event in THIRD_PERSON for pair in phrases[f"{event}_last"] for text in pair]
    texts += [text.format("") for group in RELATION_PHRASES.values() for text in group]
    return sorted({*vocabulary(), *PLURALS.values(), *(word for text in texts for word in text.split())})
