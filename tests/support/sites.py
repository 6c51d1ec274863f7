"""A web server with captured answers, and listeners that say anything."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from typing import TypeVar

S = TypeVar("S", bound=socketserver.BaseServer)
Talk = Callable[[socket.socket], None]


@contextmanager
def serving(server: S) -> Iterator[S]:
    """Have a server answer as long as the ``with`` block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def listener(talk: Talk) -> Iterator[str]:
    """Listen on loopback, and talk to whoever comes; where that is, as ``host:port``."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # The test is over.
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        talk(connection)
                    except OSError:  # It was left alone.
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
    thread.join()


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
