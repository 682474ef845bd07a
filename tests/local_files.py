"""A server on 127.0.0.1 that hands out files, redirects and misbehaves as it is told."""

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalFiles:
    """Serves `files` (path -> bytes) and `redirects` (path -> address) while the `with` block runs; `slow` paths give
    a byte every 0.05 s without end, `endless` ones as fast as they can. `seen` are the paths that were asked for, and
    the Host that was named. With a `certificate` and key it speaks TLS."""

    def __init__(self, files=None, redirects=None, slow=(), endless=(), headers=None, certificate=None):
        self.files, self.redirects, self.slow, self.endless = files or {}, redirects or {}, slow, endless
        self.headers, self.certificate, self.seen = headers or {}, certificate, []

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"local": self}))
        self.server.daemon_threads = True
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    local: LocalFiles

    def do_GET(self):
        self.local.seen.append((self.path, self.headers["Host"]))
        path = self.path.partition("?")[0]
        if path in self.local.redirects:
            return self.head(302, {"Location": self.local.redirects[path]})
        if path in self.local.slow or path in self.local.endless:
            return self.trickle(0.05 if path in self.local.slow else 0)
        content = self.local.files.get(path)
        if content is None:
            return self.head(404, {})
        self.head(200, {"Content-Length": str(len(content)), **self.local.headers})
        self.wfile.write(content)

    def head(self, code, headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def trickle(self, seconds):
        self.head(200, {})
        try:
            while True:
                self.wfile.write(b"x" * (1 if seconds else 65536))
                time.sleep(seconds)
        except OSError:
            pass  # the other end has had enough

    def log_message(self, *_):
        pass
