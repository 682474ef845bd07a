"""The page of `glus-hf serve` in Chromium: a real mp4 with the bundled model."""

import json
import threading
import time
import zipfile

import numpy as np
import pytest

from glus_hf.visualization import palette
from tests.browser.conftest import TEXTS, WAIT, ask, screenshot


pytestmark = pytest.mark.browser


def test_a_video_is_segmented_shown_and_taken_away(site, new_page, video, pipe, tmp_path):
    page = new_page(site)
    ask(page, str(video))
    page.wait_for_selector("#result video", timeout=WAIT)
    assert page.inner_text("#status").strip() == "Done"
    player = "document.querySelector('#result video')"
    page.wait_for_function(f"{player}.readyState >= 2 && {player}.videoWidth == 128", timeout=WAIT)
    assert page.locator("#result polyline").count() == 2 and page.locator("#result line.key").count() == 2
    pixels = screenshot(page, "page").reshape(-1, 3).astype(int)
    for index in range(2):  # both colours are to be seen, in more than the swatch beside the expression
        assert (np.abs(pixels - palette(index)).max(axis=1) < 40).sum() > 600
    with page.expect_download() as download:
        page.click("#result a[download='masks.zip']")
    wanted = pipe(str(video), TEXTS)
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 1 + 2 * 12 and json.loads(archive.read("expressions.json")) == TEXTS
    assert page.locator("#frames img").count() == 12
    page.locator("#frames button:has(img)").nth(5).click()
    page.wait_for_function("document.querySelector('#start input, #start textarea').value == '5'", timeout=WAIT)
    page.click("#run")
    page.wait_for_function("document.querySelector('#result').innerText.includes('from frame 5')", timeout=WAIT)
    assert page.strays == [] and page.problems == [] and len(wanted) == 2


def test_an_example_brings_its_expressions(site, new_page):
    page = new_page(site)
    page.click("#example label:has-text('more shapes')")
    page.wait_for_function("document.querySelector('#texts textarea').value.length > 3", timeout=WAIT)
    page.click("#run")
    page.wait_for_selector("#result video", timeout=WAIT)


def test_two_users_at_once_get_their_own(site, new_page, video):
    first, second = new_page(site), new_page(site)
    ask(first, str(video), TEXTS[:1])
    ask(second, str(video), TEXTS[1:])
    for page, own, other in ((first, *TEXTS), (second, *TEXTS[::-1])):
        page.wait_for_selector("#result video", timeout=WAIT)
        text = page.inner_text("#result")
        assert own in text and other not in text


def test_a_hostile_file_is_one_line(site, new_page, tmp_path):
    file = tmp_path / "evil.mp4"
    file.write_bytes(b"ffconcat version 1.0\nfile /etc/passwd\n")
    page = new_page(site)
    ask(page, str(file), ["<img src=x onerror=document.title='run'>"])
    page.wait_for_selector("#status [role=alert]", timeout=WAIT)
    told = page.inner_text("#status")
    assert str(tmp_path) not in told and "root:" not in told and page.title() != "run"
    screenshot(page, "hostile")


def test_expressions_are_text_wherever_they_are_shown(site, new_page, video):
    page = new_page(site)
    ask(page, str(video), ["the <img src=x onerror=document.title='run'> circle"])
    page.wait_for_selector("#result video, #status [role=alert]", timeout=WAIT)
    assert page.locator("#result img[src=x], #status img[src=x]").count() == 0 and page.title() != "run"


def test_a_closed_tab_stops_the_work(site, new_page, video):
    began, step = threading.Event(), site.store.run.step
    site.store.run.step = lambda job, frame: (began.set(), job.stopped.wait(60), step(job, frame))
    page = new_page(site)
    ask(page, str(video))
    assert began.wait(60)
    (job,) = site.store.jobs.values()
    page.close()
    assert job.stopped.wait(30)
    until = time.monotonic() + 30
    while site.store.jobs and time.monotonic() < until:
        time.sleep(0.05)
    assert not site.store.jobs and not job.folder.exists()


def test_no_file_of_this_machine_is_read_through_the_page(site, new_page, tmp_path):
    (tmp_path / "secret.txt").write_text("hidden words")
    page = new_page(site)
    page.wait_for_selector("#run", timeout=WAIT)
    for path in ("/etc/passwd", str(tmp_path / "secret.txt"), "../../../etc/passwd", "file:///etc/passwd"):
        for route in ("gradio_api/file=", "file=", "gradio_api/proxy=", "static/", "gradio_api/custom_component/"):
            answer = page.request.get(f"{site}{route}{path}")
            assert "hidden words" not in answer.text() and "root:" not in answer.text(), f"{route}{path}"
    config = page.request.get(f"{site}config").json()
    run = next(item for item in config["dependencies"] if len(item["inputs"]) == 5)
    for path in ("/etc/passwd", str(tmp_path / "secret.txt")):
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, None, "a", "", None]
        body = {"data": data, "fn_index": run["id"], "session_hash": "abc"}
        assert page.request.post(f"{site}gradio_api/queue/join", data=body).status < 500
    time.sleep(2)
    assert not [job for job in site.store.jobs.values() if job.source.read_bytes()[:5] in (b"hidde", b"root:")]
