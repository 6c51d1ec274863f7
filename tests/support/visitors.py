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

from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

SECONDS = 30.0
# Of a message, in their order, with which v1.kernel.websocket.jupyter.org has them.
PARTS = ("header", "parent_header", "metadata", "content")


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

    def disabled_extensions(self, path: str) -> list[str]:
        """Which extensions a page of JupyterLab or Notebook is told to do without."""
        found = re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', self.page(path)[2], re.S)
        assert found
        return list(json.loads(found[1])["disabledExtensions"])

    @property
    def cookies(self) -> str:
        """As a header has them."""
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)

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

    def connection(
        self, kernel: str, protocol: str = ""
    ) -> AbstractContextManager[ClientConnection]:
        """Connect to a kernel over a websocket, as a page does."""
        return self.websocket(f"/api/kernels/{kernel}/channels", protocol)

    @contextmanager
    def websocket(self, path: str, protocol: str = "") -> Iterator[ClientConnection]:
        """Open a websocket, as a page does; ``protocol`` is its subprotocol."""
        with (
            closing(socket.create_connection(("127.0.0.1", self._port), SECONDS)) as raw,
            connect(
                f"ws://{self._netloc}{path}",
                sock=raw,
                additional_headers=self._forwarded | {"Cookie": self.cookies, "Origin": self.url},
                subprotocols=[Subprotocol(protocol)] if protocol else None,
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

    def debug(self, kernel: str, protocol: str = "") -> bool:
        """Ask a kernel for its debugger, as a front end does; whether it is on then."""
        asked = {"type": "request", "seq": 1, "command": "initialize", "arguments": {}}
        requests = [
            _message("debug_request", "control", **asked),
            # Answered after it.
            _message("kernel_info_request", "control"),
        ]
        on = False
        with self.connection(kernel, protocol) as channel:
            for request in requests:
                if protocol:
                    channel.send(serialize_msg_to_ws_v1(request, "control", _packed))
                else:
                    channel.send(json.dumps(request))
            while True:
                got = channel.recv(SECONDS)
                if isinstance(got, bytes):
                    parts = [json.loads(part) for part in deserialize_msg_from_ws_v1(got)[1][:4]]
                    reply = dict(zip(PARTS, parts, strict=True))
                else:
                    reply = json.loads(got)
                kind = reply["header"]["msg_type"]
                if kind == "debug_reply":
                    on = reply["content"]["success"]
                answered = reply["parent_header"].get("msg_id")
                if kind == "kernel_info_reply" and answered == requests[1]["header"]["msg_id"]:
                    return on

    def _replies(self, channel: ClientConnection, code: str) -> Iterator[dict[str, Any]]:
        """Send a cell, and yield what the kernel answers; the first is that it is busy.

        The messages are JSON.
        """
        request = _message("execute_request", "shell", code=code, silent=False, store_history=True)
        channel.send(json.dumps(request))
        while True:
            reply = json.loads(channel.recv(SECONDS))
            if reply["parent_header"].get("msg_id") == request["header"]["msg_id"]:
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


def _message(kind: str, channel: str, **content: object) -> dict[str, Any]:
    """A message for a kernel, in Jupyter's kernel messaging protocol 5."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": uuid.uuid4().hex}
    return {
        "header": header | {"username": "", "version": "5.3", "date": ""},
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": channel,
        "buffers": [],
    }


def _packed(part: object) -> bytes:
    return json.dumps(part).encode()
