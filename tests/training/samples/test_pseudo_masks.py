"""A training set from unlabelled videos: what is kept, and that it is one."""

import numpy as np
import pytest

from glus_hf import UserError, load_referring_dataset
from glus_hf.data.own.check import check_own_data
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.media.rle import decode_rle
from glus_hf.pipelines.factory import pipeline
from glus_hf.predictions.prediction_tree import read_prediction
from glus_hf.training.samples.pseudo_masks import make_pseudo_masks
from tests.evaluation.evaluation_data import shape_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return shape_rows(tmp_path_factory.mktemp("cache"), num_videos=2, num_frames=6)


@pytest.fixture(scope="module")
def made(rows, tmp_path_factory):
    """The runs of both directions, and a report of what is kept by default."""
    pipe, output = pipeline(model="glus-tiny", device="cpu"), tmp_path_factory.mktemp("pseudo")
    make = lambda **options: make_pseudo_masks(pipe.model, pipe.processor, rows, output, **options)
    return make, make(min_score=0.5, min_agreement=0.6)


def test_what_is_kept_is_a_dataset_with_the_masks_of_the_forward_run(made, rows, tmp_path):
    _, report = made
    assert 0 < report.num_kept < report.num_expressions == len(rows)
    assert report.j_of_kept > report.j_of_all  # those left out are the worse ones
    assert check_own_data(report.clips).errors == []
    kept = load_referring_dataset("own", report.clips, cache_dir=tmp_path)
    by_name = {(row["video_id"], row["expression"]): row for row in rows}
    for row in kept:
        source = by_name[row["video_id"], row["expression"]]
        for index, frame in enumerate(row["frames"]):
            mask = decode_rle(row["masks"][index], (row["height"], row["width"]))
            assert (mask == read_prediction(report.clips.parent / "forward", source, frame)).all()


def test_the_filter_decides_and_nothing_is_segmented_again(made, rows, tmp_path):
    make, report = made
    before = {path: path.stat().st_mtime_ns for path in report.clips.parent.rglob("*.png")}
    loose = make(min_score=0, min_agreement=0, clips=tmp_path / "all")
    strict = make(min_score=1, min_agreement=1, clips=tmp_path / "none")
    assert strict.num_kept == 0 and strict.clips is None and not (tmp_path / "none").exists()
    assert report.num_kept < loose.num_kept <= len(rows)
    assert before == {path: path.stat().st_mtime_ns for path in report.clips.parent.rglob("*.png")}
    assert np.isclose(loose.mean_agreement, report.mean_agreement)


@pytest.mark.parametrize(
    "options", [{"min_score": 1.5}, {"min_agreement": -1}, {"options": EvaluationOptions(key_frame=1)}]
)
def test_impossible_choices_are_one_line(made, options):
    with pytest.raises(UserError, match="^(min_|pseudo-masks start)[^\n]*$"):
        made[0](**options)
