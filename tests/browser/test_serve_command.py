"""`glus-hf serve` from its start to SIGTERM."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest


pytestmark = pytest.mark.browser


def fetch(address: str) -> tuple[int, str]:
    """As a user whose browser keeps cookies and knows none yet."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor())
    try:
        with opener.open(address, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_serves_the_page_and_the_service_until_it_is_ended(tmp_path):
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "glus_hf.cli", "serve", "--port", "0", "--device", "cpu", "--token", "secret"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            name, address = server.stdout.readline().split()
            assert name == "glus-tiny:" and address.endswith("/?token=secret")
            place = address.removesuffix("?token=secret")
            assert "gradio" in fetch(address)[1]
            assert fetch(place + "openapi.json")[0] in (401, 403)
            assert list(tmp_path.glob("glus-hf-serve-*"))
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("glus-hf-serve-*"))
