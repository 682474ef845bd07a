"""What the README promises is what the checks run, and its examples fit the clip that the demo makes."""

import re

import pytest

from glus_hf.cli.demo import demo_clip
from glus_hf.data.motion_shapes.language import vocabulary
from tests.paths import ROOT


PAGES = ("README.md", "docs/quickstart.md", "examples/segment_video.py")


def test_install_and_test_command_of_the_readme_is_the_one_that_is_checked():
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    commands = [line for line in lines if line.startswith("pip install") and "pytest" in line]
    assert len(commands) == 1
    assert commands[0] in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_examples_ask_for_what_the_demo_clip_shows(page):
    clip, expression = demo_clip(seed=0)
    text = (ROOT / page).read_text()
    asked = set(re.findall(r'"((?:the|both|all) [a-z ]+)"', text))
    assert expression.text in asked
    for expression in asked:
        assert set(expression.split()) <= set(vocabulary())
    looks = {(sprite.color, sprite.shape) for sprite in clip.scene.sprites}
    assert looks == {("blue", "circle"), ("red", "square")}  # what the expressions are about
