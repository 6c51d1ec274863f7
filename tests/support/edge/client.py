"""What tests use: an edge as a child process, and requests to its public addresses."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.error import HTTPError
from urllib.parse import urlsplit

from tests.support import CHECKOUT
from tests.support.waiting import wait_until

START_SECONDS = 60.0
STOP_SECONDS = 10.0

# Proxies of the environment have no business with loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Reply(NamedTuple):
    """What a visitor got."""

    status: int
    headers: Message
    body: bytes


class Edge:
    """An edge that lives as long as the ``with`` block.

    ``agent`` (``HOST:PORT``) and ``ca`` (a file) go into an agent's configuration. Agents of other
    machines come in at ``agent_host``, at any free port unless one is given; visitors always come
    from this machine.
    """

    agent: str
    ca: Path
    visitor_port: int
    control: str

    def __init__(self, state_dir: Path, agent_host: str = "127.0.0.1", agent_port: int = 0) -> None:
        self.state_dir = state_dir
        self.agent_host = agent_host
        self.agent_port = agent_port
        self.log_file = state_dir / "edge.log"
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            state_dir = str(self.state_dir.resolve())
            flags = ["--state-dir", state_dir, "--agent-host", self.agent_host]
            flags += ["--agent-port", str(self.agent_port)]
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.support.edge", *flags],
                cwd=CHECKOUT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            where = self._where(self._child)
        except BaseException:
            self.stop()
            raise
        self.agent = where["agent"]
        self.ca = Path(where["ca"])
        self.visitor_port = int(where["visitors"].rpartition(":")[2])
        self.control = where["control"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the child, and only it."""
        if self._child is None:
            return
        child, self._child = self._child, None
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def state(self) -> dict[str, Any]:
        """Sessions, endpoints, number of visitors, faults."""
        return self._control("GET", "/state")

    def fault(self, **changes: str | bool | None) -> dict[str, Any]:
        """Change faults; all of them as they are now."""
        return self._control("PATCH", "/faults", changes)

    def drop_sessions(self) -> int:
        """End every agent's session; how many there were."""
        return int(self._control("POST", "/drop/sessions")["dropped"])

    def drop_endpoints(self) -> int:
        """Forget every endpoint, which no agent is told of; how many there were."""
        return int(self._control("POST", "/drop/endpoints")["dropped"])

    def drop_visitors(self) -> int:
        """Cut every visitor's connection; how many there were."""
        return int(self._control("POST", "/drop/visitors")["dropped"])

    def _control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data, method=method)
        try:
            with _opener.open(request, timeout=10) as reply:
                answer: dict[str, Any] = json.load(reply)
                return answer
        except HTTPError as exc:
            raise ValueError(exc.read().decode().strip()) from exc

    def _where(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        """edge.json, once it is this child's."""

        def written() -> dict[str, Any] | None:
            if child.poll() is not None:
                raise RuntimeError(f"the edge ended with {child.returncode}:\n{self._log()}")
            try:
                where: dict[str, Any] = json.loads((self.state_dir / "edge.json").read_text())
            except FileNotFoundError:
                return None
            return where if where.get("pid") == child.pid else None

        where = wait_until(written, START_SECONDS, what="an edge that listens", pause=0.02)
        assert where
        return where

    def _log(self) -> str:
        return self.log_file.read_text(errors="replace")


def fetch(
    url: str,
    path: str = "/",
    headers: dict[str, str] | None = None,
    data: bytes | None = None,
    timeout: float = 20,
) -> Reply:
    """Visit a public address; with ``data``, by POST. Error answers are answers.

    It connects to 127.0.0.1 and sends the host name: glibc does not resolve ``*.localhost``.
    """
    parts = urlsplit(url)
    request = urllib.request.Request(
        f"http://127.0.0.1:{parts.port}{path}", data, {"Host": parts.netloc, **(headers or {})}
    )
    try:
        with _opener.open(request, timeout=timeout) as reply:
            return Reply(reply.status, reply.headers, reply.read())
    except HTTPError as exc:
        with exc:
            return Reply(exc.code, exc.headers, exc.read())
