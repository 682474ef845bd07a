"""Plots: what is drawn agrees with the numbers."""

import numpy as np
import pytest
from PIL import Image

from glus_hf.evaluation.charts import bar_chart, histogram_chart
from glus_hf.evaluation.plots import draw_plots, worst_sheet
from glus_hf.evaluation.report import EvaluationReport
from glus_hf.evaluation.scoring.score_predictions import score_predictions
from glus_hf.predictions.prediction_tree import expression_folder, write_expression
from glus_hf.visualization import palette
from tests.evaluation.evaluation_data import DATASETS, load_rows, shape_rows


def area(image, colour, tolerance=0):
    return int((np.abs(np.asarray(image, dtype=int) - colour) <= tolerance).all(-1).sum())


def test_bars_are_as_long_as_their_values():
    chart = bar_chart({"a": {"J": 25, "F": 100}, "b": {"J": 50, "F": 0}}, "title")
    legend = area(bar_chart({"a": {"J": 0, "F": 0}, "b": {"J": 0, "F": 0}}, "title"), palette(0))
    ratio = (area(chart, palette(0)) - legend) / (area(chart, palette(1)) - legend)
    assert ratio == pytest.approx((25 + 50) / (100 + 0), rel=0.03)


def test_histogram_counts_and_marks_the_mean():
    chart = np.asarray(histogram_chart([0, 2, 3, 100, 100], "title", "J&F"))
    bars = (chart == palette(0)).all(-1)
    columns = np.flatnonzero(bars.any(0))
    heights = bars.sum(0)
    assert heights[columns[0] + 2] / heights[columns[-1] - 2] == pytest.approx(3 / 2, rel=0.02)
    marked = np.flatnonzero((chart == palette(1)).all(-1).sum(0) > 300)
    width = columns[-1] - columns[0]
    assert (marked.mean() - columns[0]) / width == pytest.approx(0.41, abs=0.01)


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_long_names_and_many_groups_fit(groups):
    values = {f"a very long name of a type {index}": {"J": 100, "F": 99.9, "J&F": 50} for index in range(groups)}
    chart = np.asarray(bar_chart(values, "title"))
    assert (chart[:, 0] == 255).all() and (chart[:, -1] == 255).all()  # nothing runs over the edge


def test_bars_shorter_than_a_pixel_are_drawn():
    small = np.asarray(bar_chart({"a": {"J": 0.1, "F": 0.2}, "b": {"J": 100, "F": 1e-9}}, "title"))
    for left, right, colour in ((200, 390, 0), (390, 600, 1), (950, 1150, 1)):
        assert (small[600:622, left:right] == palette(colour)).all(-1).any()
    counts = np.asarray(histogram_chart([50] * 9999 + [2], "title", "J&F"))
    assert (counts[600:622, 120:160] == palette(0)).all(-1).any()


def test_a_chart_grows_with_its_groups():
    names = [f"type {index}" for index in range(200)]
    chart = bar_chart({name: {"J": 50, "F": 50, "J&F": 50} for name in names}, "title")
    assert chart.height == 720 and chart.width > 200 * 90  # wide enough to read the names
    assert bar_chart({name: {"J": 50} for name in names[:8]}, "title").size == (1280, 720)


def report_of(rows, tree, protocol):
    scored = score_predictions(rows, tree, protocol)
    return EvaluationReport(tree, scored.records, scored.totals, {})


def test_plots_of_an_evaluation(tmp_path):
    rows = shape_rows(tmp_path / "cache", num_videos=2)
    rng = np.random.default_rng(0)
    for row in rows:
        write_expression(tmp_path / "preds", row, rng.random((len(row["frames"]), 48, 48)) > rng.random())
    paths = draw_plots(report_of(rows, tmp_path / "preds", "motion_shapes"), rows, tmp_path / "plots", worst=3)
    assert [path.name for path in paths] == ["histogram.png", "by_type.png", "worst.png"]
    sizes = {path.name: Image.open(path).size for path in paths}
    assert sizes["histogram.png"] == sizes["by_type.png"] == (1280, 720)
    assert sizes["worst.png"][0] == 1300


def test_without_types_there_is_no_chart_of_types(tmp_path):
    rows = load_rows("mevis", tmp_path / "cache")
    report = report_of(rows, DATASETS / "pred" / "mevis_valid_u", "mevis")
    assert [path.name for path in draw_plots(report, rows, tmp_path)] == ["histogram.png", "worst.png"]


def test_worst_are_drawn_with_prediction_and_truth(tmp_path):
    rows = load_rows("mevis", tmp_path / "cache")
    tree = DATASETS / "pred" / "mevis_valid_u"
    one = np.asarray(worst_sheet([rows[0]], [64.2], tree))
    three = np.asarray(worst_sheet(list(rows), [64.2, 62.7, 77.2], tree))
    band = one.shape[0] - 48  # without the legend
    assert three.shape == (48 + 3 * band, *one.shape[1:])
    np.testing.assert_array_equal(three[: 48 + band], one)
    tiles = one[48 + 44 :]
    assert area(tiles, palette(0), 40) > 50 and area(tiles, palette(1), 40) > 50  # contours of both, scaled down
    missing = np.asarray(worst_sheet([rows[0]], [0.0], tmp_path / "nothing"))
    assert area(missing[48 + 44 :], palette(0), 40) < 5 and area(missing[48 + 44 :], palette(1), 40) > 50


def test_a_short_video_is_not_shown_twice(tmp_path):
    row = load_rows("mevis", tmp_path / "cache")[0]
    row |= {name: row[name][:2] for name in ("frames", "frame_paths", "masks")}
    sheet = np.asarray(worst_sheet([row], [64.2], DATASETS / "pred" / "mevis_valid_u"))
    frames = sheet[48 + 44 :]
    assert (frames[:, 660:] == frames[0, 0]).all() and not (frames[:, 330:650] == frames[0, 0]).all()


def test_nothing_to_plot(tmp_path):
    rows = load_rows("mevis-valid", tmp_path / "cache")
    report = EvaluationReport(tmp_path, [{"video_id": row["video_id"]} for row in rows], None, {})
    with pytest.raises(ValueError, match="no scores to plot"):
        draw_plots(report, rows, tmp_path / "plots")
    assert not (tmp_path / "plots").exists() and expression_folder(rows[0])
