"""Plots of an evaluation as PNG files, so that people see where it fails."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data.frames import read_frame
from ..errors import MissingPrediction, UserError
from ..media.rle import decode_rle
from ..metrics.j_and_f import contour_accuracy, region_similarity
from ..predictions.prediction_tree import read_prediction
from ..visualization import contact_sheet, draw_overlay, palette, save_image
from .charts import bar_chart, histogram_chart
from .report import EvaluationReport


TILE_WIDTH = 320
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
        raise UserError("there are no scores to plot; the split has no ground truth")
    values = {index: 100 * report.records[index]["J&F"] for index in scored}
    title = f"J&F of {len(scored)} expression{'s' * (len(scored) > 1)}"
    images = {"histogram": histogram_chart(list(values.values()), title, "J&F, percent")}
    if report.totals.get("by_type"):
        images["by_type"] = bar_chart(_type_groups(report.totals), "By type of expression")
    indices = sorted(scored, key=lambda index: (values[index], index))[:worst]
    images["worst"] = worst_sheet([rows[index] for index in indices], [values[i] for i in indices], report.output)
    paths = []
    for name, image in images.items():
        paths.append(Path(folder) / f"{name}.png")
        save_image(paths[-1], np.asarray(image))
    return paths


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


def _type_groups(totals: Mapping) -> dict[str, dict[str, float]]:
    """Bars of every type and of all, in percent."""
    scale = 100 / totals["scale"]
    groups = {f"{name} ({values['num_expressions']})": values for name, values in totals["by_type"].items()}
    groups[f"all ({totals['num_expressions']})"] = totals
    return {name: {key: scale * values[key] for key in ("J", "F", "J&F")} for name, values in groups.items()}


def _frames_band(row: Mapping, predictions: str | os.PathLike, num_frames: int) -> np.ndarray:
    chosen = np.unique(np.linspace(0, len(row["frames"]) - 1, num_frames).round().astype(int))
    pictures, captions = [], []
    for index in chosen:
        truth = decode_rle(row["masks"][index], (row["height"], row["width"]))
        try:
            prediction, note = read_prediction(predictions, row, row["frames"][index]), ""
        except MissingPrediction:
            prediction, note = np.zeros_like(truth), ", no prediction"
        pictures.append(draw_overlay(read_frame(row["frame_paths"][index]), np.stack([prediction, truth]), alpha=0.3))
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


__all__ = ["draw_plots", "worst_sheet"]
