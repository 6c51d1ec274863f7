"""A private tmux, a web server with captured answers, and a way to run modules."""

from __future__ import annotations

import http.server
import importlib
import json
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any, TypeVar

import pytest
from ansible.module_utils.testing import patch_module_args

MODULES = "ansible_collections.anywhere.notebook.plugins.modules"

T = TypeVar("T")


class TmuxServer:
    """A tmux server of its own, which starts with its first session."""

    def __init__(self) -> None:
        self.socket_name = f"unit-{uuid.uuid4().hex[:8]}"
        # A test may take tmux out of PATH; the server still has to end.
        self._binary = shutil.which("tmux") or "tmux"

    def ask(self, *words: str) -> list[str]:
        """The lines that tmux answers; none when there is no server."""
        argv = [self._binary, "-u", "-L", self.socket_name, *words]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", check=False)
        return done.stdout.splitlines()

    def sessions(self) -> list[str]:
        """Names of the sessions."""
        return self.ask("list-sessions", "-F", "#{session_name}")


class Site(http.server.ThreadingHTTPServer):
    """A web server that gives the answers it was told, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = defaultdict(list)
        self.requests: list[tuple[str, Message]] = []
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
        status, headers, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run a module of the collection; its result."""

    def run(name: str, /, *, check_mode: bool = False, **args: object) -> dict[str, Any]:
        module = importlib.import_module(f"{MODULES}.{name}")
        document = {"_ansible_check_mode": check_mode, "_ansible_diff": True, **args}
        with patch_module_args(document), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


@pytest.fixture
def tmux(monkeypatch: pytest.MonkeyPatch) -> Iterator[TmuxServer]:
    """A tmux server that ends with the test."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setenv("TMUX_TMPDIR", directory)
        server = TmuxServer()
        try:
            yield server
        finally:
            server.ask("kill-server")


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server that ends with the test."""
    with Site() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def closed_address() -> str:
    """An address of this machine where nobody listens."""
    with Site() as server:
        return server.address


@pytest.fixture
def eventually() -> Callable[[Callable[[], T]], T]:
    """Ask until the answer is truthy; the answer."""

    def ask(look: Callable[[], T]) -> T:
        limit = time.monotonic() + 10
        while not (found := look()):
            assert time.monotonic() < limit, "it never came"
            time.sleep(0.02)
        return found

    return ask
