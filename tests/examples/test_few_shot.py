"""Few-shot tuning of GLEE: shots, the layout of ODinW, other names, cells that are kept, and the table."""

import json
import sys
from argparse import Namespace

import pytest

from glus_hf import UserError
from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

import few_shot  # noqa: E402
from few_shot import ITERATIONS, OneSet, as_markdown, draw_shots, find_splits, summary  # noqa: E402
from few_shot_looks import LOOKS, write_split  # noqa: E402


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two sets, of which one has its splits deeper and no test."""
    root = tmp_path_factory.mktemp("odinw")
    for split, number in (("train", 8), ("valid", 2), ("test", 2)):
        write_split(root / "hollow" / split, "hollow", split, number, seed=3, size=64)
        if split != "test":
            write_split(root / "PascalVOC" / "raw" / split, "night", split, number, seed=3, size=64)
    return root


def run(monkeypatch, capsys, root, output, *options):
    monkeypatch.setattr(sys, "argv", ["few_shot.py", "--root", str(root), "--output", str(output), *options])
    few_shot.main()
    return capsys.readouterr().out


def test_the_numbers_of_the_paper():
    assert ITERATIONS == {"1": 200, "3": 300, "5": 400, "10": 600, "all": 2000}
    assert (few_shot.BATCH, few_shot.RATE) == (4, 1e-4)


@pytest.mark.parametrize("shots", [1, 3])
def test_every_name_has_its_shots_and_the_seed_decides(root, tmp_path, shots):
    rows = OneSet(root / "hollow", {}, tmp_path).rows["train"]
    chosen = draw_shots(rows, str(shots), seed=0)
    names = [[each["name"] for each in objects] for objects in rows["objects"]]
    there = {name: sum(each.count(name) for each in names) for name in {n for each in names for n in each}}
    for name, number in there.items():
        assert sum(names[index].count(name) for index in chosen) >= min(shots, number)
    assert chosen == draw_shots(rows, str(shots), seed=0) and len(chosen) < len(rows)
    assert len({tuple(draw_shots(rows, "1", seed)) for seed in range(5)}) > 1
    assert draw_shots(rows, "all", 0) == list(range(8))


def test_the_splits_of_a_set_wherever_they_are(root, tmp_path):
    found = find_splits(root / "PascalVOC")
    assert found["test"] == found["valid"] and found["train"].parent == root / "PascalVOC" / "raw" / "train"
    assert find_splits(root / "hollow")["test"].parent.name == "test"
    with pytest.raises(UserError, match="has no folders train and valid with annotations_without_background.json"):
        find_splits(tmp_path)


def test_names_of_an_override(root, tmp_path):
    data = OneSet(root / "hollow", {"CIRCLE": "ring", "Cottontail-Rabbit": "rabbit"}, tmp_path)
    names = {each["name"] for objects in data.rows["test"]["objects"] for each in objects}
    assert "ring" in data.names and "circle" not in data.names and names <= set(data.names)
    published = json.loads((EXAMPLES / "odinw_names.json").read_text())
    assert published["Cottontail-Rabbit"] == "rabbit" and published["Chanterelle"] == "Chanterelle mushroom"


def test_mean_and_deviation_over_seeds():
    tests = {("a", 0): 10.0, ("a", 1): 20.0, ("b", 0): 30.0, ("b", 1): 60.0}
    cells = [{"set": name, "shots": "1", "seed": seed, "test": test} for (name, seed), test in tests.items()]
    cells += [{"set": name, "shots": "0", "seed": 0, "test": 4.0} for name in "ab"]
    table = summary(cells, ["a", "b"], ["0", "1"])
    assert table["1"]["a"] == pytest.approx([15.0, 50**0.5]) and table["0"]["mean"] == [4.0, None]
    assert table["1"]["mean"] == pytest.approx([30.0, (2 * 10**2) ** 0.5])
    assert "| 1 | 15.0 ± 7.1 | 45.0 ± 21.2 | 30.0 ± 14.1 |" in as_markdown(table, ["a", "b"])


def test_a_run_keeps_its_cells_and_goes_on(root, tmp_path, monkeypatch, capsys):
    """Two steps: one of a hundred of the paper's for one shot."""
    options = ["--sets", "hollow", "--device", "cpu", "--augmentation", "none", "--iterations-scale", "0.01"]
    assert "| 0 |" in run(monkeypatch, capsys, root, tmp_path, *options, "--shots", "0")
    printed = run(monkeypatch, capsys, root, tmp_path, *options, "--shots", "0,1", "--seeds", "0")
    cell = json.loads((tmp_path / "hollow" / "1-0.json").read_text())
    assert cell["settings"]["steps"] == 2 and 1 <= cell["best_step"] <= 2 and 0 < cell["images"] < 8
    assert "hollow, 1 shots, seed 0" in printed and "hollow, 0 shots" not in printed
    again = run(monkeypatch, capsys, root, tmp_path, *options, "--shots", "0,1", "--seeds", "0")
    assert "seed" not in again and f"| {cell['test']:.1f} |" in again
    assert json.loads((tmp_path / "summary.json").read_text())["1"]["hollow"] == [cell["test"], None]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="0-0.json: was made with other settings; use another --output"):
        run(monkeypatch, capsys, root, tmp_path, *options, "--shots", "0", "--text-rate", "1")


@pytest.mark.slow
def test_tuning_on_a_look_helps(tmp_path):
    """All 16 images of dark, noisy frames, 60 steps: better than without tuning."""
    for split, number in (("train", 16), ("valid", 6), ("test", 12)):
        write_split(tmp_path / "night" / split, "night", split, number, seed=5, size=128)
    options = Namespace(model="glee-tiny", device="cpu", output=tmp_path / "out", renamed={}, augmentation="none")
    options.backbone_rate = options.text_rate = 1.0
    options.iterations_scale = 60 / ITERATIONS["all"]
    data = OneSet(tmp_path / "night", {}, tmp_path / "cache")
    before = few_shot.cell(options, data, "night", "0", 0)["test"]
    assert few_shot.cell(options, data, "night", "all", 0)["test"] > before


def test_looks_differ_from_the_clips_in_the_shapes(root):
    assert set(LOOKS) == {"hollow", "stripes", "night"}
