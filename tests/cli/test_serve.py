"""`glus-hf serve` before it serves."""

import importlib.util
import socket

import pytest

from glus_hf.cli import serve as command
from glus_hf.errors import UserError


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError,
        match=r'gradio, fastapi, uvicorn, python_multipart is not installed: run pip install "glus-hf\[web\]"',
    ):
        command.serve()


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="cannot be listened on.*use another"):
            command.listen("127.0.0.1", taken.getsockname()[1])


def test_two_servers_do_not_get_one_port():
    with command.listen("127.0.0.1", 0) as first, pytest.raises(UserError, match="cannot be listened on"):
        command.listen("127.0.0.1", first.getsockname()[1])


def test_the_address_has_the_token():
    with command.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert command.address_of(listener, None) == f"http://127.0.0.1:{port}/"
        assert command.address_of(listener, "secret") == f"http://127.0.0.1:{port}/?token=secret"
