"""The editor of masks in Chromium: what is drawn is what the engine gets, to the pixel."""

import zipfile

import numpy as np
import pytest
from PIL import Image

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.video import write_video
from glus_hf.metrics.j_and_f import j_and_f
from tests.browser.conftest import TEXTS, WAIT, ask, screenshot


pytestmark = pytest.mark.browser
FRAME = 5


def masks(page, expression):
    """`[frames, height, width]` of the result that is shown."""
    with page.expect_download() as download:
        page.click("#result a[download='masks.zip']")
    with zipfile.ZipFile(download.value.path()) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(f"{expression}/"))
        return np.stack([np.asarray(Image.open(archive.open(name))) > 0 for name in names])


def drag(page, *points):
    """The pointer pressed along points of the video, in its pixels."""
    box = page.locator("#editor canvas").bounding_box()
    place = lambda x, y: (box["x"] + x * box["width"] / 128, box["y"] + y * box["height"] / 128)
    page.mouse.move(*place(*points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place(*point), steps=8)
    page.mouse.up()


def iou(left, right):
    return (left & right).sum() / (left | right).sum()


def edit(page, frame=FRAME):
    page.wait_for_selector("#edit", timeout=WAIT)
    page.fill("#correct-frame input[type=number]", str(frame))
    page.click("#edit")
    page.wait_for_selector("#editor [data-shown]", timeout=WAIT)
    page.locator("#editor canvas").scroll_into_view_if_needed()


def test_a_lost_object_is_drawn_and_found_again(site, new_page, tmp_path):
    clip, lost = generate_clip(0, split="occlusion", seed=0), 8
    cross = next(expression for expression in clip.expressions if expression.text == "the yellow cross")
    truth = clip.target_masks(cross)
    write_video(tmp_path / "clip.mp4", clip.frames, 8)
    page = new_page(site)
    ask(page, str(tmp_path / "clip.mp4"), [cross.text])
    page.wait_for_selector("#result video", timeout=WAIT)
    before = masks(page, 0)
    edit(page, lost)
    page.click("#editor [name=clear]")
    page.locator("#editor [name=size]").fill("3")
    for row in np.flatnonzero(truth[lost].any(1))[1:-1]:
        columns = np.flatnonzero(truth[lost, row])
        drag(page, (columns[0] + 1.5, row + 0.5), (columns[-1] - 0.5, row + 0.5))
    screenshot(page, "editor-light")
    screenshot(page, "correct", "#correct")
    page.emulate_media(color_scheme="dark")
    screenshot(page, "editor-dark")
    page.click("#apply")
    page.wait_for_function("document.querySelector('#result').innerText.includes('corrected: 8')", timeout=WAIT)
    after = masks(page, 0)
    assert np.array_equal(after[:lost], before[:lost]) and iou(after[lost], truth[lost]) > 0.8
    left, right = (j_and_f(each[lost + 1 :], truth[lost + 1 :])["j_and_f"] for each in (before, after))
    assert right > left + 0.05
    assert page.locator("#result circle.corrected").count() == 1
    screenshot(page, "corrected-dark")
    assert page.strays == [] and page.problems == []


def test_erase_undo_clear_and_a_second_correction(site, new_page, video):
    page = new_page(site)
    ask(page, str(video), TEXTS[:1])
    page.wait_for_selector("#result video", timeout=WAIT)
    before = masks(page, 0)
    edit(page)
    page.click("#editor [name=clear]")
    page.click("#editor [name=undo]")
    drag(page, (20, 20), (40, 20))
    page.keyboard.press("z")  # the pointer has given the canvas the focus
    page.keyboard.press("x")
    rows, columns = np.nonzero(before[FRAME])
    x, y = int(np.median(columns)), int(np.median(rows))
    drag(page, (x, y), (x + 1, y))
    page.click("#apply")
    page.wait_for_function("document.querySelector('#result').innerText.includes('corrected: 5')", timeout=WAIT)
    first = masks(page, 0)
    assert not (first[FRAME] & ~before[FRAME]).any() and not first[FRAME, y, x]
    assert 0 < (before[FRAME] & ~first[FRAME]).sum() < 150
    edit(page, 9)
    page.click("#editor [name=clear]")
    page.click("#apply")
    page.wait_for_function("document.querySelector('#result').innerText.includes('corrected: 5, 9')", timeout=WAIT)
    second = masks(page, 0)
    assert not second[9].any() and np.array_equal(second[:9], first[:9])
    assert page.strays == [] and page.problems == []


def test_a_model_that_takes_no_corrections_has_no_editor(site, new_page, video):
    site.store.run.pipe = glus_hf.pipeline(model="glee-tiny")
    page = new_page(site)
    ask(page, str(video), TEXTS[:1])
    page.wait_for_selector("#result video", timeout=WAIT)
    page.wait_for_timeout(500)
    assert page.locator("#edit").count() == 0 or not page.locator("#edit").is_visible()
