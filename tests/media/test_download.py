"""Downloads: what comes, and what is refused before or while it comes."""

import shutil
import socket
import ssl
import subprocess

import pytest

from glus_hf.errors import VideoError
from glus_hf.media.download import DownloadOptions, download, is_public, without_query
from tests.local_files import LocalFiles


TRUSTED = DownloadOptions(allow_private=True)
CONTENT = bytes(range(256)) * 500


def refused(words, url, path, options=TRUSTED):
    with pytest.raises(VideoError, match=words) as error:
        download(url, path, options)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_a_file_with_query_and_redirects(tmp_path):
    with LocalFiles({"/a%20b.mp4": CONTENT}, {"/start": "/again?x=1", "/again": "/a%20b.mp4"}) as server:
        download(f"{server.url}/start?token=secret", tmp_path / "file", TRUSTED)
        download(f"{server.url}/a b.mp4", tmp_path / "other", TRUSTED)
        assert server.seen[0] == ("/start?token=secret", f"127.0.0.1:{server.port}")
    assert (tmp_path / "file").read_bytes() == (tmp_path / "other").read_bytes() == CONTENT


def test_private_addresses_are_refused_without_a_connection(tmp_path):
    with LocalFiles({"/clip.mp4": CONTENT}) as server:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"):
            refused(
                "private address",
                f"http://{host}:{server.port}/clip.mp4?key=secret",
                tmp_path / "x",
                DownloadOptions(),
            )
        assert server.seen == []


@pytest.mark.parametrize(
    "address",
    ["10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "::1", "fe80::1%eth0", "fd00::1"]
    + ["::ffff:192.168.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "224.0.0.1", "0.0.0.0", "255.255.255.255"],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


def test_addresses_that_are_public():
    assert all(is_public(address) for address in ("1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"))


def test_every_hop_is_checked(tmp_path, monkeypatch):
    """The first host is let pass; where it redirects to is not."""
    monkeypatch.setattr("glus_hf.media.download.is_public", lambda host: host != "127.0.0.2")
    with LocalFiles(redirects={"/clip.mp4": "http://127.0.0.2:1/metadata"}) as server:
        refused("private address 127.0.0.2", f"{server.url}/clip.mp4", tmp_path / "x", DownloadOptions())
        assert len(server.seen) == 1


def test_a_name_that_resolves_otherwise_later_changes_nothing(tmp_path, monkeypatch):
    """The connection goes to the address that was checked; the name is resolved once, and stays the Host."""
    with LocalFiles({"/clip.mp4": CONTENT}) as server:
        answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]])
        resolve = socket.getaddrinfo

        def rebinding(host, *arguments, **options):
            return next(answers) if host == "rebind.example" else resolve(host, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        download(f"http://rebind.example:{server.port}/clip.mp4", tmp_path / "file", TRUSTED)
        assert server.seen == [("/clip.mp4", f"rebind.example:{server.port}")]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_one_private_address_among_public_ones_is_enough(tmp_path, monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)) for host in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    refused("10.0.0.1", "http://two.example/clip.mp4", tmp_path / "x", DownloadOptions())


def test_size_is_bounded_by_header_and_by_content(tmp_path):
    small = DownloadOptions(max_bytes=1000, allow_private=True)
    with LocalFiles({"/clip.mp4": CONTENT}, endless=["/endless"]) as server:
        for path in ("clip.mp4", "endless"):
            refused("larger than 1,000 bytes", f"{server.url}/{path}", tmp_path / path, small)
    written = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(written) <= 1000


def test_time_is_bounded_however_slowly_it_comes(tmp_path):
    hasty = DownloadOptions(timeout=0.5, allow_private=True)
    with LocalFiles(slow=["/slow"]) as server:
        refused("longer than 0.5 s", f"{server.url}/slow", tmp_path / "x", hasty)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        refused("longer than 0.5 s", f"http://127.0.0.1:{silent.getsockname()[1]}/x", tmp_path / "x", hasty)


def test_redirects_are_bounded_and_stay_http(tmp_path):
    with LocalFiles(redirects={"/loop": "/loop", "/file": "file:///etc/passwd", "/nowhere": "ftp://host/x"}) as server:
        refused("more than 5 times", f"{server.url}/loop", tmp_path / "x")
        assert len(server.seen) == 6
        refused("no http", f"{server.url}/file", tmp_path / "x")
        refused("no http", f"{server.url}/nowhere", tmp_path / "x")


def test_what_is_no_file_is_one_line(tmp_path):
    with LocalFiles({"/page": b"<html>"}, headers={"Content-Type": "text/html; charset=utf-8"}) as server:
        refused("web page", f"{server.url}/page", tmp_path / "x")
        refused("answered 404", f"{server.url}/missing", tmp_path / "x")
        refused("user name", f"http://me:secret@127.0.0.1:{server.port}/page", tmp_path / "x")
    refused("cannot be downloaded", f"{server.url}/page", tmp_path / "x")  # nobody listens any more
    refused("no http|cannot be downloaded", "http:///clip.mp4", tmp_path / "x")
    refused("cannot be downloaded|valid address", "http://host:99999999/clip.mp4", tmp_path / "x")


def test_offline_is_one_line(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    refused("Name or service not known.*network", "https://example.org/clip.mp4?key=secret", tmp_path / "x")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Paths of a certificate for localhost that nobody signed, and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    folder = tmp_path_factory.mktemp("tls")
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    options = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(["openssl", "req", "-x509", "-days", "2", *options, *files], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def test_https_checks_the_certificate_and_keeps_the_limits(certificate, tmp_path, monkeypatch):
    with LocalFiles({"/clip.mp4": CONTENT}, slow=["/slow"], certificate=certificate) as server:
        url = f"https://localhost:{server.port}"
        refused("CERTIFICATE_VERIFY_FAILED|certificate verify failed", f"{url}/clip.mp4", tmp_path / "x")
        trusting = ssl.create_default_context(cafile=certificate[0])
        monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
        download(f"{url}/clip.mp4", tmp_path / "file", TRUSTED)
        refused("certificate", f"https://127.0.0.1:{server.port}/clip.mp4", tmp_path / "x")  # another name
        refused("longer than 0.5 s", f"{url}/slow", tmp_path / "x", DownloadOptions(timeout=0.5, allow_private=True))
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_broken_off_file_is_refused(tmp_path):
    with LocalFiles({"/clip.mp4": CONTENT}, headers={"Content-Length": str(len(CONTENT) + 9)}) as server:
        refused("broke off", f"{server.url}/clip.mp4", tmp_path / "x")


def test_limits_must_be_numbers():
    for bad in ({"timeout": 0}, {"timeout": "1"}, {"max_bytes": -1}, {"max_bytes": True}, {"timeout": float("inf")}):
        with pytest.raises(VideoError, match="positive number"):
            DownloadOptions(**bad)


def test_messages_show_no_secrets():
    assert without_query("https://me:secret@host/a/b.mp4?signature=secret#x") == "https://host/a/b.mp4"
