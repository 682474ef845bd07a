"""The ablations on hard clips: a cell trains what it says, is skipped when done, and all are written."""

import json
import sys

import pytest

from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

from ablate_parts import CELLS, SCORED_KINDS, best_step, main, table  # noqa: E402
from tiny_model import Recipe, build_tiny  # noqa: E402


ONE_STEP = ("--steps", "1", "--batch", "1", "--curve-every", "1")
TINY = (*ONE_STEP, "--test-videos", "1", "--validation-videos", "1", "--training-videos", "5")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    for part in build_tiny(recipe=Recipe("hard", 4, frame_times=False)):
        part.save_pretrained(folder)
    return folder


def call(monkeypatch, start, output, *options):
    monkeypatch.setattr(sys, "argv", ["", "--start", str(start), "--output", str(output), *TINY, *options])
    main()


def test_a_cell_is_trained_scored_and_skipped_when_done(start, tmp_path, monkeypatch, capsys):
    cells = ("--seeds", "0", "--cells", "window-1")
    call(monkeypatch, start, tmp_path, *cells, "--minutes", "5")
    result = json.loads((tmp_path / "window-1-0" / "result.json").read_text())
    assert 0 <= result["test"]["J&F"] <= 100 and [step for step, _ in result["curve"]] == [0, 1]
    assert result["frames_seen"] == 5 and result["seconds"] > 0  # four context frames and one query frame
    written = (tmp_path / "window-1-0" / "result.json").stat().st_mtime_ns
    call(monkeypatch, start, tmp_path, *cells, "memory", "--minutes", "0")
    assert (tmp_path / "window-1-0" / "result.json").stat().st_mtime_ns == written
    assert "minutes are used: memory, seed 0 waits for more" in capsys.readouterr().out
    assert not (tmp_path / "memory-0").exists()
    assert list(json.loads((tmp_path / "results.json").read_text())) == ["window-1"]
    assert "| window of 1 frame |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_cells_differ_in_what_they_say(start, tmp_path, monkeypatch):
    cells = ("global-local", "batch-negatives", "context-8", "motion3-looks1")
    call(monkeypatch, start, tmp_path, "--seeds", "0", "--minutes", "60", "--cells", *cells)
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == [name for name in CELLS if name in cells]
    assert [runs[0]["frames_seen"] for runs in results.values()] == [8, 8, 12, 8]


def test_the_table_has_means_spreads_and_the_best_step():
    def one(score, curve):
        kinds = {f"J&F_{kind}": score for kind in SCORED_KINDS}
        return {"title": "all", "test": {"J&F": score, **kinds}, "curve": curve, "frame_passes": 0.5}

    runs = [one(60.0, [[0, 10.0], [5, 40.0], [10, 30.0]]), one(64.0, [[0, 10.0], [5, 20.0], [10, 40.0]])]
    lines = list(table({"contrastive": runs}))
    assert best_step(runs) == 10
    assert lines[2] == "| all | " + " | ".join(["62.0 ± 2.0"] * 7) + " | 10 | 0.50 | 2 |"
    assert lines[-1] == "| all | 10.0 ± 0.0 | 30.0 ± 10.0 | 35.0 ± 5.0 |"


def test_a_start_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, tmp_path / "nothing", tmp_path / "run")
    assert capsys.readouterr().err.endswith("is not a model; make it with --halves, see docs/ablations.md\n")
