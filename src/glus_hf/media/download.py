"""Download a file from an address: bounded in size, time and redirects, from public addresses only.

An address may come from anywhere, so it must not reach into the network of whoever runs this. Every hop's host is
resolved once, all its addresses are checked, and the connection goes to a checked one: a name that resolves otherwise
a moment later changes nothing. Proxies of the environment are not used, for they would resolve the name again.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from transformers.utils import logging

from ..errors import VideoError


MAX_BYTES = 1 << 30
TIMEOUT = 600.0
MAX_REDIRECTS = 5
CHUNK = 1 << 16
REDIRECTS = (301, 302, 303, 307, 308)
_SAFE = "/?%:@!$&'()*+,;=~"  # in a path or query; what else is there is written as %XX
NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class DownloadOptions:
    """What a download may take.

    Attributes:
        max_bytes: largest file, in bytes; 1 GiB by default.
        timeout: seconds for the whole download, redirects included.
        allow_private: whether loopback, private and link-local addresses are opened.
        progress: show a bar on stderr.

    Raises:
        VideoError: a limit is no positive number.

    Example:
        >>> DownloadOptions(timeout=30).max_bytes
        1073741824
    """

    max_bytes: int = MAX_BYTES
    timeout: float = TIMEOUT
    allow_private: bool = False
    progress: bool = False

    def __post_init__(self):
        for name, value in (("max_download_bytes", self.max_bytes), ("timeout", self.timeout)):
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < float("inf"):
                raise VideoError(f"{name} must be a positive number, got {value!r}")


def is_url(source) -> bool:
    """Whether this is an http(s) address.

    Example:
        >>> is_url("https://example.org/clip.mp4"), is_url("clip.mp4")
        (True, False)
    """
    return isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE) is not None


def without_query(url: str) -> str:
    """An address as messages show it: what follows `?`, and a password, may be secrets.

    Raises:
        VideoError: it is no address; one line.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise VideoError(f"{url}: is no valid address ({error}): check it") from None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def download(url: str, path: Path, options: DownloadOptions) -> None:
    """Write what an http(s) address holds into a file.

    Raises:
        VideoError: it cannot be reached, holds a web page, or is beyond a limit; one line that names the address.

    Example:
        >>> download("https://example.org/clip.mp4", Path("clip.mp4"), DownloadOptions())  # doctest: +SKIP
    """
    name, deadline = without_query(url), time.monotonic() + options.timeout
    too_slow = VideoError(f"{name}: took longer than {options.timeout:g} s: download it yourself, or raise timeout")
    try:
        for _ in range(MAX_REDIRECTS + 1):
            with _response(url, name, options, deadline) as response:
                if response.status not in REDIRECTS:
                    return _save(response, name, path, options, too_slow, deadline)
                url = urljoin(url, response.headers.get("Location") or "")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        if time.monotonic() >= deadline:
            raise too_slow from None
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise VideoError(f"{name}: cannot be downloaded ({reason}): check the address and the network") from None
    raise VideoError(f"{name}: is redirected more than {MAX_REDIRECTS} times: pass the address of the file itself")


@contextmanager
def _response(url: str, name: str, options: DownloadOptions, deadline: float) -> Iterator[http.client.HTTPResponse]:
    """The answer to GET. At the deadline the socket is shut, however slowly its other end goes on."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise VideoError(f"{name}: leads to {without_query(url)}, which is no http(s) address: pass the file's own")
    if parts.username is not None:
        raise VideoError(f"{name}: addresses with a user name are not opened: download it and pass the file")
    with _open_socket(parts, name, options, deadline) as sock, sock.dup() as handle:  # TLS takes the first one over
        watchdog = threading.Timer(max(deadline - time.monotonic(), 0), _shut, [handle])
        watchdog.daemon = True
        watchdog.start()
        try:
            with _get(parts, sock) as response:
                yield response
        finally:
            watchdog.cancel()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # closed already
        sock.shutdown(socket.SHUT_RDWR)


def _get(parts: SplitResult, sock: socket.socket) -> http.client.HTTPResponse:
    secure = parts.scheme == "https"
    if secure:
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=_ascii_host(parts))
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(_ascii_host(parts), parts.port)
    connection.sock, connection.auto_open = sock, 0  # never another connection than the checked one
    target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    headers = {"User-Agent": "glus-hf", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
    connection.request("GET", target, headers=headers)
    return connection.getresponse()


def _ascii_host(parts: SplitResult) -> str:
    host = parts.hostname
    return host if ":" in host else host.encode("idna").decode()


def _open_socket(parts: SplitResult, name: str, options: DownloadOptions, deadline: float) -> socket.socket:
    """A connection to an address that was checked."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(_ascii_host(parts), port, type=socket.SOCK_STREAM)
    addresses = [address[:2] for *_, address in found]
    for host, _ in addresses:
        if not options.allow_private and not is_public(host):
            raise VideoError(
                f"{name}: leads to the private address {host}, which is not opened: download it, or pass "
                "allow_private_addresses=True (--allow-private-addresses) if you trust it"
            )
    failure = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection(address, max(deadline - time.monotonic(), 0.001))
        except OSError as error:
            failure = error
    raise failure


def is_public(host: str) -> bool:
    """Whether an IP address is one of the open internet, the IPv4 address inside an IPv6 one too.

    Example:
        >>> is_public("8.8.8.8"), is_public("169.254.169.254"), is_public("::ffff:10.0.0.1")
        (True, False, False)
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    inner = [address]
    if address.version == 6:
        inner += [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        inner += [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)] if address in NAT64 else []
        if address.ipv4_mapped:
            inner.remove(address)
    return all(each.is_global and not each.is_multicast for each in inner if each is not None)


def _save(response, name: str, path: Path, options: DownloadOptions, too_slow: VideoError, deadline: float) -> None:
    if response.status != 200:
        raise VideoError(f"{name}: the server answered {response.status} {response.reason}: check the address")
    if response.headers.get_content_type() == "text/html":
        raise VideoError(f"{name}: is a web page, no video: pass the address of the video file itself")
    length, size = response.length, 0
    too_large = VideoError(
        f"{name}: is larger than {options.max_bytes:,} bytes: raise max_download_bytes (--max-download)"
    )
    if length is not None and length > options.max_bytes:
        raise too_large
    settings = {"total": length, "desc": "downloading", "unit": "B", "unit_scale": True}
    with open(path, "wb") as file, logging.tqdm(disable=not options.progress, **settings) as bar:
        while chunk := response.read1(CHUNK):
            size += len(chunk)
            if size > options.max_bytes:
                raise too_large
            file.write(chunk)
            bar.update(len(chunk))
    if time.monotonic() >= deadline:
        raise too_slow
    if length is not None and size < length:
        raise VideoError(f"{name}: broke off after {size:,} of {length:,} bytes: try again")


__all__ = ["DownloadOptions", "download", "is_public", "is_url", "without_query"]
