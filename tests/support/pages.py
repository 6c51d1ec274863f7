"""Pages of notebooks without a browser: they speak to the server as those of JupyterLab do.

A page starts a session, joins the room of its document, and executes cells over a websocket to the
kernel. What cells print, it puts into the document.

- Kernel messages: https://jupyter-client.readthedocs.io/en/stable/messaging.html, over a websocket:
  https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
- Documents: https://jupyter-ydoc.readthedocs.io/en/latest/schema.html
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jupyter_ydoc import YNotebook
from pycrdt import Array, Doc, Map, Provider, Text
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from tests.support.notebooks import Cell, File, code
from tests.support.waiting import wait_until_async

# Both are in use; of the two, JupyterLab prefers the first.
V1 = "v1.kernel.websocket.jupyter.org"
JSON = ""
# Far more than the server needs.
PATIENCE = 60
# A message's parts in V1, after the name of its channel.
PARTS = ("header", "parent_header", "metadata", "content")


@dataclass(frozen=True)
class Server:
    """A Jupyter server, as somebody has it who knows its token."""

    # With the base URL, and a slash in the end.
    url: str
    token: str
    root: Path

    async def api(self, method: str, path: str, body: object = None) -> Any:
        """What the server answers; HTTPClientError when it refuses."""
        request = HTTPRequest(
            f"{self.url}api/{quote(path)}",
            method,
            self._headers,
            None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
        )
        answer = await AsyncHTTPClient().fetch(request)
        return json.loads(answer.body) if answer.body else None

    async def connect(
        self, path: str, protocol: str = "", **query: str
    ) -> WebSocketClientConnection:
        """A websocket."""
        url = f"{self.url}api/{path}?{urlencode(query)}".replace("http", "ws", 1)
        request = HTTPRequest(url, headers=self._headers)
        return await websocket_connect(request, subprotocols=[protocol] if protocol else None)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}


@dataclass(frozen=True)
class Cue:
    """What a cell waits for, so that nobody has to guess how long something takes."""

    path: Path

    @property
    def awaited(self) -> str:
        """Code that waits for it."""
        return (
            f"import pathlib, time\nwhile not pathlib.Path({str(self.path)!r}).exists():\n"
            "    time.sleep(0.01)\n"
        )

    def give(self) -> None:
        """Let the cell go on."""
        self.path.touch()


@dataclass(frozen=True)
class Notebook(File):
    """A notebook on the disk of a server in this process: it cannot write while somebody waits."""

    _last: list[Cell] = field(default_factory=list)

    @property
    def cells(self) -> list[Cell]:
        """The cells with code, as the file has them, or had them before it was being written."""
        # Jupyter empties a file before it writes it.
        with suppress(json.JSONDecodeError):
            self._last[:] = (
                cell
                for cell in json.loads(self.path.read_text())["cells"]
                if cell["cell_type"] == "code"
            )
        return self._last


@dataclass
class Run:
    """A cell that a page has sent to its kernel."""

    cell: str
    answered: bool = False
    idle: bool = False
    clear_next: bool = False
    # As JupyterLab shows it, below all that the cell prints.
    pager: list[str] = field(default_factory=list)


class Page:
    """One page of a notebook. Cells are named as ``content`` names them: cell-0, cell-1, ..."""

    def __init__(self, server: Server, path: str, protocol: str = V1) -> None:
        self.server, self.path, self._protocol = server, path, protocol
        self.kernel = ""
        # What a cell asks its page.
        self.question = ""
        # While it is frozen, the page does nothing with what it gets.
        self.frozen = False
        # The cells that it has put something into which the kernel told it.
        self.told: set[str] = set()
        self._session = uuid.uuid4().hex
        self._document = YNotebook(Doc())
        self._runs: dict[str, Run] = {}
        self._displays: dict[str, list[tuple[str, int]]] = {}
        self._leaving: list[Callable[[], Awaitable[object]]] = []
        self._kernel_socket: WebSocketClientConnection | None = None

    # Coming and going.

    async def open(self) -> None:
        """Show the notebook, and connect to its kernel, which is started if there is none."""
        name = self.path.rpartition("/")[2]
        # jupyter-collaboration puts the name of its drive before the path.
        session = {"path": f"RTC:{self.path}", "name": name, "type": "notebook"}
        answer = await self.server.api("POST", "sessions", session | {"kernel": {}})
        self.kernel = answer["kernel"]["id"]
        async with asyncio.timeout(PATIENCE):
            await self.connect()

    async def connect(self) -> None:
        """Connect to the room of the document and to the kernel, maybe once more."""
        kind = {"format": "json", "type": "notebook"}
        answer = await self.server.api("PUT", f"collaboration/session/{self.path}", kind)
        room = f"json:notebook:{answer['fileId']}"
        address = f"collaboration/room/{room}"
        socket = await self.server.connect(address, sessionId=answer["sessionId"])
        provider = Provider(self._document.ydoc, Room(socket, room))
        task = asyncio.ensure_future(provider.start())
        await provider.started.wait()

        async def leave_room() -> None:
            await provider.stop()
            await task
            socket.close()

        self._leaving.append(leave_room)
        await provider.synced.wait()
        await self.connect_to_kernel()

    async def connect_to_kernel(self) -> None:
        """Connect to the kernel only."""
        address = f"kernels/{self.kernel}/channels"
        socket = await self.server.connect(address, self._protocol, session_id=self._session)
        task = asyncio.ensure_future(self._listen(socket))
        self._kernel_socket = socket

        async def leave_kernel() -> None:
            socket.close()
            await task

        self._leaving.append(leave_kernel)
        # Until then, what the kernel says is not passed on.
        await self._ask("kernel_info_request", {})

    async def leave(self) -> None:
        """End all connections, and see to it that the server knows. It may connect again."""
        leaving, self._leaving = self._leaving, []
        if not leaving:
            return
        async with asyncio.timeout(PATIENCE):
            before = await self._connections()
            await asyncio.gather(*(leave() for leave in leaving))
            while before and await self._connections() >= before:
                await asyncio.sleep(0.01)

    async def _connections(self) -> int:
        kernels = await self.server.api("GET", "kernels")
        return sum(kernel["connections"] for kernel in kernels if kernel["id"] == self.kernel)

    # What is on the page.

    def cell(self, name: str) -> Map[Any]:
        """A cell of the document."""
        (found,) = (cell for cell in self._document.ycells if cell["id"] == name)
        assert isinstance(found, Map)
        return found

    @property
    def cells(self) -> list[str]:
        """The names of all cells, in order."""
        return [cell["id"] for cell in self._document.ycells]

    def outputs(self, name: str = "cell-0") -> list[dict[str, Any]]:
        """What a cell shows below its code."""
        found: list[dict[str, Any]] = self.cell(name)["outputs"].to_py()
        return found

    def text(self, name: str = "cell-0") -> str:
        """What a cell has printed."""
        return "".join(output.get("text", "") for output in self.outputs(name))

    def prompt(self, name: str = "cell-0") -> str:
        """What is before a cell: ``[*]`` of one that runs, ``[1]`` of one that has ended."""
        cell = self.cell(name)
        count = cell["execution_count"]
        shown = "*" if cell["execution_state"] == "running" else int(count) if count else " "
        return f"[{shown}]"

    async def wait_for_text(self, text: str, name: str = "cell-0") -> None:
        """Return when this is part of what a cell shows."""
        await wait_until_async(lambda: text in self.text(name), what=f"{text!r} on the page")

    async def wait_for_prompt(self, prompt: str, name: str = "cell-0") -> None:
        """Return when a cell has it."""
        await wait_until_async(lambda: self.prompt(name) == prompt, what=f"{prompt} of {name}")

    # What a person does.

    def run(self, *names: str) -> None:
        """Execute cells, or the first one."""
        for name in names or ("cell-0",):
            cell = self.cell(name)
            with self._document.ydoc.transaction():
                cell["outputs"].clear()
                cell["execution_count"] = None
                cell["execution_state"] = "running"
            source = str(cell["source"])
            self._runs[self._execute(source, {"cellId": name, "trusted": True})] = Run(name)

    async def run_and_leave(self, text: str, *names: str) -> None:
        """Execute cells, and leave when the first of them shows this."""
        self.run(*names)
        await self.wait_for_text(text, names[0] if names else "cell-0")
        await self.leave()

    def run_in_console(self, source: str) -> None:
        """Execute something that is no cell of the notebook."""
        self._execute(source, {})

    def answer(self, text: str) -> None:
        """Answer what a cell asks."""
        self.question = ""
        self._send("stdin", "input_reply", {"status": "ok", "value": text})

    def clear(self, name: str = "cell-0") -> None:
        """Remove the outputs of a cell."""
        with self._document.ydoc.transaction():
            self.cell(name)["outputs"].clear()
            self.cell(name)["execution_count"] = None

    def type(self, text: str, name: str = "cell-0") -> None:
        """Add to the end of a cell."""
        source = self.cell(name)["source"]
        source += text

    def insert(self, place: int, source: str) -> None:
        """Make a new cell."""
        cell = {**code(source), "id": f"new-{place}"}
        self._document.ycells.insert(place, self._document.create_ycell(cell))

    def move(self, name: str, place: int) -> None:
        """Move a cell: a copy with the same name takes its place."""
        cell = self.cell(name)
        copy = self._document.create_ycell(cell.to_py() or {})
        state = cell["execution_state"]
        with self._document.ydoc.transaction():
            self.delete(name)
            self._document.ycells.insert(place, copy)
            self.cell(name)["execution_state"] = state

    def delete(self, name: str) -> None:
        """Delete a cell."""
        del self._document.ycells[self.cells.index(name)]

    # Messages.

    def _execute(self, source: str, metadata: dict[str, object]) -> str:
        content = {
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": True,
        }
        return self._send("shell", "execute_request", content, metadata)

    async def _ask(self, kind: str, content: dict[str, object]) -> None:
        """Return when the kernel has begun with something; one that is busy does not at once."""
        state = await self.server.api("GET", f"kernels/{self.kernel}")
        if state["execution_state"] == "busy":
            return
        sent = Run("")
        self._runs[self._send("shell", kind, content)] = sent
        await wait_until_async(lambda: sent.answered and sent.idle, what="an answer of the kernel")

    def _send(
        self,
        channel: str,
        kind: str,
        content: dict[str, object],
        metadata: dict[str, object] | None = None,
    ) -> str:
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": self._session,
            "username": "",
            "date": "2026-01-01T00:00:00Z",
            "version": "5.4",
        }
        message = dict(zip(PARTS, (header, {}, metadata or {}, content), strict=True))
        assert self._kernel_socket is not None
        if self._protocol == V1:
            self._kernel_socket.write_message(as_v1(channel, message), binary=True)
        else:
            self._kernel_socket.write_message(json.dumps({**message, "channel": channel}))
        return str(header["msg_id"])

    async def _listen(self, socket: WebSocketClientConnection) -> None:
        while (data := await socket.read_message()) is not None:
            if not self.frozen:
                self._heard(*(from_v1(data) if isinstance(data, bytes) else from_json(data)))

    def _heard(self, channel: str, message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        run = self._runs.get(message["parent_header"].get("msg_id", ""))
        state = content.get("execution_state") if kind == "status" else None
        if state in ("restarting", "autorestarting"):
            # JupyterLab forgets all that it waits for.
            self._runs.clear()
        elif run is None:
            return
        elif channel == "stdin" and kind == "input_request":
            self.question = content["prompt"]
        elif kind.endswith("_reply"):
            run.answered = True
            if run.cell in self.cells and kind == "execute_reply":
                payload = content.get("payload") or []
                run.pager = [part["data"] for part in payload if part["source"] == "page"]
                with self._document.ydoc.transaction():
                    self.cell(run.cell)["execution_count"] = content.get("execution_count")
                    self.cell(run.cell)["execution_state"] = "idle"
        elif state == "idle":
            run.idle = True
        elif run.cell in self.cells:
            with self._document.ydoc.transaction():
                self._show(run, kind, content)
        if run is not None and run.answered and run.idle and run.pager:
            for data in run.pager:
                self._append(run, {"output_type": "display_data", "data": data, "metadata": {}})
            run.pager = []

    def _show(self, run: Run, kind: str, content: dict[str, Any]) -> None:
        self.told.add(run.cell)
        outputs = self.cell(run.cell)["outputs"]
        if kind == "clear_output":
            run.clear_next = content["wait"]
            if not content["wait"]:
                outputs.clear()
            return
        display: str = (content.get("transient") or {}).get("display_id", "")
        if kind == "update_display_data":
            for name, place in self._displays.get(display, []):
                shown = self.cell(name)["outputs"][place]
                shown["data"], shown["metadata"] = content["data"], content["metadata"]
            return
        if kind not in ("stream", "display_data", "execute_result", "error"):
            return
        if run.clear_next:
            outputs.clear()
            run.clear_next = False
        if kind == "stream":
            self._print(outputs, content["name"], content["text"])
            return
        kept = {name: value for name, value in content.items() if name != "transient"}
        self._append(run, {"output_type": kind, **kept})
        if display:
            self._displays.setdefault(display, []).append((run.cell, len(outputs) - 1))

    def _append(self, run: Run, output: dict[str, Any]) -> None:
        self.cell(run.cell)["outputs"].append(Map(output))

    @staticmethod
    def _print(outputs: Array[Any], name: str, added: str) -> None:
        last = outputs[-1] if len(outputs) else None
        if last is None or last.get("name") != name:
            outputs.append(Map({"output_type": "stream", "name": name, "text": Text("")}))
            last = outputs[-1]
        text = last["text"]
        if not {"\r", "\b"} & set(added):
            text += added
            return
        shown = as_terminal(str(text) + added)
        text.clear()
        text += shown


class Room:
    """The room of a document, as pycrdt wants to have it."""

    def __init__(self, socket: WebSocketClientConnection, path: str) -> None:
        self._socket, self.path = socket, path

    def __aiter__(self) -> Room:
        return self

    async def __anext__(self) -> bytes:
        message = await self._socket.read_message()
        if message is None:
            raise StopAsyncIteration
        assert isinstance(message, bytes)
        return message

    recv = __anext__

    async def send(self, message: bytes) -> None:
        """Send a message; while there is no connection, the document waits for the next one."""
        try:
            await self._socket.write_message(message, binary=True)
        except WebSocketClosedError:
            return


def as_terminal(text: str) -> str:
    """Lines with what a terminal would show of them."""
    lines = []
    for line in text.split("\n"):
        shown: list[str] = []
        cursor = 0
        for letter in line:
            if letter == "\r":
                cursor = 0
            elif letter == "\b":
                cursor = max(0, cursor - 1)
                del shown[cursor if cursor == len(shown) - 1 else len(shown) :]
            else:
                shown[cursor : cursor + 1] = [letter]
                cursor += 1
        lines.append("".join(shown))
    return "\n".join(lines)


def as_v1(channel: str, message: dict[str, Any]) -> bytes:
    """A message as bytes: how many offsets, the offsets, the channel, and the parts."""
    parts = [channel.encode(), *(json.dumps(message[part]).encode() for part in PARTS)]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    numbers = [len(offsets), *offsets]
    return b"".join([*(number.to_bytes(8, "little") for number in numbers), *parts])


def from_v1(data: bytes) -> tuple[str, dict[str, Any]]:
    """Channel and message."""

    def number(place: int) -> int:
        return int.from_bytes(data[8 * place : 8 * place + 8], "little")

    offsets = [number(place) for place in range(1, number(0) + 1)]
    channel, *parts = (data[begin:end] for begin, end in pairwise(offsets))
    return channel.decode(), dict(zip(PARTS, map(json.loads, parts[: len(PARTS)]), strict=True))


def from_json(data: str) -> tuple[str, dict[str, Any]]:
    """Channel and message."""
    message = json.loads(data)
    return message["channel"], message


OpenPage = Callable[..., Awaitable[Page]]
NewFile = Callable[[str, Sequence[str | Cell]], Notebook]
