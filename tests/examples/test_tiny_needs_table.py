"""The table of what glus-tiny needs."""

import sys

import pytest

from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

from tiny_needs_table import measure, table, without_motion  # noqa: E402

import glus_hf  # noqa: E402
from glus_hf.data.motion_shapes import generate_clip  # noqa: E402


def test_the_expression_loses_its_motion_words_and_nothing_else():
    clips = [generate_clip(index, size=16, num_frames=2) for index in range(20)]
    for expression in (expression for clip in clips for expression in clip.expressions if expression.kind == "motion"):
        shorter = without_motion(expression)
        wanted = expression.filter
        assert shorter == without_motion(expression) and "ing" not in shorter.replace("thing", "")
        assert all(word in shorter for word in (wanted.shape, wanted.color) if word)


@pytest.mark.slow
def test_parts_are_taken_away_and_given_back():
    pipe = glus_hf.pipeline(model="glus-tiny")
    found = measure(pipe, seed=0, num_videos=3, size=64)
    assert pipe.model.config.num_maskmem == 7
    having, lacking = found["context frames, expressions about motion"]
    assert having == found["motion words, expressions about motion"][0] and having > lacking + 5
    lines = table([found, found]).splitlines()
    assert len(lines) == 6 and lines[4].startswith(f"| context frames, expressions about motion | {having:.1f} (")
