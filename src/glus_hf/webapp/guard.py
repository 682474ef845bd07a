"""Who may ask what of the service: host names, a token, no other site's forms, no body that is too large."""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, urlencode, urlsplit


COOKIE = "glus_hf_token"
FORM_BYTES = 1_000_000  # of a request beside the video
MAX_DIGITS = 18  # of its length: `int` takes no more than some thousands
READ_ONLY = ("GET", "HEAD", "OPTIONS")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' "
    "blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""No page of ours asks another server for anything."""


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: that every request must bring; None: none.
        any_host: requests may name any host; else only names of this machine, so that no other name that resolves
            here makes a browser talk to us.
        in_frames: other sites may show the page in a frame, as a Space is shown.
        body_bytes: of a request.
    """

    token: str | None = None
    any_host: bool = False
    in_frames: bool = False
    body_bytes: int = 200_000_000


class Guard:
    """ASGI: refuses what [`Access`] does not allow, before the application sees it."""

    def __init__(self, app: Callable[..., Awaitable], access: Access):
        self.app, self.access = app, access

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope.get("method", "GET")
        problem = self._problem(method, headers)
        if problem is None and not self._knows_token(headers):
            if method == "GET" and self._token_in_query(scope):
                return await self._set_cookie(scope, send)
            problem = 401, "this service needs its token: Authorization: Bearer TOKEN, or the address with ?token="
        if problem is not None:
            return await _refuse(send, scope["type"], *problem)
        limited = _Limited(receive, self.access.body_bytes + FORM_BYTES)
        await self.app(scope, limited, self._with_headers(send))

    def _problem(self, method: str, headers: dict) -> tuple[int, str] | None:
        if not self.access.any_host and not is_this_machine(headers.get("host", "")):
            return 421, "this service answers to names of this machine only"
        if method not in READ_ONLY and not self._is_own(headers):
            return 403, "another site sent this request"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > MAX_DIGITS or int(length) > self.access.body_bytes + FORM_BYTES:
            return 413, f"the request has more than {self.access.body_bytes} bytes"
        return None

    def _is_own(self, headers: dict) -> bool:
        """Browsers say which site made a request; programs send neither header."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return self.access.in_frames and headers["sec-fetch-site"] == "same-site"
        origin = headers.get("origin")
        return origin is None or self.access.in_frames or _host_of(origin) == headers.get("host")

    def _knows_token(self, headers: dict) -> bool:
        if self.access.token is None:
            return True
        return any(self._is_token(found) for found in (_bearer(headers), _cookie(headers)))

    def _is_token(self, found: str | None) -> bool:
        return found is not None and secrets.compare_digest(found.encode(), self.access.token.encode())

    def _token_in_query(self, scope) -> bool:
        return self._is_token(parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0])

    async def _set_cookie(self, scope, send):
        """Keep the token in a cookie and take it out of the address."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        rest = urlencode({name: values for name, values in query.items() if name != "token"}, doseq=True)
        place = "/" + quote(scope["path"].lstrip("/")) + (f"?{rest}" if rest else "")  # no line of its own, no host
        cookie = f"{COOKIE}={self.access.token}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", place.encode()), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _with_headers(self, send):
        ancestors = "*" if self.access.in_frames else "'none'"
        extra = {
            b"content-security-policy": f"{POLICY}; frame-ancestors {ancestors}".encode(),
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"no-referrer",
        }

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in extra]
                message = {**message, "headers": [*kept, *extra.items()]}
            await send(message)

        return send_with_headers


class _Limited:
    """A body that is cut off as too long: its sender is told to have gone."""

    def __init__(self, receive, limit: int):
        self.receive, self.left = receive, limit

    async def __call__(self):
        message = await self.receive()
        if message["type"] == "http.request":
            self.left -= len(message.get("body", b""))
            if self.left < 0:
                return {"type": "http.disconnect"}
        return message


def is_this_machine(host: str) -> bool:
    """Whether a `Host` header names this machine.

    Example:
        >>> is_this_machine("localhost:7860"), is_this_machine("[::1]:80"), is_this_machine("evil.example")
        (True, True, False)
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _host_of(origin: str) -> str | None:
    """Host and port of an `Origin` header; None if it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _bearer(headers: dict) -> str | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _cookie(headers: dict) -> str | None:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if cookie is None else cookie.value


async def _refuse(send, kind: str, status: int, message: str) -> None:
    if kind == "websocket":  # closed before it was accepted: the server answers 403
        return await send({"type": "websocket.close", "code": 1008})
    body = json.dumps({"detail": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


__all__ = ["Access", "Guard", "is_this_machine"]
