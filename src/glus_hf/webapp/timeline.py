"""The timeline of a result, and its links, as HTML without anything from elsewhere."""

from __future__ import annotations

from html import escape


WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 150, 34, 8, 22


def timeline(result: dict) -> str:
    """SVG: a curve of scores over the frames for each expression, a dashed line at its key frame, and dots on frames
    whose mask a user gave.

    Example:
        >>> expression = {"expression": "a", "colour": "#00ff00", "scores": [0.5, 1], "key_frame": 1}
        >>> expression["corrected_frames"] = []
        >>> timeline({"num_frames": 2, "expressions": [expression]}).count("<polyline")
        1
    """
    last = max(1, result["num_frames"] - 1)
    across = lambda frame: LEFT + (WIDTH - LEFT - 8) * frame / last
    down = lambda score: TOP + (HEIGHT - TOP - BOTTOM) * (1 - score)
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{down(y)}" y2="{down(y)}" stroke="currentColor" opacity=".2"/>'
        f'<text x="{LEFT - 6}" y="{down(y) + 4}" text-anchor="end">{y:g}</text>'
        for y in (0, 0.5, 1)
    )
    ticks = sorted({0, last // 4, last // 2, 3 * last // 4, last})
    grid += "".join(f'<text x="{across(f)}" y="{HEIGHT - 5}" text-anchor="middle">{f}</text>' for f in ticks)
    curves = "".join(_curve(expression, across, down) for expression in result["expressions"])
    style = "width:100%;max-width:60rem;font:12px system-ui,sans-serif;fill:currentColor"
    label = "score of each expression over the frames; dashed: the key frame; dots: corrected masks"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" style="{style}" role="img" aria-label="{label}">{grid}{curves}</svg>'


def _curve(expression: dict, across, down) -> str:
    colour, start = expression["colour"], across(expression["key_frame"])
    points = " ".join(f"{across(f):.1f},{down(s):.1f}" for f, s in enumerate(expression["scores"]))
    title = f"<title>{escape(expression['expression'])}</title>"
    key = f'<line class="key" x1="{start}" x2="{start}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{colour}"'
    key += ' stroke-width="2" stroke-dasharray="4 3"/>'
    dots = "".join(
        f'<circle class="corrected" cx="{across(f):.1f}" cy="{down(expression["scores"][f]):.1f}" r="5" '
        f'fill="{colour}" stroke="currentColor" stroke-width="1.5"><title>frame {f}: corrected</title></circle>'
        for f in expression["corrected_frames"]
    )
    curve = f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2">{title}</polyline>'
    return curve + key + dots


def result_html(job_id: str, result: dict) -> str:
    """Player of the overlay, legend, timeline, notes and downloads of a finished job."""
    place = f"/api/jobs/{job_id}"
    player = (
        f'<video controls autoplay muted loop playsinline style="width:100%" src="{place}/files/overlay.mp4"></video>'
    )
    rows = "".join(_row(expression, result["num_frames"]) for expression in result["expressions"])
    legend = f"<table>{rows}</table>"
    names = (("overlay.mp4", "Overlay (mp4)"), ("masks.zip", "Masks (PNG, zip)"), ("coco.json", "Masks (COCO JSON)"))
    links = " · ".join(f'<a href="{place}/files/{name}" download="{name}">{text}</a>' for name, text in names)
    notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(result))
    return f'<div class="glus-result">{player}{legend}{timeline(result)}{notes}<p>{links}</p></div>'


def _row(expression: dict, num_frames: int) -> str:
    swatch = f'<span style="display:inline-block;width:1em;height:1em;background:{expression["colour"]}"></span>'
    mean = sum(expression["scores"]) / max(1, num_frames)
    seen = "nothing fits" if expression["no_target"] else f"{expression['visible_frames']} of {num_frames} frames"
    text = escape(expression["expression"])
    start = f"from frame {expression['key_frame']}"
    corrected = ", ".join(map(str, expression["corrected_frames"]))
    given = f"<td>corrected: {corrected}" if corrected else ""
    return f"<tr><td>{swatch}<td>{text}<td>{seen}<td>score {mean:.2f}<td>{start}{given}"


def _notes(result: dict) -> list[str]:
    notes = [note for note in (result.get("notice"), result.get("damage")) if note]
    for expression in result["expressions"]:
        if expression["unknown_words"]:
            notes.append(f"Not in the model's vocabulary: {', '.join(expression['unknown_words'])}")
        if expression["missing_frames"]:
            notes.append(f"No answer for {expression['expression']!r} on {len(expression['missing_frames'])} frames")
    return notes


__all__ = ["result_html", "timeline"]
