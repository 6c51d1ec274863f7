"""A Jupyter server with the guard alone, in a process of its own, and the attacks on it."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from ansible_collections.anywhere.notebook.plugins.filter.jupyter_password_hash import (
    jupyter_password_hash,
)
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tests.support import CHECKOUT
from tests.support.ports import free_port
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

PASSWORD, TOKEN = "what the owner types", "0123456789abcdef" * 3
OWNER, THIEF = "198.51.100.7", "203.0.113.66"
# What a server of its own would load besides, which nobody needs here.
OTHERS = (
    "jupyter_lsp",
    "jupyter_server_fileid",
    "jupyter_server_ydoc",
    "jupyterlab",
    "notebook",
    "notebook_shim",
)
CONFIG = """
import pathlib, sys
c = get_config()
base = pathlib.Path(__file__).resolve().parent
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.port = {port}
c.ServerApp.port_retries = 0
c.ServerApp.allow_remote_access = True
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True
c.ServerApp.root_dir = str(base / "notebooks")
c.ServerApp.jpserver_extensions = {extensions}
c.KernelManager.cache_ports = False
sys.path.insert(0, {guard!r})
import notebook_guard
from notebook_guard import connections, in_force, limits
# What else the role sets, and that it does, is of no concern here.
in_force.require = lambda app: None
{settings}
notebook_guard.apply(c, base)
"""


class Person(Visitor):
    """A visitor of a server that has no JupyterLab."""

    def log_in(self, password: str = PASSWORD, landing: str = "/api") -> bool:
        return super().log_in(password, landing)


@dataclass
class Guarded:
    """The server, whose directory is ``base``."""

    base: Path
    settings: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        (self.base / "notebooks").mkdir(parents=True)
        (self.base / "token").write_text(TOKEN)
        self.set_password(PASSWORD)
        config = CONFIG.format(
            port=self.port,
            extensions=dict.fromkeys(OTHERS, False),
            guard=str(CHECKOUT / "roles/jupyter/files/guard"),
            settings=self.settings,
        )
        (self.base / "jupyter_server_config.py").write_text(config)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.base / "log").read_text()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        places = {
            "JUPYTER_CONFIG_PATH": str(self.base),
            "JUPYTER_CONFIG_DIR": str(self.base / "none"),
            "JUPYTER_RUNTIME_DIR": str(self.base / "runtime"),
        }
        with (self.base / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyter_server"],
                env=os.environ | places,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, what=f"an answer of {self.url}")

    def stop(self) -> None:
        """End it, and its kernels with it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)

    def visitor(self, address: str = OWNER) -> Person:
        """Somebody whom ngrok's agent says to be at this address."""
        return Person(self.url, {"X-Forwarded-For": address})

    def owner(self) -> Person:
        """The owner, logged in."""
        visitor = self.visitor()
        assert visitor.log_in()
        return visitor

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, /, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        """The answer to a request without cookies; names of headers have ``_`` for ``-``."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer, text

    def state(self) -> dict[str, Any]:
        """What the guard tells a program of the account."""
        _, text = self.ask("/api/notebook-guard", Authorization=f"token {TOKEN}")
        return dict(json.loads(text))

    def proof(self, nonce: str) -> str:
        """What it has to answer to a nonce."""
        message = f"anywhere.notebook proof\n{nonce}".encode()
        return hmac.new(TOKEN.encode(), message, "sha256").hexdigest()

    def set_password(self, password: str) -> None:
        """Write another hash, as setup does: the file is there, or it is not."""
        part = self.base / "password_hash.part"
        part.write_text(jupyter_password_hash(password, "host"))
        part.replace(self.base / "password_hash")

    def grows(self, what: Callable[[], object]) -> int:
        """Bytes by which its memory has been larger than before, at most, while this was done."""
        assert self.process is not None
        # From now on, the peak is counted anew (proc_pid_clear_refs(5)).
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        before = self._memory("VmRSS")
        what()
        return self._memory("VmHWM") - before

    def _memory(self, kind: str) -> int:
        # proc_pid_status(5)
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{kind}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            return self.ask("/api")[0].status == 200
        except OSError:
            return False


@contextmanager
def guarded(base: Path, settings: str = "") -> Iterator[Guarded]:
    """Run one; ``settings`` are lines of its configuration."""
    server = Guarded(base, settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@dataclass
class Guesses:
    """What became of the guesses of an attack, and how long others waited meanwhile (seconds)."""

    answers: Counter[int] = field(default_factory=Counter)
    page: list[float] = field(default_factory=list)
    owner: list[float] = field(default_factory=list)


async def attack(
    server: Guarded, seconds: float, rate: float, addresses: int, owner: Person, session: Person
) -> Guesses:
    """Guess at this rate; ``session`` looks at a page all the time, and ``owner`` logs in."""
    guesses = Guesses()
    client = AsyncHTTPClient(max_clients=1000)
    page = await client.fetch(f"{server.url}/login")
    found = re.search(r'name="_xsrf" value="([^"]+)"', page.body.decode())
    assert found
    form, cookie = f"_xsrf={found[1]}&password=guess", f"_xsrf={found[1]}"
    end = time.monotonic() + seconds

    async def guess(number: int) -> None:
        headers = {
            "X-Forwarded-For": f"203.0.{number % addresses // 250}.{number % addresses % 250}",
            "Cookie": cookie,
        }
        asked = HTTPRequest(f"{server.url}/login", "POST", headers, form, request_timeout=60)
        guesses.answers[(await client.fetch(asked, raise_error=False)).code] += 1

    async def look() -> None:
        while time.monotonic() < end:
            begun = time.monotonic()
            await asyncio.to_thread(session.api, "GET", "/api/status")
            guesses.page.append(time.monotonic() - begun)
            await asyncio.sleep(0.1)

    async def log_in() -> None:
        await asyncio.sleep(seconds / 2)
        begun = time.monotonic()
        assert await asyncio.to_thread(owner.log_in)
        guesses.owner.append(time.monotonic() - begun)

    others = [asyncio.create_task(look()), asyncio.create_task(log_in())]
    begun, sent = time.monotonic(), []
    for number in range(int(seconds * rate)):
        sent.append(asyncio.create_task(guess(number)))
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
    await asyncio.gather(*sent, *others)
    return guesses
