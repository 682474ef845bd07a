"""Import paths that documentation has shown go on working."""

import importlib

import pytest

from glus_hf.moved_modules import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_old_paths_give_the_same_module(old):
    assert importlib.import_module(old) is importlib.import_module(MOVED[old])


def test_old_paths_as_they_were_printed():
    from glus_hf.data.video import load_video
    from glus_hf.evaluation import metrics
    from glus_hf.evaluation.score import score_predictions
    from glus_hf.media.video import load_video as new_load_video

    assert load_video is new_load_video and callable(score_predictions) and metrics.path("j_and_f")
