"""A Hub on 127.0.0.1: answers the calls that `huggingface_hub.snapshot_download` makes, from local folders."""

import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LocalHub:
    """Serves `repositories`, "owner/name" -> folder or files by name, while the `with` block runs.

    `requests` counts what was asked for: (method, path). `broken` makes every answer an error 500. `histories` are the
    commits of a repository, "owner/name" -> hashes; a repository without one does not tell them.
    """

    def __init__(self, repositories):
        self.repositories = {repo: _files(content) for repo, content in repositories.items()}
        self.requests = Counter()
        self.broken = False
        self.histories = {}

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def downloads(self):
        """How often each file was sent: "owner/name/file" -> count."""
        return {
            f"{owner}/{name}/{file}": count
            for (method, path), count in self.requests.items()
            if method == "GET" and "/resolve/" in path
            for owner, name, _, _, file in [path.strip("/").split("/", 4)]
        }

    def revisions(self, repo):
        """Which revisions of a repository were listed."""
        start = f"/api/models/{repo}/"
        return {path.split("/")[-1] for _, path in self.requests if path.startswith(start)}


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = urlsplit(self.path).path
        self.hub.requests[self.command, path] += 1
        parts = path.strip("/").split("/")
        if self.hub.broken:
            return self.send(b"", status=500)
        if parts[:2] == ["api", "models"] and len(parts) == 6:
            return self.describe("/".join(parts[2:4]), parts[4], parts[5])
        if len(parts) == 5 and parts[2] == "resolve":
            file = self.hub.repositories.get("/".join(parts[:2]), {}).get(parts[4])
            if file is not None:
                return self.send(file.read_bytes(), headers={"X-Repo-Commit": _commit(parts[3])})
        return self.send(b"", status=404, headers={"X-Error-Code": "EntryNotFound"})

    def describe(self, repo, what, revision):
        files = self.hub.repositories.get(repo)
        if files is None:
            return self.send(b"", status=404, headers={"X-Error-Code": "RepoNotFound"})
        if what == "commits":
            return self.list_commits(repo)
        if what == "tree":
            oid = "0" * 40
            rows = [{"type": "file", "path": n, "size": f.stat().st_size, "oid": oid} for n, f in files.items()]
            return self.send(json.dumps(rows).encode(), kind="application/json")
        siblings = [{"rfilename": name} for name in files]
        content = {"_id": "0", "id": repo, "modelId": repo, "private": False, "siblings": siblings}
        content["sha"] = _commit(revision)
        return self.send(json.dumps(content).encode(), kind="application/json")

    def list_commits(self, repo):
        if repo not in self.hub.histories:
            return self.send(b"", status=404)
        about = {"title": "", "message": "", "date": "2025-06-01T00:00:00.000Z", "authors": []}
        rows = [{"id": commit, **about} for commit in self.hub.histories[repo]]
        return self.send(json.dumps(rows).encode(), kind="application/json")

    def send(self, body, status=200, kind="application/octet-stream", headers=None):
        self.send_response(status)
        etag = hashlib.sha256(body).hexdigest()
        standard = {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in {**standard, "ETag": f'"{etag}"', **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def _commit(revision):
    """Branches point at `COMMIT`; any commit asked for by its hash exists."""
    return revision if re.fullmatch("[0-9a-f]{40}", revision) else COMMIT


def _files(content):
    if isinstance(content, dict):
        return {name: Path(path) for name, path in content.items()}
    return {path.name: path for path in Path(content).iterdir() if path.is_file()}
