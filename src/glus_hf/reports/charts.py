"""Curves and bars as SVG in the colours of the page around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape


WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 10, 26
BAR, BAR_LEFT = 26, 210


def curve(name: str, points: Sequence[tuple[float, float]], colour: str = "var(--one)") -> str:
    """A line through `(step, value)`, with the range of both on the axes.

    Example:
        >>> curve("loss", [(1, 2.0), (2, 1.0)]).count("<circle")
        2
    """
    steps, values = zip(*points, strict=True)
    across, down = _scale(steps, LEFT, WIDTH - RIGHT), _scale(values, HEIGHT - BOTTOM, TOP)
    line = " ".join(f"{across(step):.1f},{down(value):.1f}" for step, value in points)
    dots = "".join(
        f'<circle cx="{across(step):.1f}" cy="{down(value):.1f}" r="3" fill="{colour}"><title>step {step:g}: '
        f"{value:.5g}</title></circle>"
        for step, value in _some(points)
    )
    grid = "".join(_level(value, down(value)) for value in sorted({min(values), max(values)}))
    ends = "".join(
        f'<text x="{across(step):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{step:g}</text>'
        for step, anchor in ((steps[0], "start"), (steps[-1], "end"))
    )
    drawn = f'{grid}{ends}<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'
    return _svg(f"{name} over the steps", HEIGHT, drawn)


def histogram(values: Sequence[float], label: str) -> str:
    """How many of the values, in percent, are in each of twenty steps.

    Example:
        >>> histogram([2, 97, 99], "J&F").count("<rect")
        2
    """
    counts = [0] * 20
    for value in values:
        counts[min(19, max(0, int(value // 5)))] += 1
    step, highest = (WIDTH - LEFT - RIGHT) / 20, max(counts)
    across, down = lambda index: LEFT + step * index, _scale((0, highest), HEIGHT - BOTTOM, TOP)
    bars = "".join(
        f'<rect x="{across(index) + 1:.1f}" y="{down(count):.1f}" width="{step - 2:.1f}" '
        f'height="{HEIGHT - BOTTOM - down(count):.1f}" fill="var(--one)"><title>{5 * index} to {5 * index + 5}: '
        f"{count}</title></rect>"
        for index, count in enumerate(counts)
        if count
    )
    ticks = "".join(
        f'<text x="{across(tick / 5):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{tick}</text>'
        for tick, anchor in ((0, "middle"), (25, "middle"), (50, "middle"), (75, "middle"), (100, "end"))
    )
    return _svg(f"histogram of {label}", HEIGHT, _level(highest, down(highest)) + bars + ticks)


def bars(rows: Mapping[str, Sequence[float | None]], names: Sequence[str]) -> str:
    """Horizontal bars, 0 to 100: for each row one bar per name.

    Example:
        >>> bars({"motion": [50.0, 60.0]}, ["a", "b"]).count("<rect")
        2
    """
    colours, drawn, top = ("var(--one)", "var(--two)"), [], 4
    for label, values in rows.items():
        drawn.append(
            f'<text x="{BAR_LEFT - 8}" y="{top + BAR * len(names) / 2 + 4}" text-anchor="end">{escape(label)}</text>'
        )
        for value, name, colour in zip(values, names, colours, strict=False):
            if value is not None:
                length = (WIDTH - BAR_LEFT - 60) * value / 100
                title = f"<title>{escape(name)}: {value:.1f}</title>"
                drawn.append(
                    f'<rect x="{BAR_LEFT}" y="{top + 3}" width="{max(1, length):.1f}" height="{BAR - 6}" rx="3" '
                    f'fill="{colour}">{title}</rect>'
                    f'<text x="{BAR_LEFT + length + 6:.1f}" y="{top + 17}">{value:.1f}</text>'
                )
            top += BAR
        top += 8
    return _svg("scores by type", top, "".join(drawn))


def _scale(values: Sequence[float], low: float, high: float):
    least, most = min(values), max(values)
    span = (most - least) or 1
    return lambda value: low + (high - low) * (value - least) / span


def _some(points: Sequence, most: int = 60) -> Sequence:
    """Not more points than can be told apart, the last among them."""
    step = -(-len(points) // most)
    return [*points[::step], points[-1]] if step > 1 else points


def _level(value: float, y: float) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity=".2"/>'
    return f'{line}<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'


def _svg(label: str, height: float, content: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">{content}</svg>'


__all__ = ["bars", "curve", "histogram"]
