"""The table of glus-tiny beside baselines that see the true masks but no motion."""

import sys

from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

from evaluate_tiny import evaluate  # noqa: E402


def test_baselines_know_looks_and_no_motion():
    result = evaluate(None, "test", num_videos=10, seed=0, size=48)
    table = result["table"]
    assert "model" not in table and sum(result["counts"].values()) == 60
    assert table["all of that look"]["static"] == table["one of that look"]["static"] == 100
    assert table["all of that look"]["motion"] < 70 and table["every shape"]["no_target"] < 5


def test_the_model_beats_them_where_motion_decides():
    table = evaluate("glus-tiny", "test", num_videos=3, seed=0, size=64)["table"]
    assert table["model"]["motion"] > table["all of that look"]["motion"] + 25
