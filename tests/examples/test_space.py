"""examples/space: what its Space needs is declared, and its application shows the page to any visitor."""

import importlib.util
import re

import pytest
import yaml
from fastapi.testclient import TestClient

import glus_hf
from tests.paths import EXAMPLES, ROOT


SPACE = EXAMPLES / "space"


def test_the_space_runs_the_tested_gradio_from_a_file_that_is_there():
    about = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    pinned = re.search(r"^gradio==(.+)$", (ROOT / "constraints-web.txt").read_text(), re.MULTILINE).group(1)
    assert about["sdk"] == "gradio" and about["sdk_version"] == pinned
    assert (SPACE / about["app_file"]).is_file()
    assert (SPACE / "requirements.txt").read_text().split() == ["glus-hf[web]"]


@pytest.fixture
def space(monkeypatch):
    pytest.importorskip("gradio", reason="the extra `web` is not installed")
    monkeypatch.setenv("MAX_SECONDS", "7")
    monkeypatch.delenv("MODEL", raising=False)
    spec = importlib.util.spec_from_file_location("glus_hf_space", SPACE / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_any_visitor_gets_the_page_in_a_frame_with_the_limits_of_the_space(space):
    pipe = glus_hf.pipeline(model=space.MODEL)
    with space.web_application(pipe, space.MODEL, space.SELECTOR, space.LIMITS, space.ACCESS) as app:
        client = TestClient(app, base_url="https://me-my-space.hf.space")
        page = client.get("/")
        assert page.status_code == 200 and "gradio" in page.text
        assert "frame-ancestors *" in page.headers["content-security-policy"]
        service = client.get("/api/service").json()
        assert service["model"] == "glus-tiny"
        assert service["limits"]["seconds"] == 7 and service["limits"]["file_bytes"] == 50_000_000
        assert client.post("/api/jobs", content=b"0" * 52_000_000).status_code == 413
