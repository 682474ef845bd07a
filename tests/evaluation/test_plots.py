"""Plots: what is drawn agrees with the numbers."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from glus_hf.evaluation.plots import draw_plots, histogram_figure, type_figure, worst_sheet
from glus_hf.evaluation.report import EvaluationReport
from glus_hf.evaluation.scoring.score_predictions import score_predictions
from glus_hf.predictions.prediction_tree import expression_folder, write_expression
from glus_hf.visualization import palette
from tests.evaluation.evaluation_data import DATASETS, load_rows, shape_rows


def area(image, colour, tolerance=0):
    return int((np.abs(np.asarray(image, dtype=int) - colour) <= tolerance).all(-1).sum())


def totals_of(types, scale=1):
    """Totals of a report: `types` is name -> J, F; J&F is their mean."""

    def scores(j, f):
        return {"J": scale * j, "F": scale * f, "J&F": scale * (j + f) / 2, "num_expressions": 3}

    return scores(0.5, 0.7) | {"scale": scale, "by_type": {name: scores(*pair) for name, pair in types.items()}}


def bars_of(figure):
    """Name in the legend -> lengths of the bars, from top to bottom."""
    return {bars.get_label(): [bar.get_width() for bar in bars] for bars in figure.axes[0].containers}


def type_names(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def texts_outside(figure):
    """Texts that do not lie on the drawn figure as a whole."""
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    boxes = {text.get_text(): text.get_window_extent() for text in figure.findobj(Text) if text.get_text()}
    return [name for name, box in boxes.items() if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]


@pytest.mark.parametrize("scale", [1, 100])
def test_bars_are_as_long_as_their_values(scale):
    figure = type_figure(totals_of({"static": (0.25, 1.0), "motion": (0.001, 0.0)}, scale))
    assert type_names(figure) == ["static (3)", "motion (3)", "all (3)"]
    expected = {"J": [25, 0.1, 50], "F": [100, 0, 70], "J&F": [62.5, 0.05, 60]}
    assert bars_of(figure) == {name: pytest.approx(values) for name, values in expected.items()}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["J", "F", "J&F"]


def test_histogram_counts_and_marks_the_mean():
    (axes,) = histogram_figure([0, 2, 3, 100, 100]).axes
    counts = [bar.get_height() for bar in axes.containers[0]]
    assert len(counts) == 20 and (counts[0], counts[-1], sum(counts)) == (3, 2, 5)
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["3", "2"]
    (mean,) = axes.lines
    assert set(mean.get_xdata()) == {41} and mean.get_label() == "mean 41.0 %"
    assert axes.get_title(loc="left") == "J&F of 5 expressions"
    assert all(tick == int(tick) for tick in histogram_figure([50]).axes[0].get_yticks())


@pytest.mark.parametrize("figure", [histogram_figure([100] * 12345), type_figure(totals_of({"static": (1, 1)}))])
def test_axes_have_names_and_texts_fit(figure):
    (axes,) = figure.axes
    assert "(%)" in axes.get_xlabel() and "number of expressions" in axes.get_ylabel()
    assert texts_outside(figure) == []


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_long_names_are_cut(groups):
    figure = type_figure(
        totals_of({f"{index}: a very long name of a type, {'m' * 99}": (1, 1) for index in range(groups)})
    )
    assert [name[:14] for name in type_names(figure)[:2]] == [
        "0: a very long",
        "1: a very long" if groups > 1 else "all (3)",
    ]
    assert texts_outside(figure) == []


def test_a_name_is_no_formula():
    figure = type_figure(totals_of({r"$\no_formula{$": (0.5, 0.5)}))
    assert type_names(figure)[0] == r"$\no_formula{$ (3)" and texts_outside(figure) == []


def test_a_figure_grows_with_its_types():
    few, many = (type_figure(totals_of({str(index): (0.5, 0.5) for index in range(n)})) for n in (2, 40))
    assert few.get_figwidth() == many.get_figwidth() and many.get_figheight() > 5 * few.get_figheight()


def test_of_very_many_types_the_worst_are_drawn():
    figure = type_figure(totals_of({f"type {index}": (1 - index / 1000, 1) for index in range(1000)}))
    names = type_names(figure)
    assert (len(names), names[0], names[-1]) == (41, "type 999 (3)", "all (3)")
    assert figure.axes[0].get_title(loc="left").endswith("the worst 40 of 1000")


def test_matplotlib_is_loaded_to_draw_and_without_pyplot():
    code = (
        "import sys, threading, glus_hf.evaluation.plots as plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "thread = threading.Thread(target=lambda: plots.histogram_figure([50]).canvas.draw())\n"
        "thread.start(); thread.join()\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error::UserWarning:matplotlib", "-c", code], check=True)


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
    images = {path.name: Image.open(path) for path in paths}
    assert {image.format for image in images.values()} == {"PNG"}
    assert images["histogram.png"].size == (1280, 720) and images["worst.png"].width == 1300
    assert images["by_type.png"].width == 1280 and 400 < images["by_type.png"].height < 1280
    assert area(images["histogram.png"], palette(5)) > 1000 and area(images["by_type.png"], palette(0)) > 1000


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
