"""`glus-hf serve`: a web page and an HTTP service for one model."""

from __future__ import annotations

import importlib.util
import secrets
import signal
import socket
import sys
from typing import Annotated

import typer

from ..errors import UserError
from .options import Device, Dtype, Model, Selector, load_pipeline
from .output import echo


LIBRARIES = ("gradio", "fastapi", "uvicorn", "python_multipart")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MB = 1_000_000


def serve(
    model: Model = "glus-tiny",
    selector: Selector = None,
    device: Device = None,
    dtype: Dtype = "auto",
    host: Annotated[str, typer.Option(help="Address to listen on; any other than this machine needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 7860,
    token: Annotated[
        str | None,
        typer.Option(envvar="GLUS_HF_TOKEN", help="What users must know; one is made up where it is needed."),
    ] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="Largest video, in MB.")] = 200,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Longest video.")] = 60,
    max_pixels: Annotated[int, typer.Option(min=1, help="Width x height of a frame.")] = 1920 * 1080,
    max_expressions: Annotated[int, typer.Option(min=1, help="Expressions of one job.")] = 8,
    max_queue: Annotated[int, typer.Option(min=1, help="Jobs that wait, of all users.")] = 16,
    max_per_user: Annotated[int, typer.Option(min=1, help="Jobs of one user that wait or run.")] = 2,
    keep_minutes: Annotated[float, typer.Option(min=0.1, help="How long the files of a finished job are kept.")] = 30,
) -> None:
    """Serve a web page and an HTTP service. Needs the extra `web` of the package."""
    _check_libraries()
    token = token or (None if host in LOOPBACK else secrets.token_urlsafe(24))
    import uvicorn

    from ..webapp.app import web_application
    from ..webapp.guard import Access
    from ..webapp.limits import ServiceLimits

    limits = ServiceLimits(
        file_bytes=max_upload * MB,
        seconds=max_seconds,
        frame_pixels=max_pixels,
        expressions=max_expressions,
        queued=max_queue,
        per_user=max_per_user,
        keep_seconds=60 * keep_minutes,
    )
    listener = listen(host, port)
    pipe = load_pipeline(model, device, dtype)
    access = Access(token, any_host=host not in LOOPBACK, body_bytes=limits.file_bytes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # uvicorn raises it again at its end
    with listener, web_application(pipe, model, selector, limits, access) as app:
        echo(f"{model}: {address_of(listener, token)}")
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
        uvicorn.Server(config).run(sockets=[listener])


def _check_libraries() -> None:
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'{", ".join(missing)} is not installed: run pip install "glus-hf[web]"')


def listen(host: str, port: int) -> socket.socket:
    """The socket, before the long work: a port that is taken is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)  # who comes while the model is loaded waits
    except OSError as error:
        listener.close()
        raise UserError(
            f"--host {host} --port {port}: cannot be listened on ({error.strerror}); use another"
        ) from None
    return listener


def address_of(listener: socket.socket, token: str | None) -> str:
    """What a browser opens."""
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")
