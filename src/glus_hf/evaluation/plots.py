"""Plots of an evaluation as PNG files, so that people see where it fails."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data.frames import read_frame
from ..errors import MissingPrediction, UserError
from ..media.rle import decode_rle
from ..metrics.j_and_f import contour_accuracy, region_similarity
from ..predictions.prediction_tree import read_prediction
from ..visualization import contact_sheet, draw_overlay, palette, save_image
from .report import EvaluationReport


if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE_WIDTH = 320
MAX_TYPES = 40
"""Most types of expressions in one figure; of more, those with the lowest J&F are drawn."""
MAX_NAME = 32
"""Most letters of a type's name in a figure."""
BAR_COLOURS = {"J": palette(0), "F": palette(6), "J&F": palette(5)}
"""Colours of the bars: they differ in lightness too, for grey prints and for every kind of colour vision."""
FIGURE_WIDTH, FIGURE_HEIGHT, DPI = 8.0, 4.5, 160  # inches and pixels per inch: 1280 x 720
_STRIP, _INK = (24, 26, 30), (245, 245, 245)


def draw_plots(
    report: EvaluationReport, rows: Sequence[Mapping], folder: str | os.PathLike, worst: int = 8
) -> list[Path]:
    """Draw `histogram.png`, `by_type.png` (where expressions have types) and `worst.png`.

    Args:
        report: of [`evaluate_model`], with scores.
        rows: the evaluated rows, with masks.
        folder: where to write; created if needed.
        worst: how many of the worst expressions to show.

    Returns:
        The files.

    Raises:
        ValueError: there are no scores.

    Example:
        >>> draw_plots(report, rows, "plots")  # doctest: +SKIP
        [PosixPath('plots/histogram.png'), PosixPath('plots/by_type.png'), PosixPath('plots/worst.png')]
    """
    scored = [index for index, record in enumerate(report.records) if record.get("J&F") is not None]
    if report.totals is None or not scored:
        raise UserError("there are no scores to plot; use a split with ground truth")
    values = {index: 100 * report.records[index]["J&F"] for index in scored}
    images = {"histogram": _pixels(histogram_figure(list(values.values())))}
    if report.totals.get("by_type"):
        images["by_type"] = _pixels(type_figure(report.totals))
    indices = sorted(scored, key=lambda index: (values[index], index))[:worst]
    images["worst"] = worst_sheet([rows[index] for index in indices], [values[i] for i in indices], report.output)
    paths = []
    for name, image in images.items():
        paths.append(Path(folder) / f"{name}.png")
        save_image(paths[-1], np.asarray(image))
    return paths


def histogram_figure(values: Sequence[float]) -> Figure:
    """Histogram of J&F with its mean marked.

    Args:
        values: J&F of each expression in percent, `[0, 100]`, at least one.

    Returns:
        A figure of 1280 x 720 pixels; bars of 5 percent.

    Example:
        >>> axes = histogram_figure([10, 55.5, 100]).axes[0]
        >>> axes.get_title(loc="left"), axes.get_xlabel()
        ('J&F of 3 expressions', 'J&F (%)')
    """
    figure, axes = _figure(FIGURE_HEIGHT)
    counts, _, bars = axes.hist(values, bins=20, range=(0, 100), rwidth=0.92, color=_colour(BAR_COLOURS["J&F"]))
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # keeps the line of the mean off the numbers
    axes.bar_label(bars, [f"{count:.0f}" if count else "" for count in counts], padding=3, fontsize=8, bbox=paper)
    mean = float(np.mean(values))
    axes.axvline(mean, color=_colour(palette(1)), linestyle="--", clip_on=False, label=f"mean {mean:.1f} %")
    plural = "s" * (len(values) > 1)
    axes.set_title(f"J&F of {len(values)} expression{plural}", loc="left")
    axes.set(xlabel="J&F (%)", ylabel="number of expressions", xlim=(0, 100), xticks=range(0, 101, 10))
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)  # above the axes, beside the title
    return figure


def type_figure(totals: Mapping) -> Figure:
    """J, F and J&F of every type of expression and of all, as horizontal bars.

    Args:
        totals: of a report, with `by_type`, J, F and J&F, `num_expressions` and `scale`, the value of a perfect J.

    Returns:
        A figure 1280 pixels wide and as high as its types need. Of more than `MAX_TYPES` it shows the worst.

    Example:
        >>> scores = {"J": 0.5, "F": 0.7, "J&F": 0.6, "num_expressions": 4}
        >>> axes = type_figure(scores | {"scale": 1, "by_type": {"colour": scores}}).axes[0]
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['colour (4)', 'all (4)']
    """
    shown = list(totals["by_type"].items())
    title = "J, F and J&F by type of expression"
    if len(shown) > MAX_TYPES:
        title += f": the worst {MAX_TYPES} of {len(shown)}"
        shown = sorted(shown, key=lambda item: item[1]["J&F"])[:MAX_TYPES]
    shown.append(("all", totals))
    figure, axes = _figure(1.8 + 0.6 * len(shown))
    for index, (name, colour) in enumerate(BAR_COLOURS.items()):
        values = [100 / totals["scale"] * scores[name] for _, scores in shown]
        positions = np.arange(len(shown)) + (index - 1) * 0.27
        bars = axes.barh(positions, values, height=0.25, color=_colour(colour), label=name)
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    names = [f"{_shorten(name)} ({scores['num_expressions']})" for name, scores in shown]
    axes.set_yticks(range(len(shown)), names, parse_math=False)  # a name is no formula
    axes.set_ylim(len(shown) - 0.5, -0.5)  # the first at the top
    axes.set_title(title, loc="left")
    axes.set(xlabel="score (%)", ylabel="type (number of expressions)", xlim=(0, 108), xticks=range(0, 101, 10))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower right", ncols=len(BAR_COLOURS), frameon=False)
    return figure


