"""The ablation script: what its settings change, that it runs and goes on, and its table."""

import json
import sys

import numpy as np
import pytest

from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

from ablations import MOVING, SETTINGS, Budget, check_budget, run, spread, table, training_set  # noqa: E402

from glus_hf import GLUSProcessor, load_referring_dataset  # noqa: E402


@pytest.fixture(scope="module")
def processor():
    return GLUSProcessor.from_pretrained("glus-tiny")


@pytest.mark.slow
def test_the_mixtures_sample_expressions_about_motion_as_often_as_they_say(processor):
    rows = load_referring_dataset("motion_shapes", split="train", num_videos=SETTINGS["motion"].videos, size=64)
    keys = zip(rows["video_id"], rows["expression_id"], strict=True)
    kind_of = dict(zip(keys, rows["expression_type"], strict=True))
    shares = {}
    for name in ("motion", "motion3-looks1", "looks"):
        videos = training_set(SETTINGS[name], processor, Budget(steps=15, batch=4), seed=0)
        samples = [videos[index] for index in range(60)]
        moving = [kind_of[sample["video_id"], sample["expression_ids"][0]] in MOVING for sample in samples]
        shares[name] = np.mean(moving)
    assert shares["motion"] == 1 and shares["looks"] == 0 and 0.6 < shares["motion3-looks1"] < 0.9


@pytest.mark.parametrize("name", ["no-context", "no-window"])
def test_a_setting_is_trained_and_scored(name, tmp_path):
    budget = Budget(steps=1, batch=1, test_videos=1, validation_videos=1)
    setting = SETTINGS[name]
    result = run(
        type(setting)(setting.title, setting.model, videos=2), "glus-tiny", budget, 0, tmp_path, strides=False
    )
    assert 0 <= result["test"]["J&F"] <= 100 and 0 <= result["occlusion"]["J&F"] <= 100


def test_finished_runs_of_another_length_are_refused(tmp_path):
    file = tmp_path / "result.json"
    file.write_text(json.dumps({"budget": vars(Budget(steps=100))}))
    check_budget(file, Budget(steps=100))
    with pytest.raises(
        SystemExit, match="^error: [^\n]*result.json: was made with --steps 100; pass that, or [^\n]*$"
    ):
        check_budget(file, Budget(steps=50))
    with pytest.raises(SystemExit, match="was made with --test-videos 40"):
        check_budget(file, Budget(test_videos=4))


def test_the_table_has_means_and_spreads():
    def one(score, curve):
        kinds = {f"J&F_{kind}": score for kind in ("static", "motion", "conjunction", "multi")}
        strides = {str(stride): {"J&F": score + stride} for stride in (1, 3, 5, 7, 9)}
        scores = {"test": {"J&F": score, **kinds}, "occlusion": {"J&F": score / 2}, "strides": strides}
        return {"title": "all parts", "curve": curve, **scores}

    lines = list(table({"all": [one(60.0, [[0, 10.0], [5, 20.0]]), one(64.0, [[0, 10.0], [5, 30.0]])]}))
    cells = " | ".join(["62.0 ± 2.0"] * 5)
    assert lines[2] == f"| all parts | {cells} | 31.0 ± 1.0 | 2 |"
    assert "| J&F | 63.0 ± 2.0 | 65.0 ± 2.0 |" in lines[6] and lines[-1] == "| all parts | 10.0 ± 0.0 | 25.0 ± 5.0 |"


def test_one_seed_has_no_spread():
    assert spread([62.04]) == "62.0" and spread([60.0, 64.0]) == "62.0 ± 2.0"
