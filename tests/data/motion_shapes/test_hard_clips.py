"""Hard MotionShapes clips: look-alikes, short events, and expressions that are true of their targets alone."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from glus_hf import load_referring_dataset
from glus_hf.data.motion_shapes import HARD_KINDS, generate_clip
from glus_hf.data.motion_shapes.hard_language import HardPhrases, hard_vocabulary
from glus_hf.data.motion_shapes.hard_scenes import CLEAR, EVENTS, STATES, first_move, moment, states


PLAIN = ("train", "validation", "test", "test_held_out", "occlusion", "reveal")
EXPRESSIONS_OF_PLAIN_CLIPS = "3c4d4821f61ad185"
SUM_OF_PLAIN_FRAMES = 15180667


@pytest.fixture(scope="module")
def clips():
    return [generate_clip(index, split="hard_train", size=16, num_frames=4) for index in range(100)]


def test_plain_clips_stay_what_they_were():
    digest, total = hashlib.sha256(), 0
    for split in PLAIN:
        for index in range(3):
            clip = generate_clip(index, split=split, size=32, num_frames=4)
            digest.update(repr([(e.text, e.kind, e.object_ids) for e in clip.expressions]).encode())
            total += int(clip.frames.sum(dtype=int))
    assert digest.hexdigest()[:16] == EXPRESSIONS_OF_PLAIN_CLIPS
    assert total == pytest.approx(SUM_OF_PLAIN_FRAMES, abs=200)  # other processors may round single pixels


def test_the_same_arguments_give_the_same_clip_of_20_to_32_frames():
    first, second = (generate_clip(1, split="hard_test", size=32) for _ in range(2))
    assert first.frames.tobytes() == second.frames.tobytes() and first.masks.tobytes() == second.masks.tobytes()
    assert [e.text for e in first.expressions] == [e.text for e in second.expressions]
    assert 20 <= len(first.frames) <= 32


def test_there_are_four_to_eight_shapes_with_look_alikes(clips):
    numbers = Counter(len(clip.scene.sprites) for clip in clips)
    assert set(numbers) == {4, 5, 6, 7, 8}
    for clip in clips:
        looks = Counter((sprite.shape, sprite.color) for sprite in clip.scene.sprites)
        assert max(looks.values()) >= 2 and sum(n for n in looks.values() if n > 1) >= len(clip.scene.sprites) / 2


def test_jumps_shakes_and_blinks_leave_no_trace_and_are_over_in_a_few_frames(clips):
    seen = set()
    for sprite in (sprite for clip in clips for sprite in clip.scene.sprites):
        assert (sprite.points > 0).all() and (sprite.points < 1).all()
        if sprite.motion in ("jump", "shake"):
            times = np.linspace(0, 1, 101)
            away = np.abs(sprite.position(times) - sprite.points[0]).max(-1) > 1e-6
            assert 0.05 < away.mean() < 0.17 and not away[0] and not away[-1]
        if sprite.motion == "blink":
            assert 0.05 < sprite.flash[1] - sprite.flash[0] < 0.17 and "still" in sprite.facts
        seen.add(sprite.motion)
    assert seen == {*EVENTS, "still", "pass"}


def test_what_expressions_say_holds_of_their_targets_alone(clips):
    kinds = Counter()
    for clip in clips:
        sprites = clip.scene.sprites
        for expression in clip.expressions:
            kinds[expression.kind] += 1
            wanted, targets = expression.filter, [sprites[index] for index in expression.object_ids]
            alike = [s for s in sprites if wanted.shape in (None, s.shape) and wanted.color in (None, s.color)]
            assert wanted.motion is None or not targets or len(alike) > len(targets)  # the look is not enough
            name = wanted.motion or ""
            if name.endswith(("_first", "_last")) and targets:
                event, _, rank = name.partition("_")
                others = [moment(s) for s in sprites if s.motion == event and s is not targets[0]]
                gaps = np.array(others) - moment(targets[0])
                assert (gaps > CLEAR).all() if rank == "first" else (gaps < -CLEAR).all()
            if name.startswith(("before:", "after:")) and targets:
                color, shape = name.partition(":")[2].split()
                (reference,) = (s for s in sprites if (s.color, s.shape) == (color, shape))
                movers = [s for s in alike if s is not reference and first_move(s) is not None]
                sign = 1 if name.startswith("before") else -1
                told = [s for s in movers if sign * (first_move(reference) - first_move(s)) > CLEAR]
                assert {id(s) for s in told} == {id(s) for s in targets}
    assert set(kinds) == set(HARD_KINDS) and min(kinds.values()) >= 8


def test_who_passes_behind_is_covered_for_a_while():
    behind = 0
    for index in range(30):
        clip = generate_clip(index, split="hard_train", size=48, num_frames=16)
        for number, sprite in enumerate(clip.scene.sprites):
            area = clip.masks[number].sum((1, 2))
            if any(fact.startswith("behind:") for fact in sprite.facts):
                assert area.min() < 0.6 * area.max()
                behind += 1
    assert behind > 2


def test_the_background_moves():
    clip = generate_clip(0, split="hard_test", size=64, num_frames=24)
    free = ~clip.masks.any((0, 1))
    moved = np.abs(clip.frames[12].astype(int) - clip.frames[0])[free]
    assert moved.mean() > 4


def test_states_say_what_a_sprite_does_in_each_frame():
    drawn = (generate_clip(index, "hard_train", size=16, num_frames=2) for index in range(20))
    sprite = next(sprite for clip in drawn for sprite in clip.scene.sprites if sprite.motion == "jump")
    names = [STATES[state] for state in states(sprite, np.linspace(0, 1, 24))]
    changes = [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]
    assert changes == ["still", "up", "down", "still"]


def test_the_vocabulary_covers_every_expression(clips):
    words = set(hard_vocabulary())
    assert not {word for clip in clips for expression in clip.expressions for word in expression.text.split()} - words
    phrases = HardPhrases()
    for name in (*EVENTS, "jump_first", "stop_last", "before:red cross", "behind:red cross", "pass"):
        assert len(phrases[name]) >= 4
    assert phrases["start_first"][0] == ("that starts to move first", "that start to move first")


def test_hard_clips_are_a_split_of_the_dataset():
    rows = load_referring_dataset("motion_shapes", split="hard_test", num_videos=1, size=32, streaming=True)
    row = next(iter(rows))
    assert row["video_id"] == "hard_test_0_00000" and row["expression_type"] in HARD_KINDS
    assert len(row["masks"]) == len(row["frames"]) >= 20
