"""Scores that a manifest keeps are used as they are, unless they are of something else, or broken."""

import pytest

from glus_hf import UserError
from glus_hf.evaluation.runs.expression_result import ExpressionResult
from glus_hf.evaluation.runs.jobs import plan_jobs
from glus_hf.evaluation.scoring.incremental_scores import choose_protocol, score_all, score_finished
from glus_hf.evaluation.scoring.protocols import PROTOCOLS
from glus_hf.evaluation.scoring.score_predictions import score_predictions
from tests.evaluation.scoring.small_trees import make_tree


PROTOCOL = PROTOCOLS["mevis"]


@pytest.fixture
def finished(tmp_path):
    """Rows, their jobs, and results with scores."""
    rows = make_tree(tmp_path, num_videos=1)
    jobs = plan_jobs(rows)
    results = {job.key: ExpressionResult(*job.key, job.digest, 3, "00000", 0.5, [], 0.1, "own") for job in jobs}
    for job, row in zip(jobs, rows, strict=True):
        results[job.key].score = score_finished(row, tmp_path, PROTOCOL)
    return rows, jobs, results


def score(finished, output, failed=(), shared=True):
    return score_all(*finished, failed, output, PROTOCOL, num_workers=1, shared=shared)


def test_kept_scores_are_those_of_scoring_everything(finished, tmp_path):
    expected = score_predictions(finished[0], tmp_path, PROTOCOL)
    assert score(finished, tmp_path, shared=False) == (expected.records, expected.totals)


@pytest.mark.parametrize("change", [None, {"truth": "another"}, {"protocol": "revos"}])
def test_what_is_not_scored_is_scored_where_its_masks_are(finished, tmp_path, change):
    result = next(iter(finished[2].values()))
    expected = score(finished, tmp_path)
    result.score = None if change is None else result.score | change | {"record": {"J": 7}}
    assert score(finished, tmp_path) == expected
    with pytest.raises(UserError, match="lie on several machines; copy them into one folder") as error:
        score(finished, tmp_path, shared=False)
    assert "\n" not in str(error.value)


def test_failed_expressions_score_zero(finished, tmp_path):
    rows, jobs, results = finished
    del results[jobs[1].key]
    for path in (tmp_path / "v/0/1").iterdir():
        path.unlink()
    records, totals = score(finished, tmp_path, failed={jobs[1].key})
    assert records[1]["J"] == 0 and records[0]["J"] > 0 and totals["missing"] == 1


@pytest.mark.parametrize(
    "record", [{}, {"J": "high"}, {"J": 0.5, "F": "low"}, [1], 7, "J", {"J": 0.5, "F": None, "expression_type": None}]
)
def test_broken_scores_in_a_manifest_are_one_line(finished, tmp_path, record):
    result = finished[2][finished[1][1].key]
    result.score = result.score | {"record": record}
    with pytest.raises(UserError, match="has broken scores .*; use --overwrite or another --output") as error:
        score(finished, tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_the_protocol_is_that_of_the_data(tmp_path):
    rows = make_tree(tmp_path, num_videos=1)
    assert choose_protocol(rows, "revos").name == "revos"
    without = [{**rows[0], "masks": None}, *rows[1:]]
    assert choose_protocol(without, None) is None
    with pytest.raises(UserError, match="--protocol mevis: there is no ground truth"):
        choose_protocol(without, "mevis")
