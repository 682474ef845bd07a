"""`glus-hf demo`."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from glus_hf.cli.main import app
from glus_hf.media.video import load_video


def test_demo_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["demo", "--output", "here", "--seed", "1", "--json"])
    assert ended.exit_code == 0, ended.stderr
    result = json.loads(ended.stdout.splitlines()[-1])
    assert result["j_and_f"] == pytest.approx((result["j"] + result["f"]) / 2)
    assert 0 <= result["j_and_f"] <= 1 and result["expression"]
    for name in ("video", "overlay", "gif"):
        assert len(load_video(tmp_path / result[name])) == 16
    assert Image.open(tmp_path / result["contact_sheet"]).width > 500


def test_demo_says_where_the_files_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0
    assert "J&F" in result.stdout and "Overlay: glus_demo/overlay.mp4" in result.stdout
    first = (tmp_path / "glus_demo" / "overlay.mp4").read_bytes()
    result = CliRunner().invoke(app, ["demo", "--seed", "1"])  # its own output is replaced without being asked
    assert result.exit_code == 0 and (tmp_path / "glus_demo" / "overlay.mp4").read_bytes() != first
    (tmp_path / "glus_demo" / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (tmp_path / "glus_demo").iterdir()}
    result = CliRunner().invoke(app, ["demo"])
    assert (
        result.exit_code == 2
        and "glus_demo: exists already and holds notes.txt, which is not a run's" in result.stderr
    )
    assert {path: path.read_bytes() for path in (tmp_path / "glus_demo").iterdir()} == before


def test_a_demo_in_a_folder_of_others(tmp_path):
    (tmp_path / "overlay.mp4").write_bytes(b"mine")
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path)])
    assert result.exit_code == 2 and "holds overlay.mp4, which is not a run's" in result.stderr
    assert (tmp_path / "overlay.mp4").read_bytes() == b"mine"
