"""A person's browser, as far as the notebook's pages and kernels are concerned."""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, OpenerDirector, ProxyHandler, Request, build_opener

from websockets.sync.client import ClientConnection, connect

SECONDS = 30.0


class Visitor:
    """Cookies and requests at one public URL.

    Connects to 127.0.0.1 and sends the host name: glibc does not resolve ``*.localhost``. Where no
    agent is between them, ``forwarded`` has what one would add.
    """

    def __init__(self, url: str, forwarded: dict[str, str] | None = None) -> None:
        self.url = url
        self._forwarded = forwarded or {}
        self._netloc = urlsplit(url).netloc
        self._port = urlsplit(url).port
        self._cookies = CookieJar()
        self._opener: OpenerDirector = build_opener(
            ProxyHandler({}), HTTPCookieProcessor(self._cookies)
        )

    def page(self, path: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Return status, path after redirects, and text of a page; with ``form``, by POST."""
        data = urlencode(form).encode() if form else None
        return self._open(Request(self._address(path), data, self._headers))

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON answer of Jupyter's REST API."""
        headers = self._headers | {"X-XSRFToken": self._cookie("_xsrf")}
        data = None if body is None else json.dumps(body).encode()
        status, _, text = self._open(Request(self._address(path), data, headers, method=method))
        assert status < 400, text
        return json.loads(text or "null")

    def log_in(self, password: str, landing: str = "/lab") -> bool:
        """Type a password on the login page, on the way to another; return whether one is there."""
        _, _, form = self.page("/login")
        found = re.search(r'name="_xsrf" value="([^"]+)"', form)
        assert found, form
        status, _, _ = self.page(
            f"/login?next={quote(landing)}", {"_xsrf": found[1], "password": password}
        )
        return status == 200

    def kernel(self, kind: str = "python3") -> str:
        """Start a kernel for a new notebook and return its id."""
        name = f"{uuid.uuid4().hex}.ipynb"
        session = self.api(
            "POST",
            "/api/sessions",
            {"path": name, "name": name, "type": "notebook", "kernel": {"name": kind}},
        )
        return str(session["kernel"]["id"])

    def kernels(self) -> list[str]:
        """Return the ids of the kernels that are alive."""
        return [kernel["id"] for kernel in self.api("GET", "/api/kernels")]

    def end_kernels(self, but: str = "") -> None:
        """End the kernels of all notebooks but the one of this name."""
        for session in self.api("GET", "/api/sessions"):
            # jupyter-collaboration puts the name of its drive before the path.
            if session["path"].removeprefix("RTC:") != f"{but}.ipynb":
                self.api("DELETE", f"/api/sessions/{session['id']}")

    def connection(self, kernel: str) -> AbstractContextManager[ClientConnection]:
        """Connect to a kernel over a websocket, as a page does."""
        return self.websocket(f"/api/kernels/{kernel}/channels")

    @contextmanager
    def websocket(self, path: str) -> Iterator[ClientConnection]:
        """Open a websocket, as a page does."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)
        with (
            closing(socket.create_connection(("127.0.0.1", self._port), SECONDS)) as raw,
            connect(
                f"ws://{self._netloc}{path}",
                sock=raw,
                additional_headers=self._forwarded | {"Cookie": cookies, "Origin": self.url},
            ) as channel,
        ):
            yield channel

    @contextmanager
    def computing(self, kernel: str) -> Iterator[None]:
        """Have a cell run for longer than the test takes."""
        with self.connection(kernel) as channel:
            next(self._replies(channel, "import time; time.sleep(600)"))
            yield

    def run(self, kernel: str, code: str) -> str:
        """Execute a cell over the websocket and return what it prints."""
        printed = ""
        with self.connection(kernel) as channel:
            for reply in self._replies(channel, code):
                content = reply["content"]
                if reply["msg_type"] == "stream":
                    printed += content["text"]
                elif reply["msg_type"] == "error":
                    raise AssertionError("\n".join(content["traceback"]))
                elif reply["msg_type"] == "status" and content["execution_state"] == "idle":
                    break
        return printed

    def _replies(self, channel: ClientConnection, code: str) -> Iterator[dict[str, Any]]:
        """Send a cell, and yield what the kernel answers; the first is that it is busy.

        The messages are those of Jupyter's kernel messaging protocol 5, as JSON.
        """
        message_id = uuid.uuid4().hex
        header = {"msg_id": message_id, "msg_type": "execute_request", "session": uuid.uuid4().hex}
        request = {
            "header": header | {"username": "", "version": "5.3", "date": ""},
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False, "store_history": True},
            "channel": "shell",
            "buffers": [],
        }
        channel.send(json.dumps(request))
        while True:
            reply = json.loads(channel.recv(SECONDS))
            if reply["parent_header"].get("msg_id") == message_id:
                yield reply

    @property
    def _headers(self) -> dict[str, str]:
        return self._forwarded | {"Host": self._netloc}

    def _address(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}{path}"

    def _cookie(self, name: str) -> str:
        return next((str(cookie.value) for cookie in self._cookies if cookie.name == name), "")

    def _open(self, request: Request) -> tuple[int, str, str]:
        try:
            with self._opener.open(request, timeout=SECONDS) as reply:
                return reply.status, urlsplit(reply.url).path, reply.read().decode()
        except HTTPError as exc:
            with exc:
                return exc.code, urlsplit(exc.url).path, exc.read().decode()
