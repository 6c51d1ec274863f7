"""Webhooks."""

from __future__ import annotations

import http.server
import json
from typing import Any


class Hook(http.server.HTTPServer):
    """A webhook that keeps what it gets, and answers with these statuses first."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Post)
        self.statuses = list(statuses)
        self.got: list[Any] = []
        self.url = f"http://127.0.0.1:{self.server_port}/s3cret"


class Post(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        assert self.path == "/s3cret"
        length = int(self.headers["Content-Length"])
        self.server.got.append(json.loads(self.rfile.read(length)))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of the tests clean."""
