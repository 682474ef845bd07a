"""Chromium, without a window, and the page in a server of this process."""

import os
import shutil
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.video import write_video


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = Path(os.environ.get("GLUS_HF_SCREENSHOTS", ""))
CLIP = generate_clip(0, split="test", size=128, num_frames=12)
TEXTS = ["the blue circle", "the three red squares"]
WAIT = 120_000


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium):
    """Pages, each of a user of its own. `page.strays` are requests to other servers, `page.problems` errors."""
    contexts = []

    def make(address="", **options):
        context = chromium.new_context(viewport={"width": 1200, "height": 1200}, **options)
        contexts.append(context)
        page = context.new_page()
        page.strays, page.problems = [], []
        own = (address, "data:", "blob:", "file:")
        page.on("request", lambda request: request.url.startswith(own) or page.strays.append(request.url))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        if address:
            page.goto(address)
        return page

    yield make
    for context in contexts:
        context.close()


@contextmanager
def served(app):
    """Serve an ASGI application on a port of this machine; its address."""
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def screenshot(page, name, part=None):
    """The whole page, or a part of it, as a picture, kept where GLUS_HF_SCREENSHOTS says; its pixels
    `[height, width, 3]`."""
    import io

    import numpy as np
    from PIL import Image

    content = page.locator(part).screenshot() if part else page.screenshot(full_page=True)
    if SHOTS.name:
        SHOTS.mkdir(parents=True, exist_ok=True)
        (SHOTS / f"{name}.png").write_bytes(content)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.fixture(scope="module")
def pipe():
    return glus_hf.pipeline(model="glus-tiny")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    file = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(file, CLIP.frames, 8)
    return file


@pytest.fixture
def site(pipe, monkeypatch, tmp_path):
    """Address of the page; its store is `site.store`."""
    pytest.importorskip("gradio")
    from glus_hf.webapp import app as module

    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))

    class Site(str):
        pass

    stores, make = [], module.JobStore
    monkeypatch.setattr(module, "JobStore", lambda *arguments: stores.append(make(*arguments)) or stores[-1])
    with module.web_application(pipe, "glus-tiny") as app, served(app) as address:
        site = Site(address)
        site.store = stores[0]
        yield site
    assert not list(tmp_path.glob("glus-hf-serve-*"))


def ask(page, video, texts=TEXTS, start=""):
    page.wait_for_selector("#run", timeout=WAIT)
    if video is not None:
        page.set_input_files("#video input[type=file]", video)
        page.wait_for_selector("#video a, #video .file-preview, #video td", timeout=WAIT)
    page.fill("#texts textarea", "\n".join(texts))
    if start:
        page.fill("#start input, #start textarea", start)
    page.click("#run")
