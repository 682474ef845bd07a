"""The page of `glus-hf report` in Chromium: a file without anything beside it, dark and light, by keyboard."""

import json
import shutil
import time

import numpy as np
import pytest

from glus_hf.cli.main import main
from glus_hf.hub import packaged_folder
from tests.browser.conftest import screenshot


pytestmark = pytest.mark.browser
DATA = ["--dataset", "motion_shapes", "--split", "test", "--num-videos", "2", "--data-option", "num_frames=8"]


def command(*arguments):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    assert end.value.code == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Evaluations of the bundled model, and of the same with another stride of its memories."""
    folder = tmp_path_factory.mktemp("runs")
    command("evaluate", *DATA, "-o", folder / "one", "-q")
    shutil.copytree(packaged_folder("glus-tiny"), folder / "tiny-copy")
    config = json.loads((folder / "tiny-copy" / "config.json").read_text())
    (folder / "tiny-copy" / "config.json").write_text(json.dumps({**config, "num_maskmem": 1}))
    command("evaluate", *DATA, "--model", folder / "tiny-copy", "-o", folder / "two", "-q")
    return folder


def wait(page, condition):
    """Until a condition holds; playwright's own way evaluates text, which the page's policy forbids."""
    until = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < until, condition
        time.sleep(0.05)


def test_an_evaluation(runs, new_page, tmp_path):
    command(
        "report",
        runs / "one",
        "-o",
        tmp_path / "report.html",
        "--num-videos",
        "2",
        "--worst",
        "3",
        "--best",
        "2",
        "-q",
    )
    page = new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("video").count() == 5
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("[...document.querySelectorAll('article')].findIndex(a => a.className == 'current')") == 1
    wait(page, "document.querySelectorAll('video')[1].readyState >= 2")
    page.keyboard.press(" ")
    wait(page, "document.querySelectorAll('video')[1].currentTime > 0.2")
    light = screenshot(page, "report-light")
    page.keyboard.press("d")
    dark = screenshot(page, "report-dark")
    assert np.median(light) > 200 and np.median(dark) < 60
    page.click("#dark")
    assert page.evaluate("document.documentElement.className") == "light"
    assert page.strays == [] and page.problems == []


def test_dark_where_the_system_is_dark(runs, new_page, tmp_path):
    command(
        "report",
        runs / "one",
        "-o",
        tmp_path / "report.html",
        "--num-videos",
        "2",
        "--worst",
        "0",
        "--best",
        "0",
        "-q",
    )
    page = new_page(color_scheme="dark")
    page.goto((tmp_path / "report.html").as_uri())
    assert np.median(screenshot(page, "report-system-dark")) < 60


def test_two_models_beside_each_other(runs, new_page, tmp_path):
    options = ["--num-videos", "2", "--worst", "2", "-q"]
    command("report", runs / "one", runs / "two", "-o", tmp_path / "report.html", *options)
    page = new_page()
    page.goto((tmp_path / "report.html").as_uri())
    titles = page.locator("h2").all_inner_texts()
    assert "By challenge" in titles and "Motion" in titles
    page.keyboard.press("j")
    wait(page, "document.querySelector('video').readyState >= 2")
    size = page.evaluate("[document.querySelector('video').videoWidth, document.querySelector('video').videoHeight]")
    assert size[0] > 2.9 * size[1]  # two predictions and the truth
    screenshot(page, "report-two")
    assert page.strays == [] and page.problems == []
