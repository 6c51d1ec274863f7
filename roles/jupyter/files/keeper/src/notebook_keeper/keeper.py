"""Takes over the cells whose page has gone, until they have ended.

Pages execute cells as they always do, over a websocket to the kernel, and put what a cell prints
into the shared document. A listener of our own hears the same messages and keeps a journal of each
execution. When the websocket of a page closes, what its cells print is written by us from then on,
and no longer sent to pages, which see it through the document, whether it is the same page that
comes back or another one. The journal goes when the file has what it says.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any, cast

import zmq
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from traitlets import Int, Unicode, default
from traitlets.config import Configurable

from .document import Documents, Writer, find_cell, shows
from .journal import PRINTS, Journal
from .memory import KernelMemory
from .webhook import Ended, Webhook

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_events import EventLogger
    from jupyter_server.serverapp import ServerApp
    from jupyter_server_ydoc.rooms import DocumentRoom

PACE_SECONDS = 0.3
# A room saves a second after the last change; a cell that never pauses is saved this often.
SAVE_SECONDS = 8.0
# A page puts the last lines into the document soon after the cell has ended.
SETTLE_SECONDS = 8.0
# Within this time the server notices that a page was cut off: it pings pages every 30 s, and gives
# them 90 s to answer (WebSocketMixin of jupyter_server).
CUT_OFF_SECONDS = 120.0
RETRY_SECONDS = 1.0
# A page that comes back brings what it could not tell before, which we have written since. So we
# look again for a while, if it comes back within this time, and the journal is not large.
WATCH_SECONDS = 600.0
WATCH_BYTES = 1 << 20
RETURN_SECONDS = 5.0
# As jupyter-collaboration does when the last page has gone.
DROP_SECONDS = 60.0
LISTEN_SECONDS = 30.0
KERNEL_ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
V1 = "v1.kernel.websocket.jupyter.org"
# How many messages a kernel may be ahead.
BURST_MESSAGES = 20_000

ASKS = (
    'This cell asks for input ("{prompt}"), and the page that could have answered has gone. '
    "Interrupt the kernel, then run the cell again."
)
DIED = "The kernel died here{of}; a new one was started. The variables it had are lost."
RESTARTED = "The kernel was restarted here."


@dataclass
class Execution:
    """One run of one cell. Times are those of ``time.monotonic``."""

    kernel_id: str
    # The websocket's, the same when a page connects again.
    session_key: str
    cell_id: str
    journal: Journal
    writer: Writer = field(init=False)
    # The notebooks that use the kernel; None until they are known.
    file_ids: list[str] | None = None
    # Whether the journal holds the execution from its first message on.
    whole: bool = False
    # When the kernel has begun, as far as that was seen, and what the cell has failed of.
    began: float = field(default_factory=time.monotonic)
    failed: str | None = None
    ended: float | None = None
    # Whether we write its outputs, and there is something to write.
    kept: bool = False
    dirty: bool = False
    # That its kernel has died, while its page was there as far as we knew; whether the page has
    # shown all that was printed before.
    lost: str | None = None
    shown: bool = False
    # What it wants to know; whether that was said in its outputs.
    asks: str | None = None
    asks_in_vain: bool = False
    # Whether the kernel has answered, and what it had pages show with its answer ("len?").
    answered: bool = False
    pager: dict[str, Any] | None = None
    finished: float | None = None
    watched_until: float = 0.0
    search: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self.writer = Writer(self.journal)


class OutputKeeper(Configurable):
    """All executions of one server. Settings as in ``c.OutputKeeper.limit_mb = 20``."""

    limit_mb = Int(
        100,
        config=True,
        help="""What one cell may print, in megabytes, until the keeper stops to keep it. While a
        cell runs, the keeper holds what it has printed in memory, besides the shared document.""",
    )

    webhook_file = Unicode(
        "",
        config=True,
        help="""The file that says which webhook is told of cells that have run for long; see
        ``notebook_keeper.webhook``.""",
    )

    def __init__(self, app: ServerApp) -> None:
        super().__init__(parent=app)
        self._app = app
        self._webhook = Webhook(self.webhook_file, app.log)
        self._memory = KernelMemory(app, self)
        self._documents = Documents(app)
        self._executions: dict[str, Execution] = {}
        self._listeners: dict[str, tuple[list[int], asyncio.Task[None]]] = {}
        self._here: Counter[str] = Counter()
        # The executions whose outputs widgets take for themselves: kernel and message by widget.
        self._taken: dict[str, tuple[str, str]] = {}
        # By room: when it was saved last, and the tasks that will drop it.
        self._saved: dict[str, float] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._worker: asyncio.Task[None] | None = None
        # By kernel: when it died (``died``, ISO 8601 in UTC) and of what (``died_of``). Until a
        # page executes a cell, and so knows of it.
        self.deaths: dict[str, dict[str, str]] = {}
        self._memory_kills = memory_kills()
        assert app.event_logger is not None
        app.event_logger.add_listener(schema_id=KERNEL_ACTIONS, listener=self._acted)

    # What pages do.

    def arrived(self, connection: KeepingConnection) -> None:
        """A page has connected to a kernel."""
        self._here[connection.session_key] += 1
        for execution in self._executions.values():
            if execution.session_key == connection.session_key and execution.kept:
                execution.finished = None
                execution.watched_until = time.monotonic() + RETURN_SECONDS
                self._work()
        kernel_id, ports = connection.kernel_id, list(connection.kernel_manager.ports)
        known = self._listeners.get(kernel_id)
        # Before the first execution, so that the listener does not miss its beginning.
        if known is None or known[1].done() or known[0] != ports:
            if known is not None:
                known[1].cancel()
            listener = asyncio.ensure_future(self._listen(kernel_id))
            self._listeners[kernel_id] = (ports, listener)

    def left(self, connection: KeepingConnection) -> None:
        """A page's connection is closed. Whether it comes back or not, its cells are ours now."""
        self._here[connection.session_key] -= 1
        if self._here[connection.session_key] <= 0:
            del self._here[connection.session_key]
        for execution in self._executions.values():
            if execution.session_key == connection.session_key and execution.finished is None:
                execution.kept = execution.dirty = True
                if execution.lost is not None:
                    execution.journal.note(execution.lost)
                    execution.lost = None
        self._work()

    def executed(self, connection: KeepingConnection, msg_id: str, cell_id: str) -> None:
        """A page has sent a cell to its kernel."""
        kernel_id = connection.kernel_id
        for other, execution in list(self._executions.items()):
            if (execution.kernel_id, execution.cell_id) == (kernel_id, cell_id):
                del self._executions[other]
        self.deaths.pop(kernel_id, None)
        journal = Journal(self.limit_mb << 20)
        execution = Execution(kernel_id, connection.session_key, cell_id, journal)
        self._executions[msg_id] = execution
        execution.search = asyncio.ensure_future(self._find_files(execution))
        self._work()

    def asked(self, msg_id: str, prompt: str | None) -> None:
        """A cell asks its page for input; None: it got an answer."""
        if msg_id in self._executions:
            self._executions[msg_id].asks = prompt

    def answered(self, session_key: str) -> None:
        """A page has sent the input that its cell asked for."""
        for execution in self._executions.values():
            if execution.session_key == session_key:
                execution.asks = None

    def replied(self, msg_id: str, content: dict[str, Any]) -> None:
        """A kernel has answered a cell. Pages show the first text for a pager below the cell."""
        execution = self._executions.get(msg_id)
        if execution is None or execution.answered:
            return
        execution.answered = True
        payload = content.get("payload") if content.get("status") == "ok" else None
        texts = [part["data"] for part in payload or [] if part.get("source") == "page"]
        if texts:
            execution.pager = {"data": texts[0], "metadata": {}}
            self._show_pager(execution)
            self._work()

    @staticmethod
    def _show_pager(execution: Execution) -> None:
        """Add it, after all that the cell prints."""
        if execution.pager is not None and execution.ended is not None:
            execution.journal.add("display_data", execution.pager)
            execution.pager = None
            execution.dirty, execution.finished = True, None

    def writes(self, msg_id: str) -> bool:
        """Whether the outputs of an execution are written by us."""
        execution = self._executions.get(msg_id)
        return execution is not None and execution.kept

    # What kernels say.

    async def _listen(self, kernel_id: str) -> None:
        kernels = self._app.kernel_manager
        kernel = kernels.get_kernel(kernel_id)
        died = partial(self._died, kernel_id)
        kernels.add_restart_callback(kernel_id, died)
        # A server's kernels are asynchronous ones.
        client = cast("AsyncKernelClient", kernel.client())
        client.context.setsockopt(zmq.RCVHWM, BURST_MESSAGES)
        client.start_channels(shell=False, stdin=False, hb=False, control=False)
        try:
            while kernel_id in kernels:
                try:
                    message = await client.get_iopub_msg(timeout=LISTEN_SECONDS)
                except Empty:
                    continue
                try:
                    self._heard(kernel_id, message)
                except Exception:
                    self._app.log.exception("keeper: a message was not understood")
        finally:
            client.stop_channels()
            if kernel_id in kernels:
                kernels.remove_restart_callback(kernel_id, died)

    def _heard(self, kernel_id: str, message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        if kind in ("comm_msg", "comm_close"):
            self._note_widget(kernel_id, content)
        execution = self._executions.get(message["parent_header"].get("msg_id"))
        if kind == "error" and execution is not None:
            execution.failed = content["ename"]
        if kind == "update_display_data":
            self._update(kernel_id, execution, content)
        elif execution is None or execution.kernel_id != kernel_id:
            return
        elif kind == "status":
            if content["execution_state"] == "busy":
                execution.whole = True
                execution.began = time.monotonic()
            elif content["execution_state"] == "idle" and execution.ended is None:
                execution.ended = time.monotonic()
                execution.asks = None
                self._show_pager(execution)
                self._tell(execution, "ended" if execution.failed is None else "failed")
        elif kind == "execute_input":
            execution.journal.count = content["execution_count"]
        elif kind in PRINTS and self._is_taken(execution, kind, message["parent_header"]["msg_id"]):
            return
        elif kind in PRINTS:
            execution.journal.add(kind, content)
        else:
            return
        if execution is not None:
            execution.dirty = True
            execution.finished = None
            self._work()

    def _note_widget(self, kernel_id: str, content: dict[str, Any]) -> None:
        """Learn which execution's outputs an ``ipywidgets.Output`` takes for itself.

        The widget's state ``msg_id`` says it, empty when it takes none
        (https://github.com/jupyter-widgets/ipywidgets/blob/main/packages/schema/jupyterwidgetmodels.latest.md).
        """
        comm_id, data = content["comm_id"], content.get("data") or {}
        msg_id = (data.get("state") or {}).get("msg_id") if data.get("method") == "update" else None
        if msg_id:
            self._taken[comm_id] = (kernel_id, msg_id)
        elif msg_id is not None or "method" not in data:
            self._taken.pop(comm_id, None)

    def _is_taken(self, execution: Execution, kind: str, msg_id: str) -> bool:
        """Whether a page has put an output into a widget, not into the cell.

        While no page is there nobody would, so the cell has the output then; but what the widget
        would clear, is not all that the cell has.
        """
        taken = (execution.kernel_id, msg_id) in self._taken.values()
        return taken and (not execution.kept or kind == "clear_output")

    def _update(self, kernel_id: str, source: Execution | None, content: dict[str, Any]) -> None:
        """Exchange a display in every cell that has it."""
        for execution in self._executions.values():
            if execution.kernel_id == kernel_id and execution.journal.update(content):
                execution.kept = execution.kept or (source is not None and source.kept)
                execution.dirty, execution.finished = True, None
        self._work()

    async def _acted(self, logger: EventLogger, schema_id: str, data: dict[str, Any]) -> None:
        """The server has done something with a kernel."""
        if (data["action"], data.get("status")) == ("restart", "success"):
            self._end_all(data["kernel_id"], RESTARTED)

    def _died(self, kernel_id: str) -> None:
        kernel = self._app.kernel_manager.get_kernel(kernel_id)
        process = getattr(kernel.provisioner, "process", None)
        code = process.poll() if process is not None else None
        of = "" if code is None else f"status {code}" if code >= 0 else f"signal {-code}"
        before, self._memory_kills = self._memory_kills, memory_kills()
        why = self._memory.ended.pop(process.pid, "") if process is not None else ""
        if why:
            of += f": {why}"
        elif code == -signal.SIGKILL and self._memory_kills > before:
            of += ": the machine's memory was full"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.deaths[kernel_id] = {"died": now, "died_of": of}
        # Not those that have waited for it.
        ran = [
            execution
            for execution in self._executions.values()
            if execution.kernel_id == kernel_id and execution.whole and execution.ended is None
        ]
        self._end_all(kernel_id, DIED.format(of=f" of {of}" if of else ""), died=True)
        for execution in ran:
            self._tell(execution, "died", of)

    def _tell(self, execution: Execution, state: str, of: str = "") -> None:
        """Tell the webhook that a cell has ended, if it has run for long."""
        seconds = time.monotonic() - execution.began

        def cell() -> Ended:
            paths = map(self._documents.path, execution.file_ids or ())
            name = next(filter(None, paths), "a notebook")
            return Ended(name, seconds, state, of or execution.failed or "")

        self._webhook.tell(seconds, cell)

    def _end_all(self, kernel_id: str, why: str, *, died: bool = False) -> None:
        """No execution of this kernel goes on."""
        self._taken = {comm: taken for comm, taken in self._taken.items() if taken[0] != kernel_id}
        for execution in self._executions.values():
            if execution.kernel_id == kernel_id and execution.ended is None:
                if execution.kept and execution.whole:
                    execution.journal.note(why)
                elif died and execution.whole:
                    execution.lost = why
                execution.ended, execution.journal.count = time.monotonic(), None
                execution.asks, execution.dirty = None, True
        self._work()

    # Into the documents.

    async def _find_files(self, execution: Execution) -> None:
        file_ids = []
        for session in await self._app.session_manager.list_sessions():
            if (session.get("kernel") or {}).get("id") == execution.kernel_id:
                # jupyter-collaboration puts the name of its drive before the path.
                file_ids.append(self._documents.file_id(session["path"].removeprefix("RTC:")))
        execution.file_ids = [file_id for file_id in file_ids if file_id is not None]

    def _work(self) -> None:
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while any(execution.finished is None for execution in self._executions.values()):
            await asyncio.sleep(PACE_SECONDS)
            try:
                self._see_questions()
                await self._write()
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # What pycrdt raises when it fails inside is no Exception.
                self._app.log.exception("keeper: outputs were not written, trying again")
                await asyncio.sleep(RETRY_SECONDS)
            self._retire()

    def _see_questions(self) -> None:
        """Say in a cell that its question cannot be answered; drop what pages will not get.

        What the kernel answers to cells is seen here too, when no page is there to pass it on to.
        """
        for buffered in self._app.kernel_manager._kernel_buffers.values():
            rest = []
            for channel, parts in buffered.get("buffer", []):
                kind, parent, content = read_parts(parts)
                execution = self._executions.get(parent)
                if channel == "stdin" and execution is not None and kind == "input_request":
                    execution.asks = content["prompt"]
                if channel == "shell" and kind == "execute_reply":
                    self.replied(parent, content)
                if not (channel == "iopub" and kind in PRINTS and self.writes(parent)):
                    rest.append((channel, parts))
            if len(rest) < len(buffered.get("buffer", [])):
                buffered["buffer"][:] = rest
        for execution in self._executions.values():
            gone = execution.kept and not self._here[execution.session_key]
            if gone and execution.asks is not None and not execution.asks_in_vain:
                execution.journal.note(ASKS.format(prompt=execution.asks.strip()))
                execution.asks_in_vain = execution.dirty = True

    async def _write(self) -> None:
        by_room: dict[DocumentRoom, list[Execution]] = {}
        for msg_id, execution in list(self._executions.items()):
            if execution.finished is not None or execution.file_ids is None:
                continue
            room = await self._room_of(execution)
            if room is not None:
                by_room.setdefault(room, []).append(execution)
            elif execution.ended is not None or execution.kept:
                # The cell, the notebook or its file is gone, or it was a console's.
                self._executions.pop(msg_id, None)
        for room, executions in by_room.items():
            await self._write_into(room, executions)

    async def _room_of(self, execution: Execution) -> DocumentRoom | None:
        for file_id in execution.file_ids or ():
            room = await self._documents.room(file_id, create=execution.kept)
            if room is not None and find_cell(room, execution.cell_id) is not None:
                return room
        return None

    async def _write_into(self, room: DocumentRoom, executions: list[Execution]) -> None:
        now = time.monotonic()
        ended = []
        with room._document.ydoc.transaction():
            for execution in executions:
                cell = find_cell(room, execution.cell_id)
                if cell is None:
                    continue
                if not execution.kept:
                    if execution.ended is None:
                        continue
                    # The page has a moment to show the end. After that, or when it no longer shows
                    # it, a person has changed the cell, and it is theirs.
                    shown = shows(cell, execution.journal)
                    done = shown if execution.lost is None else execution.shown and not shown
                    patience = SETTLE_SECONDS if execution.lost is None else CUT_OFF_SECONDS
                    if done or not execution.whole or now - execution.ended > patience:
                        execution.finished = now
                    execution.shown = shown
                    continue
                if execution.dirty and execution.whole:
                    execution.dirty = False
                    execution.writer.write(cell)
                if execution.ended is None:
                    # The number would make pages show the cell as one that has ended.
                    mark(cell, None, "running")
                else:
                    mark(cell, execution.journal.count, "idle")
                    ended.append(execution)
        saved = True
        if ended or now - self._saved.get(room.room_id, now) > SAVE_SECONDS:
            saved = await self._documents.save(room)
            self._saved[room.room_id] = time.monotonic()
        self._saved.setdefault(room.room_id, now)
        for execution in ended:
            cell = find_cell(room, execution.cell_id)
            if cell is not None and execution.whole and not shows(cell, execution.journal):
                # The file was changed by somebody else at this moment, or a page came back.
                execution.dirty = True
            elif saved and now > execution.watched_until:
                execution.finished = time.monotonic()
        if all(execution.finished is not None for execution in executions):
            self._saved.pop(room.room_id, None)
            self._leave(room)

    def _leave(self, room: DocumentRoom) -> None:
        """Drop a room that we have written into once it was not used for a minute.

        Not at once: a page that is about to come would wait for a room that has gone.
        """

        async def drop() -> None:
            await asyncio.sleep(DROP_SECONDS)
            del self._leaving[room.room_id]
            if not any(self._uses(execution, room) for execution in self._executions.values()):
                await self._documents.drop(room)

        if room.room_id in self._leaving:
            self._leaving[room.room_id].cancel()
        self._leaving[room.room_id] = asyncio.ensure_future(drop())

    @staticmethod
    def _uses(execution: Execution, room: DocumentRoom) -> bool:
        file_id = room.room_id.rpartition(":")[2]
        return execution.finished is None and file_id in (execution.file_ids or ())

    def _retire(self) -> None:
        """Drop what is finished; displays may be updated as long as the kernel lives."""
        now, kernels = time.monotonic(), self._app.kernel_manager
        for msg_id, execution in list(self._executions.items()):
            if execution.kernel_id not in kernels:
                del self._executions[msg_id]
            elif execution.finished is not None and not execution.journal.has_displays:
                watched = execution.kept and execution.journal.size <= WATCH_BYTES
                if not watched or now - execution.finished > WATCH_SECONDS:
                    del self._executions[msg_id]


def hear_bursts(app: ServerApp) -> None:
    """Have more room for what kernels print faster than this process can pass it on.

    Of more than the 1000 messages that ZeroMQ has room for, it drops what comes (zmq_setsockopt(3),
    ZMQ_RCVHWM). What is set for a context holds for the sockets that are made from then on.
    """
    app.kernel_manager.context.setsockopt(zmq.RCVHWM, BURST_MESSAGES)


class KeepingConnection(ZMQChannelsWebsocketConnection):
    """A page's connection to a kernel, which tells the keeper what passes."""

    keeper: OutputKeeper
    _counted = False

    # What passes the limits of a connection is on no page and in no file. Jupyter's, 3 MB and 3000
    # messages in 3 s, would take from a page what it has when it was away meanwhile. Without any, a
    # cell that prints forever would fill the memory with what a slow page has still to get.

    @default("rate_limit_window")
    def _any_minute(self) -> float:
        return 60.0

    @default("iopub_data_rate_limit")
    def _twice_what_is_kept_of_a_cell(self) -> float:
        return 2.0 * (self.keeper.limit_mb << 20) / self.rate_limit_window

    @default("iopub_msg_rate_limit")
    def _no_number_of_messages(self) -> float:
        return 0.0

    def connect(self) -> Any:
        """Begin."""
        self._counted = True
        self.keeper.arrived(self)
        return super().connect()

    def disconnect(self) -> Any:
        """End. Called twice at times."""
        super().disconnect()
        if self._counted:
            self._counted = False
            self.keeper.left(self)

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        """Pass on a message of the page."""
        try:
            self._note(incoming_msg)
        except Exception:
            self.log.exception("keeper: a page's message was not understood")
        super().handle_incoming_message(incoming_msg)

    def _note(self, incoming: Any) -> None:
        if self.subprotocol == V1:
            channel, parts = deserialize_msg_from_ws_v1(incoming)
            header, metadata = json.loads(parts[0]), json.loads(parts[2])
        elif isinstance(incoming, str):
            message = json.loads(incoming)
            channel, header = message.get("channel"), message["header"]
            metadata = message.get("metadata", {})
        else:
            return
        if header["msg_type"] == "execute_request" and metadata.get("cellId"):
            self.keeper.executed(self, header["msg_id"], metadata["cellId"])
        elif channel == "stdin":
            self.keeper.answered(self.session_key)

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[Any]) -> None:
        """Pass on a message of the kernel, unless its page gets it through the document."""
        channel = getattr(stream, "channel", stream)
        if channel in ("iopub", "stdin", "shell"):
            try:
                kind, parent, content = read_parts(outgoing_msg)
                if kind == "input_request":
                    self.keeper.asked(parent, content["prompt"])
                elif kind == "execute_reply":
                    self.keeper.replied(parent, content)
                elif kind in PRINTS and self.keeper.writes(parent):
                    return
            except Exception:
                self.log.exception("keeper: a kernel's message was not understood")
        super().handle_outgoing_message(stream, outgoing_msg)


def memory_kills() -> int:
    """How many processes the machine has ended since it was started because memory was full.

    ``oom_kill`` of /proc/vmstat (https://docs.kernel.org/filesystems/proc.html); 0 without it.
    """
    try:
        counters = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)$", counters, re.MULTILINE)
    return int(found[1]) if found else 0


def mark(cell: Any, count: int | None, state: str) -> None:
    """Set number and state of a cell where they are different."""
    if cell.get("execution_count") != count:
        cell["execution_count"] = count
    if cell.get("execution_state") != state:
        cell["execution_state"] = state


def read_parts(parts: list[Any]) -> tuple[str, str, dict[str, Any]]:
    """Type, parent's id and content of a message as it comes from a kernel.

    Parts after the delimiter: signature, header, parent header, metadata, content
    (https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol).
    """
    start = next(place for place, part in enumerate(parts) if bytes(part) == b"<IDS|MSG>")
    kind = json.loads(bytes(parts[start + 2]))["msg_type"]
    parent = json.loads(bytes(parts[start + 3])).get("msg_id", "")
    needs_content = kind in ("input_request", "execute_reply")
    return kind, parent, json.loads(bytes(parts[start + 5])) if needs_content else {}
