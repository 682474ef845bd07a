"""Two small charts drawn with Pillow: a histogram and grouped bars, so that plots need no further package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..visualization import palette


WIDTH, HEIGHT = 1280, 720
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 110, 50, 100, 100
GROUP_WIDTH = 110
"""Pixels that a group of bars has at least, for its name; a chart of more groups than fit is wider."""
_PAPER, _INK, _FAINT, _GRID = (255, 255, 255), (30, 33, 40), (110, 114, 122), (226, 228, 232)


def histogram_chart(values: Sequence[float], title: str, x_label: str, num_bins: int = 20) -> Image.Image:
    """Histogram of percentages.

    Args:
        values: each in `[0, 100]`.
        title, x_label: texts.
        num_bins: bins from 0 to 100.

    Returns:
        An RGB image; the mean is marked.

    Example:
        >>> histogram_chart([10, 55.5, 100], "J&F per expression", "J&F").size
        (1280, 720)
    """
    counts, _ = np.histogram(values, bins=num_bins, range=(0, 100))
    chart = _Chart(title, top=_nice_top(counts.max()))
    chart.y_axis("expressions", "{:g}")
    step = chart.width / num_bins
    for index, count in enumerate(counts):
        chart.bar(index * step + 1, (index + 1) * step - 1, count, palette(0))
    for percent in range(0, 101, 10):
        chart.x_text(percent / 100 * chart.width, str(percent))
    mean = float(np.mean(values))
    chart.mark(mean / 100 * chart.width, f"mean {mean:.1f}")
    chart.x_title(x_label)
    return chart.image


def bar_chart(groups: Mapping[str, Mapping[str, float]], title: str) -> Image.Image:
    """Grouped bars of percentages.

    Args:
        groups: per group its bars by name, each in `[0, 100]`; all groups have the same names.
        title: text.

    Returns:
        An RGB image, wider with more than ten groups.

    Example:
        >>> bar_chart({"static": {"J": 70, "F": 80}, "motion": {"J": 50, "F": 60}}, "by type").size
        (1280, 720)
    """
    names = list(next(iter(groups.values())))
    chart = _Chart(title, top=100, width=max(WIDTH, MARGIN_LEFT + GROUP_WIDTH * len(groups) + MARGIN_RIGHT))
    chart.y_axis("percent", "{:g}")
    step = chart.width / len(groups)
    width = min(step * 0.8 / len(names), 90)
    for position, (group, values) in enumerate(groups.items()):
        centre = (position + 0.5) * step
        for index, name in enumerate(names):
            left = centre + (index - len(names) / 2) * width
            chart.bar(left + 1, left + width - 1, values[name], palette(index), f"{values[name]:.1f}")
        chart.x_text(centre, group, step - 8)
    chart.legend(names)
    return chart.image


class _Chart:
    """Axes and bars; x in pixels from the left axis, y in data units from 0 to `top`."""

    def __init__(self, title: str, top: float, width: int = WIDTH):
        self.image, self.top = Image.new("RGB", (width, HEIGHT), _PAPER), top
        self.draw = ImageDraw.Draw(self.image)
        self.width, self.height = width - MARGIN_LEFT - MARGIN_RIGHT, HEIGHT - MARGIN_TOP - MARGIN_BOTTOM
        self.draw.text((MARGIN_LEFT, 34), title, fill=_INK, font=ImageFont.load_default(30), anchor="lm")
        self.font, self.small = ImageFont.load_default(22), ImageFont.load_default(18)

    def y(self, value: float) -> float:
        return MARGIN_TOP + self.height * (1 - value / self.top)

    def y_axis(self, label: str, form: str) -> None:
        for value in np.linspace(0, self.top, 6):
            y = self.y(value)
            self.draw.line((MARGIN_LEFT, y, MARGIN_LEFT + self.width, y), fill=_GRID if value else _INK, width=2)
            self.draw.text((MARGIN_LEFT - 12, y), form.format(value), fill=_FAINT, font=self.small, anchor="rm")
        self.draw.text((MARGIN_LEFT - 12, MARGIN_TOP - 26), label, fill=_FAINT, font=self.small, anchor="mm")

    def bar(self, left: float, right: float, value: float, colour: tuple, label: str | None = None) -> None:
        bottom = self.y(0) - 1
        top = min(self.y(value), bottom)  # what is more than 0 is at least a line
        box = (MARGIN_LEFT + left, top, MARGIN_LEFT + right, bottom)
        if value > 0:
            self.draw.rectangle(box, fill=colour)
        if label is not None and right - left > 36:
            self.draw.text(((box[0] + box[2]) / 2, box[1] - 6), label, fill=_INK, font=self.small, anchor="mb")

    def x_text(self, x: float, text: str, room: float | None = None) -> None:
        font = self.font
        while room is not None and font.getlength(text) > room and len(text) > 2:
            text = text[:-2] + "…"
        self.draw.text((MARGIN_LEFT + x, self.y(0) + 14), text, fill=_INK, font=font, anchor="mt")

    def x_title(self, text: str) -> None:
        self.draw.text((MARGIN_LEFT + self.width / 2, HEIGHT - 24), text, fill=_FAINT, font=self.font, anchor="mm")

    def mark(self, x: float, text: str) -> None:
        """A vertical line with a text beside it."""
        x += MARGIN_LEFT
        self.draw.line((x, MARGIN_TOP, x, self.y(0)), fill=palette(1), width=3)
        anchor, shift = ("rm", -10) if x > self.image.width / 2 else ("lm", 10)
        self.draw.text((x + shift, MARGIN_TOP - 26), text, fill=palette(1), font=self.font, anchor=anchor)

    def legend(self, names: Sequence[str]) -> None:
        x = MARGIN_LEFT + self.width
        for index, name in reversed(list(enumerate(names))):
            x -= self.font.getlength(name)
            self.draw.text((x, 34), name, fill=_INK, font=self.font, anchor="lm")
            self.draw.rectangle((x - 30, 24, x - 10, 44), fill=palette(index))
            x -= 56


def _nice_top(count: int) -> int:
    """The smallest number of at least `count` that five equal steps divide into whole numbers."""
    return max(5, -(-int(count) // 5) * 5)


__all__ = ["bar_chart", "histogram_chart"]
