"""Lines of a manifest come back as they were; what was edited into something else is refused."""

import json

import pytest

from glus_hf.evaluation.runs.expression_result import ExpressionFailure, ExpressionResult, ExpressionScores, by_key


RESULT = ExpressionResult("v", "0", "d1", 5, "00000", 0.5, ["00003"], 0.1, dataset="mevis")
FULL = ExpressionResult(
    "v", "1", "d1", 5, "00000", 0.5, [], 0.1, confidence=0.25, no_target=False, score={"J": 1.0}, num_labels=3,
    sum_labels=1.5,
)  # fmt: skip
SCORES = ExpressionScores("v", "0", "d1", [0.5, 1])


@pytest.mark.parametrize("record", [RESULT, FULL, SCORES])
def test_round_trip_through_json(record):
    line = json.loads(json.dumps(record.to_dict()))
    assert type(record).from_dict(line) == record
    assert type(record).from_dict(line | {"of a later version": 1}) == record


def test_what_is_not_known_is_not_in_the_line():
    line = RESULT.to_dict()
    assert next(iter(line)) == "dataset" and line["missing_seg_frames"] == ["00003"]
    assert not {"confidence", "no_target", "score", "num_labels", "sum_labels", "missing"} & set(line)


@pytest.mark.parametrize(
    "record, change",
    [
        (RESULT, {"missing_seg_frames": 3}),
        (RESULT, {"missing_seg_frames": "00003"}),
        (RESULT, {"missing_seg_frames": [3]}),
        (RESULT, {"num_frames": True}),
        (RESULT, {"num_frames": 5.0}),
        (RESULT, {"mean_score": "0.5"}),
        (RESULT, {"mean_score": None}),
        (RESULT, {"video_id": 7}),
        (RESULT, {"video_id": None}),
        (FULL, {"no_target": 0}),
        (FULL, {"score": [1]}),
        (FULL, {"num_labels": True}),
        (SCORES, {"scores": 1}),
        (SCORES, {"scores": [0.5, None]}),
        (SCORES, {"scores": [True]}),
        (SCORES, {"scores": None}),
    ],
)
def test_values_of_a_wrong_kind_are_refused(record, change):
    with pytest.raises(TypeError):
        type(record).from_dict(record.to_dict() | change)


@pytest.mark.parametrize("name", ["confidence", "no_target", "score", "dataset", "num_labels"])
def test_what_may_be_unknown_may_be_null(name):
    assert getattr(ExpressionResult.from_dict(FULL.to_dict() | {name: None}), name) is None


@pytest.mark.parametrize("name", ["video_id", "digest", "num_frames", "missing_seg_frames"])
def test_what_a_line_needs(name):
    line = RESULT.to_dict()
    del line[name]
    with pytest.raises((KeyError, TypeError)):
        ExpressionResult.from_dict(line)


def test_records_and_failures_by_key():
    failure = ExpressionFailure("w", "0", "no frames")
    assert by_key([RESULT, failure]) == {("v", "0"): RESULT, ("w", "0"): failure}
