"""A web server with captured answers."""

from __future__ import annotations

import http.server
import json
from collections import defaultdict
from email.message import Message


class Site(http.server.ThreadingHTTPServer):
    """A web server that gives the answers it was told, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, page: type[Page] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), page or Page)
        self.answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = defaultdict(list)
        # Paths that take a token.
        self.closed: set[str] = set()
        self.requests: list[tuple[str, Message]] = []
        self.forms: list[tuple[str, bytes]] = []
        self.address = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.address}"

    def answer(
        self, path: str, body: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """Add an answer: each is given once, in this order, and the last one ever after."""
        text = body if isinstance(body, str) else json.dumps(body)
        self.answers[path].append((status, headers or {}, text.encode()))

    def asked(self, path: str) -> list[Message]:
        """The headers of every request for ``path``."""
        return [headers for asked, headers in self.requests if asked == path]


class Page(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers))
        # What agent 2.3 says to a path it does not know.
        unknown = {"status_code": 404, "msg": "Not Found", "details": {"path": self.path}}
        waiting = self.server.answers[self.path] or [(404, {}, json.dumps(unknown).encode())]
        if self.path in self.server.closed and not self.headers["Authorization"]:
            waiting = [(403, {}, b'{"message": "Forbidden"}')]
        status, headers, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.forms.append((self.path, form))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of the tests clean."""
