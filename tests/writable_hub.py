"""A Hub on 127.0.0.1 that takes repositories too: create, branch, preupload, LFS in parts, commit, resolve, cards.

It speaks the HTTP API that `huggingface_hub` calls. A commit is a dict of files; a branch points at one. Large files
come in parts and are kept by their hash, so what has arrived is not asked for again.
"""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


TOKEN = "hf_loopback"
PART = 1_000_000
EMPTY = hashlib.sha1(b"empty").hexdigest()
LARGE = re.compile(r"\.(safetensors|bin|model)$")


class WritableHub:
    """Serves what is pushed to it while the `with` block runs.

    Attributes:
        branches: repo -> branch -> commit.
        commits: commit -> name -> content.
        messages: commit -> summary.
        private: repo -> bool.
        large: hash -> content of an LFS object that has arrived whole.
        bytes_of_large: how many bytes of LFS parts came in.
        requests: (method, path without hashes) -> count.
        cut_after: after this many bytes of parts every connection that sends one is cut; None: never.
        refuse_commit: answer a commit with this status, once.
    """

    def __init__(self):
        self.branches, self.commits, self.messages, self.private = {}, {EMPTY: {}}, {}, {}
        self.large, self.parts, self.bytes_of_large = {}, {}, 0
        self.requests, self.lock = Counter(), threading.Lock()
        self.cut_after, self.refuse_commit = None, None

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def files(self, repo, branch="main"):
        """Content of a branch by name."""
        return self.commits[self.branches[repo][branch]]

    def history(self, repo):
        """How many commits were made, besides the empty one."""
        return len(self.messages)

    def find(self, repo, revision):
        branches = self.branches[repo]
        return branches.get(revision, revision if revision in self.commits else None)

    def commit(self, repo, branch, lines):
        """Apply the lines of a commit whole, or raise and change nothing."""
        parent = self.branches[repo].get(branch)
        header, *changes = [json.loads(line) for line in lines]
        if header["value"].get("parentCommit") not in (None, parent):
            raise Refused(412, "parent is not the head")
        files = dict(self.commits[parent])
        for change in changes:
            value = change["value"]
            if change["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                content = self.large.get(value["oid"])
                if content is None or len(content) != value["size"]:
                    raise Refused(400, f"{value['path']}: its content has not arrived")
                files[value["path"]] = content
            else:
                del files[value["path"]]
        oid = hashlib.sha1(json.dumps([parent, sorted(files), len(self.commits)]).encode()).hexdigest()
        self.commits[oid], self.messages[oid] = files, header["value"]["summary"]
        self.branches[repo][branch] = oid
        return oid


class Refused(Exception):
    def __init__(self, status, message=""):
        super().__init__(message)
        self.status, self.message = status, message


class _Handler(BaseHTTPRequestHandler):
    hub: WritableHub
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.route("GET")

    def do_HEAD(self):
        self.route("HEAD")

    def do_POST(self):
        self.route("POST")

    def do_PUT(self):
        self.route("PUT")

    def route(self, method):
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            self.hub.requests[method, re.sub("[0-9a-f]{40,}", "HASH", path)] += 1
        for known, pattern, name in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and (known == method or known == "GET" and method == "HEAD"):
                try:
                    return getattr(self, name)(**match.groupdict())
                except Refused as refused:
                    return self.answer({"error": refused.message}, refused.status)
        self.answer({"error": f"no {method} {path}"}, 404)

    # ---- the account

    def whoami(self):
        self.answer({"type": "user", "name": self.user(), "auth": {"type": "access_token"}})

    def user(self):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "Invalid credentials")
        return "me"

    def validate(self):
        content = self.json()["content"]
        self.answer({"errors": [] if content.startswith("---") else [{"message": "no metadata"}], "warnings": []})

    # ---- repositories

    def create(self):
        user, body = self.user(), self.json()
        repo = f"{body.get('organization') or user}/{body['name']}"
        is_new = repo not in self.hub.branches
        if is_new:
            self.hub.branches[repo], self.hub.private[repo] = (
                {"main": EMPTY},
                body.get("private") or body.get("visibility") == "private",
            )
        self.answer({"url": f"{self.hub.url}/{repo}", "name": repo, "id": "0"}, 200 if is_new else 409)

    def branch(self, repo, branch):
        self.user()
        branches = self.hub.branches[repo]
        if branch in branches:
            raise Refused(409, "Reference already exists")
        self.json()
        branches[branch] = branches["main"]
        self.answer({})

    def info(self, repo, revision="main"):
        files = self.content(repo, revision)
        siblings = [{"rfilename": name} for name in files]
        about = {"_id": "0", "id": repo, "modelId": repo, "private": self.hub.private[repo], "siblings": siblings}
        self.answer({**about, "sha": self.hub.find(repo, revision)})

    def tree(self, repo, revision):
        files = self.content(repo, revision)
        rows = [{"type": "file", "path": name, "size": len(c), "oid": _sha1(c)} for name, c in files.items()]
        self.answer(rows)

    def content(self, repo, revision):
        if repo not in self.hub.branches:
            self.close_with("RepoNotFound")
        commit = self.hub.find(repo, revision)
        if commit is None:
            self.close_with("RevisionNotFound")
        return self.hub.commits[commit]

    def close_with(self, code):
        self.extra = {"X-Error-Code": code}
        raise Refused(404, code)

    def resolve(self, repo, revision, name):
        files = self.content(repo, revision)
        if name not in files:
            self.close_with("EntryNotFound")
        body = files[name]
        headers = {"X-Repo-Commit": self.hub.find(repo, revision), "ETag": f'"{_sha1(body)}"'}
        self.send(200, body, "application/octet-stream", headers)

    # ---- uploads

    def preupload(self, repo, revision):
        self.user()
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if LARGE.search(file["path"]) else "regular",
                "shouldIgnore": False,
            }
            for file in self.json()["files"]
        ]
        self.answer({"files": files})

    def batch(self, repo):
        self.user()
        self.answer({"transfer": "multipart", "objects": [self.action(item) for item in self.json()["objects"]]})

    def action(self, item):
        oid, size = item["oid"], item["size"]
        if oid in self.hub.large:
            return item
        count = -(-size // PART)
        header = {str(n + 1): f"{self.hub.url}/lfs/{oid}/{n + 1}" for n in range(count)}
        upload = {"href": f"{self.hub.url}/lfs/{oid}/complete", "header": {**header, "chunk_size": str(PART)}}
        return {**item, "actions": {"upload": upload}}

    def part(self, oid, number):
        size, body = int(self.headers["Content-Length"]), b""
        while len(body) < size:
            block = self.rfile.read(min(65536, size - len(body)))
            if not block:
                return
            body += block
            with self.hub.lock:
                self.hub.bytes_of_large += len(block)
                is_cut = self.hub.cut_after is not None and self.hub.bytes_of_large > self.hub.cut_after
            if is_cut:
                self.close_connection = True
                return self.connection.shutdown(2)
        self.hub.parts[oid, int(number)] = body
        self.send(200, b"", "text/plain", {"ETag": f'"{_sha1(body)}"'})

    def complete(self, oid):
        body = self.json()
        content = b"".join(self.hub.parts[oid, part["partNumber"]] for part in body["parts"])
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refused(400, "parts do not make the object")
        self.hub.large[oid] = content
        self.answer({})

    def take_commit(self, repo, branch):
        self.user()
        lines = self.body().splitlines()
        if self.hub.refuse_commit:
            status, self.hub.refuse_commit = self.hub.refuse_commit, None
            raise Refused(status, "not now")
        with self.hub.lock:
            pull = "create_pr" in parse_qs(urlsplit(self.path).query)
            if pull:
                self.hub.branches[repo]["refs/pr/1"] = self.hub.branches[repo][branch]
            oid = self.hub.commit(repo, "refs/pr/1" if pull else branch, lines)
        url = f"{self.hub.url}/{repo}"
        pr = {"pullRequestUrl": f"{url}/discussions/1"} if pull else {}
        self.answer({"commitUrl": f"{url}/commit/{oid}", "commitOid": oid, "success": True, **pr})

    # ---- HTTP

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def json(self):
        return json.loads(self.body() or b"{}")

    def answer(self, content, status=200):
        self.send(status, json.dumps(content).encode(), "application/json", self.__dict__.pop("extra", {}))

    def send(self, status, body, kind, headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def _sha1(content):
    return hashlib.sha1(content).hexdigest()


REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_ROUTES = [
    ("GET", "/api/whoami-v2", "whoami"),
    ("POST", "/api/validate-yaml", "validate"),
    ("POST", "/api/repos/create", "create"),
    ("POST", f"/api/models/{REPO}/branch/(?P<branch>.+)", "branch"),
    ("POST", f"/api/models/{REPO}/preupload/(?P<revision>.+)", "preupload"),
    ("POST", f"/api/models/{REPO}/commit/(?P<branch>.+)", "take_commit"),
    ("GET", f"/api/models/{REPO}/tree/(?P<revision>[^/]+)", "tree"),
    ("GET", f"/api/models/{REPO}/revision/(?P<revision>.+)", "info"),
    ("GET", f"/api/models/{REPO}", "info"),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})/(?P<number>[0-9]+)", "part"),
    ("POST", "/lfs/(?P<oid>[0-9a-f]{64})/complete", "complete"),
    ("GET", f"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", "resolve"),
]
