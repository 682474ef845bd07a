"""The report of a run: what is in it, and what it refuses."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from glus_hf.cli.main import main
from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.errors import UserError
from glus_hf.media.rle import decode_rle
from glus_hf.predictions.prediction_tree import write_expression
from glus_hf.reports.challenges import CHALLENGES, challenge_of
from glus_hf.reports.charts import curve, histogram
from glus_hf.reports.page import comparison_page, evaluation_page, training_page
from glus_hf.reports.read_run import read_run


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    cache = tmp_path_factory.mktemp("rows")
    options = {"num_videos": 2, "num_frames": 6, "size": 64, "seed": 0, "cache_dir": str(cache)}
    return load_referring_dataset("motion_shapes", split="test", **options)


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    """An evaluation whose masks are the truth on the first three expressions, and empty on the others."""
    return make_run(tmp_path_factory.mktemp("run"), rows, "model <one>", lambda number: number < 3)


def make_run(folder, rows, name, is_right):
    records = []
    for number, row in enumerate(rows):
        size = row["height"], row["width"]
        masks = [decode_rle(mask, size) if is_right(number) else np.zeros(size, bool) for mask in row["masks"]]
        write_expression(folder, row, masks)
        score = 1.0 if is_right(number) else 0.1
        record = {key: row[key] for key in ("video_id", "expression_id", "expression", "expression_type")}
        records.append({**record, "num_frames": 6, "J": score, "F": score, "J&F": score})
    mean = float(np.mean([record["J&F"] for record in records]))
    totals = {"J": mean, "F": mean, "J&F": mean, "num_expressions": len(records), "scale": 1}
    totals["by_type"] = {"static": {"J": 0.5, "F": 0.7, "J&F": 0.6, "num_expressions": 4}}
    settings = {"dataset": "motion_shapes", "split": "test", "data_options": {}, "model": {"name": name}}
    (folder / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "summary.json").write_text(json.dumps({"settings": settings, "totals": totals}))
    return folder


def finder(rows):
    known = {(row["video_id"], row["expression_id"]): row for row in rows}
    return lambda video, expression: known.get((video, expression))


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def of(self, name):
        return [attributes for tag, attributes in self.found if tag == name]


def test_the_worst_and_the_best_are_players_in_the_page_itself(run, rows):
    page = evaluation_page(read_run(run), finder(rows), worst=2, best=2)
    videos = Tags(page).of("video")
    assert len(videos) == 4 and all(video["src"].startswith("data:video/mp4;base64,") for video in videos)
    scores = [float(score) for score in re.findall(r"<p>J&amp;F [^/]*? ([\d.]+)</p>", page)]
    assert scores == [10.0, 10.0, 100.0, 100.0]
    assert "model &lt;one&gt;" in page and "<one>" not in page


def test_missing_masks_are_told_and_links_refused(rows, tmp_path):
    folder = make_run(tmp_path / "run", rows.select([0]), "m", lambda number: True)
    page = lambda: evaluation_page(read_run(folder), finder(rows), worst=1, best=0)
    assert "missing" not in page()
    masks = sorted(folder.rglob("*.png"))
    masks[1].unlink()
    assert f"Mask missing, drawn as empty: frame {masks[1].stem}." in page()
    masks[0].rename(tmp_path / "mine.png")
    masks[0].symlink_to(tmp_path / "mine.png")
    with pytest.raises(UserError, match=f"{masks[0].name}: is a link, which is not followed"):
        page()


def test_nothing_is_asked_of_anybody(run, rows):
    page = evaluation_page(read_run(run), finder(rows), worst=1, best=0)
    for tag, attributes in Tags(page).found:
        for name in ("src", "href", "action", "poster", "data"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
    assert "http://" not in page and "https://" not in page and "url(" not in page and "@import" not in page
    (policy,) = [meta["content"] for meta in Tags(page).of("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")


def test_an_expression_of_markup_is_text(run, rows, tmp_path):
    evil = "<script>alert(1)</script>\"'><img src=x>"
    folder = make_run(tmp_path / "run", [dict(row, expression=evil) for row in rows.select([0])], evil, lambda n: True)
    page = evaluation_page(read_run(folder), finder(rows), worst=1, best=0)
    assert page.count("<script>") == 1 and "<img" not in page and "&lt;script&gt;" in page


def test_two_models_by_challenge(run, rows, tmp_path):
    other = make_run(tmp_path / "other", rows, "two", lambda number: number >= 3)
    page = comparison_page(read_run(run), read_run(other), finder(rows), each=1)
    challenges = {challenge_of(row["expression_type"]) for row in rows}
    assert len(Tags(page).of("video")) == len(challenges)
    assert all(f"<h2>{name}</h2>" in page for name in challenges)
    one, two = (read_run(folder).scored() for folder in (run, other))
    for name in challenges & set(CHALLENGES):
        keys = [key for key, record in one.items() if challenge_of(record["expression_type"]) == name]
        means = [f"{100 * np.mean([records[key]['J&F'] for key in keys]):.1f}" for records in (one, two)]
        assert f"<td>{name}</td><td>{len(keys)}</td><td>{means[0]}</td><td>{means[1]}</td>" in page


def test_without_the_frames_the_scores_are_shown_all_the_same(run):
    page = evaluation_page(read_run(run), lambda video, expression: None, worst=1, best=1)
    assert not Tags(page).of("video") and "name the data (--data-dir" in page and "60.0" in page


def test_a_training_run_is_its_curves(tmp_path):
    log = [{"step": step, "loss": 2.0 / step, "learning_rate": 1e-4, "epoch": 0.1} for step in (1, 2, 3)]
    folder = tmp_path / "run" / "checkpoint-20"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(
        json.dumps({"log_history": [*log, {"step": 3, "eval_J&F": 0.5}], "max_steps": 3})
    )
    (tmp_path / "run" / "checkpoint-3").mkdir()
    page = training_page(read_run(tmp_path / "run"))
    assert page.count("<figure>") == 2 and "loss: 0.66667" in page and "<td>max_steps</td><td>3</td>" in page


@pytest.mark.parametrize(
    "files, message",
    [
        ({}, "has no summary.json of glus-hf evaluate and no trainer_state.json"),
        ({"summary.json": "{", "results.jsonl": ""}, "is not valid JSON or cut short"),
        ({"summary.json": "[]", "results.jsonl": ""}, "is no JSON object"),
        ({"summary.json": '{"settings": {}, "totals": {}}', "results.jsonl": "[]\n"}, "has a line that is no result"),
        ({"summary.json": '{"settings": 1}', "results.jsonl": ""}, "is no summary of an evaluation"),
    ],
)
def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_run(tmp_path)


def test_two_runs_of_different_data_are_refused(run, rows, tmp_path):
    other = make_run(tmp_path / "other", [dict(rows[0], video_id="elsewhere")], "two", lambda number: True)
    with pytest.raises(UserError, match="no scored expression in common"):
        comparison_page(read_run(run), read_run(other), finder(rows))


def test_the_command_writes_the_page_and_replaces_its_own_only(run, tmp_path, capsys):
    arguments = ["report", str(run), "-o", str(tmp_path / "report.html"), "--worst", "0", "--best", "0", "-q"]
    assert main_code([*arguments, "--num-videos", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["bytes"] == (tmp_path / "report.html").stat().st_size
    assert main_code([*arguments, "--num-videos", "2"]) == 2


def main_code(arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


def test_charts_of_one_value_and_of_the_ends():
    assert curve("flat", [(1, 3.0), (9, 3.0)]).count("<circle") == 2
    assert "95 to 100: 2" in histogram([100, 96], "J&F") and "0 to 5: 1" in histogram([0], "J&F")


def changed(folder, file, change):
    """Another folder whose summary, or first record, is changed."""
    name = folder / file
    lines = [json.loads(line) for line in name.read_text().splitlines()]
    change(lines[0])
    name.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("summary.json", lambda c: c["totals"].update({"J&F": "high"}), "is no summary of an evaluation"),
        ("summary.json", lambda c: c["totals"].update(scale=0), "is no summary of an evaluation"),
        ("summary.json", lambda c: c["totals"].update(by_type=[1]), "is no summary of an evaluation"),
        ("summary.json", lambda c: c["totals"]["by_type"]["static"].update(F=[]), "is no summary of an evaluation"),
        ("results.jsonl", lambda c: c.update({"J&F": True}), "the scores of .* are no numbers"),
        ("results.jsonl", lambda c: c.update(J=10**400), "the scores of .* are no numbers"),
    ],
)
def test_scores_that_are_no_numbers_are_refused(rows, tmp_path, file, change, message):
    make_run(tmp_path, rows, "m", lambda number: True)
    changed(tmp_path, file, change)
    with pytest.raises(UserError, match=f"{message}; evaluate again"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["cache_dir", "num_proc", "data_dir"])
def test_a_run_does_not_say_where_data_is_kept(rows, tmp_path, name, capsys):
    make_run(tmp_path / "run", rows, "m", lambda number: True)
    elsewhere = tmp_path / "elsewhere"
    changed(tmp_path / "run", "summary.json", lambda c: c["settings"]["data_options"].update({name: str(elsewhere)}))
    with pytest.raises(SystemExit) as end:
        main(["report", str(tmp_path / "run"), "-o", str(tmp_path / "report.html"), "-q"])
    assert end.value.code == 2 and not elsewhere.exists() and not (tmp_path / "report.html").exists()
    assert "its summary has options that no dataset has; evaluate again" in capsys.readouterr().err


@pytest.mark.parametrize("log", [3, [3], [{"loss": 1.0}], [{"step": "1", "loss": 1.0}], [{"step": 10**400}]])
def test_logs_that_are_none_are_refused(tmp_path, log):
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    with pytest.raises(UserError, match="has no log of training; name another run"):
        read_run(tmp_path)