def worst_sheet(
    rows: Sequence[Mapping], values: Sequence[float], predictions: str | os.PathLike, num_frames: int = 4
) -> Image.Image:
    """One band per expression: its text and J&F, and frames with prediction and truth drawn over them.

    Args:
        rows: with masks.
        values: J&F in percent.
        predictions: tree of predictions.
        num_frames: frames per expression.

    Returns:
        An RGB image.
    """
    bands = [_legend_band(num_frames)]
    for row, value in zip(rows, values, strict=True):
        bands += [_text_band(row, value, num_frames), _frames_band(row, predictions, num_frames)]
    return Image.fromarray(np.concatenate(bands))


def _figure(height: float):
    """An empty figure of `height` inches with its axes.

    Without pyplot, which keeps all figures, is not safe in threads and may look for a display. Matplotlib is imported
    here because it takes long, and most evaluations draw nothing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(FIGURE_WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _pixels(figure: Figure) -> np.ndarray:
    """The drawn figure, `[height, width, 3]`, uint8 RGB."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def _colour(rgb: tuple[int, int, int]) -> tuple[float, ...]:
    """A colour in 0..1, as Matplotlib wants it."""
    return tuple(value / 255 for value in rgb)


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _frames_band(row: Mapping, predictions: str | os.PathLike, num_frames: int) -> np.ndarray:
    chosen = np.unique(np.linspace(0, len(row["frames"]) - 1, num_frames).round().astype(int))
    pictures, captions = [], []
    for index in chosen:
        truth = decode_rle(row["masks"][index], (row["height"], row["width"]))
        try:
            prediction, note = read_prediction(predictions, row, row["frames"][index]), ""
        except MissingPrediction:
            prediction, note = np.zeros_like(truth), ", no prediction"
        pictures.append(
            draw_overlay(read_frame(row["frame_paths"][index]), np.stack([prediction, truth]), min_side=384)
        )
        j, f = region_similarity(prediction, truth), contour_accuracy(prediction, truth)
        captions.append(f"{row['frames'][index]}: J {100 * j:.0f}, F {100 * f:.0f}{note}")
    sheet = contact_sheet(pictures, num_frames, num_frames, captions, TILE_WIDTH)
    band = np.array(_strip(num_frames, len(sheet))[0])  # a video may have fewer frames than there is room for
    band[:, : sheet.shape[1]] = sheet
    return band


def _text_band(row: Mapping, value: float, num_frames: int) -> np.ndarray:
    kind = f", {row['expression_type']}" if row["expression_type"] else ""
    image, draw, font = _strip(num_frames, 44)
    tail = f"  J&F {value:.1f}  ({row['video_id']}, {row['expression_id']}{kind})"
    text, room = row["expression"], image.width - 20 - font.getlength(tail)
    if font.getlength(text) > room:
        while font.getlength(text + "…") > room and len(text) > 1:
            text = text[:-1]
        text += "…"
    draw.text((10, 24), text, fill=_INK, font=font, anchor="lm")
    draw.text((10 + font.getlength(text), 24), tail, fill=palette(2), font=font, anchor="lm")
    return np.asarray(image)


def _legend_band(num_frames: int) -> np.ndarray:
    image, draw, font = _strip(num_frames, 48)
    x = 10
    for index, name in enumerate(("prediction", "truth")):
        draw.rounded_rectangle((x, 14, x + 20, 34), 4, fill=palette(index))
        draw.text((x + 28, 24), name, fill=_INK, font=font, anchor="lm")
        x += 28 + round(font.getlength(name)) + 28
    return np.asarray(image)


def _strip(num_frames: int, height: int):
    """An empty band as wide as a contact sheet of `num_frames` columns, something to draw with, and a font."""
    width = contact_sheet([np.zeros((1, TILE_WIDTH, 3), np.uint8)] * num_frames, num_frames, tile_width=TILE_WIDTH)
    image = Image.new("RGB", (width.shape[1], height), _STRIP)
    return image, ImageDraw.Draw(image), ImageFont.load_default(20)


__all__ = ["draw_plots", "histogram_figure", "type_figure", "worst_sheet"]
