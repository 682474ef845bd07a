"""What Trainer's push_to_hub sends for an adapter, to a Hub on 127.0.0.1."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.paths import ROOT
from tests.training.small_training import saved_model


PUSH = """
import sys
from glus_hf import GLUSForVideoSegmentation
from tests.training.small_training import quick_trainer
base, output = sys.argv[1:]
trainer = quick_trainer(output, GLUSForVideoSegmentation.from_pretrained(base), max_steps=1, push_to_hub=True,
                        hub_model_id="me/my-glus", hub_token="hf_x")
trainer.train()
trainer.push_to_hub()
"""


class Receiver(BaseHTTPRequestHandler):
    """Answers the calls of `create_repo` and `upload_folder`; takes every file within the commit."""

    files: dict[str, bytes] = {}

    def do_GET(self):
        self.answer({"type": "user", "name": "me"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            kept = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self.answer({"files": kept})
        if "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            return self.answer({"commitUrl": self.url("commit/1"), "commitOid": "1", "success": True})
        self.answer({"url": self.url(""), "name": "me/my-glus"})

    def url(self, place):
        return f"http://127.0.0.1:{self.server.server_port}/me/my-glus/{place}"

    def answer(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def test_the_adapter_and_the_processor_are_pushed(tmp_path):
    base = saved_model(tmp_path / "base")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", PUSH, base, str(tmp_path / "run")]
    try:
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr[-4000:]
    assert {"adapter_config.json", "adapter_model.safetensors", "base_config.json", "processor_config.json"} <= set(
        Receiver.files
    )
    assert not [name for name in Receiver.files if name.startswith("model")]
    card = Receiver.files["README.md"].decode()
    assert "peft" in card
    written = (tmp_path / "run" / "adapter_model.safetensors").read_bytes()
    assert Receiver.files["adapter_model.safetensors"] == written
