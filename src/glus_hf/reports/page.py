"""The page: everything in one file, dark or light, usable by keyboard, without a request to anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from .. import __version__
from ..errors import UserError
from .challenges import CHALLENGES, OTHER, challenge_of
from .charts import bars, curve, histogram
from .players import clip_of, player
from .read_run import SCORES, EvaluationRun, TrainingRun, shown


POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; media-src data:"
STYLE = (Path(__file__).parent / "report.css").read_text
SCRIPT = (Path(__file__).parent / "report.js").read_text
RowOf = Callable[[str, str], Mapping | None]
"""From video and expression to the row of the dataset; None where it is not at hand."""
NAMED = 3
"""Frames whose names a card has, where masks are missing."""
HINT = "J and K: next and previous video. Space: play or pause. Comma and full stop: one frame. D: dark or light."


def training_page(run: TrainingRun) -> str:
    """Curves of a training run and its last values.

    Raises:
        UserError: it has logged less than two steps; one line.
    """
    curves = run.curves()
    if not curves:
        raise UserError(f"{run.folder}: its log has less than two steps; there is nothing to draw")
    charts = [
        f"<figure><figcaption>{escape(name)}: {points[-1][1]:.5g}</figcaption>{curve(name, points)}</figure>"
        for name, points in curves.items()
    ]
    settings = [(name, shown(value)) for name, value in run.state.items() if not isinstance(value, dict | list)]
    parts = [_section("Curves", f'<div class="charts">{"".join(charts)}</div>'), _settings(settings)]
    return _page(f"Training: {run.folder.name}", parts)


def evaluation_page(run: EvaluationRun, row_of: RowOf, worst: int = 8, best: int = 4) -> str:
    """Totals, types, the worst and best expressions as players, and the settings.

    Args:
        run: what to show.
        row_of: finds rows; without one an expression has no player.
        worst, best: how many expressions.
    """
    scored = run.scored()
    records = sorted(scored.values(), key=lambda record: record["J&F"])
    worst_of, best_of = records[:worst], records[worst:][::-1][:best]
    parts = [_totals([run])]
    if records:
        values = [100 * record["J&F"] for record in records]
        parts.append(_section("J&F of every expression", histogram(values, "J&F")))
    parts += [_types([run])]
    for title, chosen in (("Worst expressions", worst_of), ("Best expressions", best_of)):
        cards = [_card([record], [run], row_of) for record in chosen]
        parts.append(_section(title, f'<div class="cards">{"".join(cards)}</div>') if cards else "")
    parts.append(_settings([(name, shown(value)) for name, value in run.settings.items()]))
    return _page(f"Evaluation: {run.name} on {run.settings.get('dataset')} {run.settings.get('split')}", parts)


def comparison_page(first: EvaluationRun, second: EvaluationRun, row_of: RowOf, each: int = 4) -> str:
    """Two models on the same frames, with the truth, grouped by the paper's three challenges.

    Args:
        first, second: runs on the same data.
        row_of: finds rows.
        each: of every challenge, how many expressions on which the models differ most.

    Raises:
        UserError: they have no scored expression in common; one line.
    """
    one, two = first.scored(), second.scored()
    common = [key for key in one if key in two]
    if not common:
        raise UserError(f"{first.folder} and {second.folder} have no scored expression in common; compare one split")
    runs, groups = [first, second], {name: [] for name in (*CHALLENGES, OTHER)}
    for key in common:
        groups[challenge_of(one[key].get("expression_type"))].append(key)
    gap = lambda key: two[key]["J&F"] - one[key]["J&F"]
    parts = [_totals(runs), _section("By challenge", _challenges(groups, one, two, runs)), _types(runs)]
    for name, keys in groups.items():
        chosen = sorted(keys, key=lambda key: -abs(gap(key)))[:each]
        cards = [_card([one[key], two[key]], runs, row_of) for key in chosen]
        parts.append(_section(name, f'<div class="cards">{"".join(cards)}</div>') if cards else "")
    rows = [(name, shown(first.settings.get(name)), shown(second.settings.get(name))) for name in first.settings]
    parts.append(_section("Settings", _table(("", first.name, second.name), rows)))
    return _page(f"{first.name} beside {second.name}: {first.settings.get('dataset')}", parts)


def _totals(runs: Sequence[EvaluationRun]) -> str:
    rows = []
    for run in runs:
        scores = [_percent(run.totals.get(name), run.percent) for name in SCORES]
        rows.append((run.name, *scores, str(run.totals.get("num_expressions", len(run.records)))))
    return _section("Scores", _table(("model", *SCORES, "expressions"), rows))


def _types(runs: Sequence[EvaluationRun]) -> str:
    by_type = [run.totals.get("by_type") or {} for run in runs]
    names = list(dict.fromkeys(name for types in by_type for name in types))
    if not names:
        return ""
    chart, rows = {}, []
    for name in names:
        found = [types.get(name, {}) for types in by_type]
        chart[name] = [
            None if item.get("J&F") is None else item["J&F"] * run.percent
            for item, run in zip(found, runs, strict=True)
        ]
        scores = [_percent(item.get(s), run.percent) for item, run in zip(found, runs, strict=True) for s in SCORES]
        rows.append((name, str(found[0].get("num_expressions", "")), *scores))
    header = ("type", "expressions", *(f"{s} {run.name}" if len(runs) > 1 else s for run in runs for s in SCORES))
    names_of_runs = [run.name for run in runs]
    return _section("By type", bars(chart, names_of_runs) + _legend(names_of_runs) + _table(header, rows))


def _challenges(groups: Mapping, one: Mapping, two: Mapping, runs: Sequence[EvaluationRun]) -> str:
    mean = lambda keys, records: 100 * sum(records[key]["J&F"] for key in keys) / len(keys)
    found = {name: [mean(keys, one), mean(keys, two)] for name, keys in groups.items() if keys}
    rows = [(name, str(len(groups[name])), *(f"{value:.1f}" for value in values)) for name, values in found.items()]
    header = ("challenge", "expressions", *(f"J&F {run.name}" for run in runs))
    return bars(found, [run.name for run in runs]) + _table(header, rows)


def _card(records: Sequence[Mapping], runs: Sequence[EvaluationRun], row_of: RowOf) -> str:
    record = records[0]
    video, expression = str(record["video_id"]), str(record["expression_id"])
    row = row_of(video, expression)
    text = str(record.get("expression") or "")
    scores = " · ".join(f"{run.name} {100 * r['J&F']:.1f}" for run, r in zip(runs, records, strict=True))
    names = " | ".join([*(run.name if len(runs) > 1 else "prediction" for run in runs), "truth"])
    kind = f", {record['expression_type']}" if record.get("expression_type") else ""
    picture = "<p>The frames are not at hand: name the data (--data-dir, --num-videos).</p>"
    if row is not None and row["masks"] is not None:
        clip = clip_of(row, [run.folder for run in runs])
        picture = player(clip.content, f"{text}: {names}") + _missing(clip.missing)
    title = f"<h3>{escape(text)}</h3><p>J&amp;F {escape(scores)}</p>"
    note = escape(f"{names} · {video}, {expression}{kind}")
    return f'<article>{title}{picture}<p class="small">{note}</p></article>'


def _missing(frames: Sequence[str]) -> str:
    if not frames:
        return ""
    more = f" and {len(frames) - NAMED} more" if len(frames) > NAMED else ""
    return f"<p><strong>Mask missing, drawn as empty: frame {escape(', '.join(frames[:NAMED]))}{more}.</strong></p>"


def _settings(rows: Iterable[tuple[str, str]]) -> str:
    return _section("Settings", _table(("setting", "value"), list(rows)))


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    swatches = zip(names, ("one", "two"), strict=False)
    return f"<p>{' '.join(f'<span class={kind}>■</span> {escape(name)}' for name, kind in swatches)}</p>"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _percent(value: float | None, scale: float) -> str:
    return "" if value is None else f"{value * scale:.1f}"


def _page(title: str, parts: Sequence[str]) -> str:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{escape(title)}</title>'
    body = f"<header><h1>{escape(title)}</h1><button id=dark type=button>Dark or light</button></header>"
    body += f"<main>{''.join(parts)}</main><footer>{HINT} glus_hf {__version__}</footer>"
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE(encoding="utf-8")}</style></head><body>{body}'
        f"<script>{SCRIPT(encoding='utf-8')}</script></body></html>\n"
    )


__all__ = ["comparison_page", "evaluation_page", "training_page"]
