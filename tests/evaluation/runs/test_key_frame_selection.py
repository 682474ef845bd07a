"""Scores of all frames, kept in a folder; the best frames of each expression."""

import json

import numpy as np
import pytest

from glus_hf import UserError
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.evaluation.runs.distributed import Processes
from glus_hf.evaluation.runs.jobs import plan_jobs
from glus_hf.evaluation.runs.key_frame_selection import score_all_frames, starts_from, write_starts
from glus_hf.predictions.key_frame_file import read_key_frames
from tests.evaluation.evaluation_data import shape_rows
from tests.fixed_selector import FixedSelector, one_hot_at


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return shape_rows(tmp_path_factory.mktemp("cache"), num_videos=1)


@pytest.fixture
def score(rows, tmp_path):
    """Score all frames of the rows in one folder; tells which texts the selector has read."""

    def run(scores):
        read = []

        def recorded(texts, num_frames):
            read.extend(texts)
            return scores(texts, num_frames)

        selector, options = FixedSelector(recorded).as_selector(), EvaluationOptions(texts_per_pass=1)
        found, failures = score_all_frames(selector, rows, plan_jobs(rows), tmp_path, Processes(), options)
        assert not failures
        return found, read

    return run


def test_scores_are_read_again_instead_of_made_again(score, rows):
    found, read = score(one_hot_at(3))
    assert sorted(read) == sorted(rows["expression"])
    assert set(starts_from(found).values()) == {3}
    assert score(one_hot_at(1)) == (found, [])


@pytest.mark.parametrize("change", [lambda scores: scores[:-1], lambda scores: [*scores, 9.0], lambda scores: []])
def test_scores_of_a_wrong_length_are_made_again(score, rows, tmp_path, change):
    found, _ = score(one_hot_at(3))
    manifest = next(tmp_path.glob(".glus_hf/selector/.glus_hf/rank-*.jsonl"))
    first, *others = map(json.loads, manifest.read_text().splitlines())
    first["scores"] = change(first["scores"])
    manifest.write_text("".join(json.dumps(line) + "\n" for line in (first, *others)))
    again, read = score(one_hot_at(3))
    assert again == found and len(read) == 1
    assert score(one_hot_at(3)) == (found, [])


def test_edited_scores_are_one_line(score, tmp_path):
    score(one_hot_at(3))
    manifest = next(tmp_path.glob(".glus_hf/selector/.glus_hf/rank-*.jsonl"))
    manifest.write_text(manifest.read_text().replace("1.0", '"best"'))
    with pytest.raises(UserError, match="line 1: is broken; use --overwrite"):
        score(one_hot_at(3))


def test_the_best_frame_is_the_first_of_equals():
    assert starts_from({("v", "0"): [0.1, 0.5, 0.5], ("v", "1"): [1.0, 0.0, 0.0]}) == {("v", "0"): 1, ("v", "1"): 0}


def test_names_of_frames_go_into_upstreams_file(tmp_path):
    rows = [{"video_id": "a/b", "expression_id": "0", "frames": ["00005", "00010"]}]
    starts = {("a/b", "0"): np.int64(1)}
    assert read_key_frames(write_starts(tmp_path, rows, starts)) == {"a/b_0": 10}
    rows[0]["frames"][1] = "frame10"  # a name that the original code's file cannot hold
    assert write_starts(tmp_path, rows, starts) is None
