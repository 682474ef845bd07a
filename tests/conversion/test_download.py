"""Folders and files of the Hub: from the cache, or one line that says why not; histories from a server of our own."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from glus_hf.conversion.download import clip_folder, download_file, download_folder, full_commit
from glus_hf.errors import CheckpointError


COMMIT = "a" * 40
OLDER = "b" * 40


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A cache of the Hub with one repository, as huggingface_hub lays it out, and no way to the Hub."""
    repo = tmp_path / "models--owner--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_what_is_cached_needs_no_hub(offline):
    assert download_folder("owner/name", ["config.json"], "buy one") == offline
    assert clip_folder("owner/name") == (offline, "owner/name")
    assert download_file("owner/name", "config.json", "buy one") == offline / "config.json"


def test_what_is_not_cached_is_one_line_with_the_remedy(offline):
    for call in (lambda: download_folder("owner/other", [], "buy one"), lambda: download_file("o/n", "f", "buy one")):
        with pytest.raises(CheckpointError) as error:
            call()
        message = str(error.value)
        assert "is not cached and cannot be downloaded (" in message and message.endswith("; buy one")
        assert "\n" not in message
    assert full_commit("owner/name", "aaa") is None


def test_a_local_clip_folder_and_what_is_none(offline):
    assert clip_folder(offline) == (offline, offline.name)
    with pytest.raises(CheckpointError, match="^nowhere: no such CLIP folder; pass the folder of "):
        clip_folder("nowhere")
    with pytest.raises(CheckpointError, match="^./here/clip: no such CLIP folder"):
        clip_folder("./here/clip")


class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        commits = [{"id": commit, "title": "", "message": "", "date": "2025-01-01T00:00:00.000Z", "authors": []}
                   for commit in (COMMIT, OLDER)]  # fmt: skip
        known = {
            "/api/models/owner/name/revision/main": {"id": "owner/name", "sha": COMMIT},
            "/api/models/owner/name/commits/main": commits,
        }
        content = known.get(self.path.split("?")[0])
        body = json.dumps(content).encode()
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield
    server.shutdown()
    server.server_close()


def test_a_short_hash_is_looked_up_in_the_history(hub):
    assert full_commit("owner/name", "bbbbbbb") == OLDER
    assert full_commit("owner/name", "ccccccc") is None
    assert full_commit("owner/other", "bbbbbbb") is None
