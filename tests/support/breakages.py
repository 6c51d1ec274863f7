"""Ways in which a notebook breaks; each lasts until its ``with`` block ends."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.anywhere.notebook.plugins.module_utils import _ngrok, _tmux

from tests.support.accounts import Account
from tests.support.edge.client import Edge
from tests.support.hosts.client import AS_ROOT
from tests.support.ports import free_port
from tests.support.processes import descendants, frozen, runs
from tests.support.sites import serving
from tests.support.waiting import wait_until

# Programs that take a port.
MUTE = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""
PAGES = """
import http.server, sys
http.server.test(
    http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1"
)
"""

Break = Callable[[Account, Edge], AbstractContextManager[None]]


def mend(edge: Edge) -> None:
    """Have the service work again."""
    edge.fault(
        auth_error=None,
        bind_error=None,
        heartbeats=True,
        interstitial=False,
        linger=False,
        unreachable=False,
        keep_host=True,
    )


def port(account: Account, session: str) -> int:
    """Where the command of a session listens."""
    address = {"jupyter": "jupyter_port", "ngrok": "ngrok_web_addr"}[session]
    return int(str(account.variables[address]).rpartition(":")[2])


def server_of(account: Account) -> int:
    """The process of the tmux server."""
    return int(account.tmux("display-message", "-p", "#{pid}"))


def listens(account: Account, session: str) -> bool:
    return answers(port(account, session))


def answers(number: int) -> bool:
    """Whether anybody listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", number)) == 0


def kill(pid: int) -> None:
    """End a process as a crash does, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(pid))


def end(account: Account, session: str) -> None:
    """End a session, and wait until its command has ended."""
    pid = account.pids().get(session)
    account.tmux("kill-session", "-t", f"={session}")
    if pid:
        wait_until(lambda: not runs(pid))


def nothing() -> Break:
    @contextmanager
    def broken(_account: Account, _edge: Edge) -> Iterator[None]:
        yield

    return broken


def killed(session: str) -> Break:
    @contextmanager
    def broken(account: Account, _edge: Edge) -> Iterator[None]:
        if pid := account.pids().get(session):
            kill(pid)
            # tmux learns of it a moment later.
            wait_until(lambda: session not in account.pids())
        yield

    return broken


def ended(session: str) -> Break:
    @contextmanager
    def broken(account: Account, _edge: Edge) -> Iterator[None]:
        end(account, session)
        yield

    return broken


def hung(session: str, seconds: float | None = None) -> Break:
    @contextmanager
    def broken(account: Account, _edge: Edge) -> Iterator[None]:
        pid = account.pids()[session]
        # The agent is below its supervisor, the kernels are below their server.
        with frozen(descendants(pid)[-1] if session == "ngrok" else pid, seconds):
            yield

    return broken


@contextmanager
def notebooks_not_mounted(account: Account, _edge: Edge) -> Iterator[None]:
    """The server had ended, and what its notebooks were on is not mounted since."""
    end(account, "jupyter")
    file = account.state / "jupyter/notebooks"
    noted = file.read_text()
    seen = json.loads(noted)
    file.write_text(json.dumps(seen | {"mount": seen["path"]}))
    try:
        yield
    finally:
        file.write_text(noted)


def other_program(session: str, code: str) -> Break:
    """Something else runs in the session, and listens where the session's command should."""

    @contextmanager
    def broken(account: Account, edge: Edge) -> Iterator[None]:
        end(account, session)
        command = [sys.executable, "-c", code, str(port(account, session))]
        account.tmux("new-session", "-d", "-s", session, *command)
        wait_until(lambda: listens(account, session))
        pid = account.pids()[session]
        # The agent comes back with whatever listens there.
        wait_until(lambda: edge.state()["endpoints"], what="an endpoint")
        try:
            yield
        finally:
            if account.pids().get(session) == pid:
                end(account, session)

    return broken


def port_taken(session: str) -> Break:
    @contextmanager
    def broken(account: Account, _edge: Edge) -> Iterator[None]:
        end(account, session)
        with socket.create_server(("127.0.0.1", port(account, session))):
            yield

    return broken


@contextmanager
def taken_by_a_stranger(account: Account, _edge: Edge) -> Iterator[None]:
    """The server has ended, and a program of another account has its port."""
    end(account, "jupyter")
    number = port(account, "jupyter")
    as_nobody = [*AS_ROOT, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with subprocess.Popen(
        [*as_nobody, "/usr/bin/python3", "-c", MUTE, str(number)], cwd="/"
    ) as stranger:
        try:
            wait_until(lambda: answers(number))
            yield
        finally:
            stranger.terminate()


@contextmanager
def tmux_killed(account: Account, _edge: Edge) -> Iterator[None]:
    if pids := account.pids().values():
        kill(server_of(account))
        wait_until(lambda: not any(map(runs, pids)))
    yield


@contextmanager
def socket_in_the_usual_place(account: Account) -> Iterator[None]:
    """tmux's socket is where older releases had it; all that runs goes on."""
    private, usual = account.socket, Path(_tmux.usual_directory())
    usual.mkdir(mode=0o700, exist_ok=True)
    # A server knows its socket by the file, whatever its name.
    private.rename(usual / private.name)
    try:
        yield
    finally:
        (usual / private.name).rename(private)


@contextmanager
def socket_directory_deleted(account: Account, _edge: Edge) -> Iterator[None]:
    shutil.rmtree(account.socket.parent)
    yield


@contextmanager
def tmux_suspended(account: Account, _edge: Edge) -> Iterator[None]:
    server = server_of(account)
    os.kill(server, signal.SIGSTOP)
    yield
    os.kill(server, signal.SIGCONT)


@contextmanager
def all_suspended(account: Account, _edge: Edge) -> Iterator[None]:
    for pid in (server_of(account), *account.pids().values()):
        os.kill(pid, signal.SIGSTOP)
    yield


@contextmanager
def tmux_socket_is_left(account: Account, edge: Edge) -> Iterator[None]:
    path = Path(account.tmux("display-message", "-p", "#{socket_path}").strip())
    with tmux_killed(account, edge):
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        yield


def fault(session: str | None = None, /, **faults: str | bool) -> Break:
    """The service does something else from now on; the command of ``session`` has crashed."""

    @contextmanager
    def broken(account: Account, edge: Edge) -> Iterator[None]:
        edge.fault(**faults)
        if session:
            kill(account.pids()[session])
        yield

    return broken


@contextmanager
def service_unreachable(account: Account, edge: Edge) -> Iterator[None]:
    edge.fault(unreachable=True)
    log = account.state / "ngrok/agent.log"
    wait_until(lambda: _ngrok.trouble(log.read_text()), what="the agent has seen it")
    yield


@contextmanager
def leading_to(account: Account, other: int) -> Iterator[None]:
    """The agent forwards to another port, as after another setup had moved the server."""
    base = account.state / "ngrok"
    right = {file: file.read_text() for file in (base / "ngrok.yml", base / "supervisor.json")}
    for file, text in right.items():
        wrong = text.replace(
            f"http://127.0.0.1:{port(account, 'jupyter')}", f"http://127.0.0.1:{other}"
        )
        assert wrong != text
        file.write_text(wrong)
    end(account, "ngrok")
    pid = account.module(
        "tmux_session",
        name="ngrok",
        socket_name=account.socket_name,
        socket_dir=str(account.socket.parent),
        argv=[str(base / "start")],
        chdir=str(base),
        timeout=0,
    )["pid"]

    def found() -> dict[str, Any]:
        log = _ngrok.read_log(str(base / "agent.log"))
        return _ngrok.look("127.0.0.1:4040", "jupyter", log, pid)

    wait_until(lambda: found()["online"] or found()["waiting"])
    try:
        yield
    finally:
        for file, text in right.items():
            file.write_text(text)
        end(account, "ngrok")


@contextmanager
def leads_nowhere(account: Account, _edge: Edge) -> Iterator[None]:
    """Nobody listens where the agent forwards to."""
    with leading_to(account, free_port()):
        yield


@contextmanager
def leads_through_a_relay(account: Account, _edge: Edge) -> Iterator[None]:
    """Somebody passes on all that visitors and the server say, its proof too, and hears it."""
    with relay(port(account, "jupyter")) as (other, heard):
        with leading_to(account, other):
            yield
        # Who asks through it gets the server's answers.
        assert b"notebook-proof" not in heard
        assert b"/login" not in heard


@contextmanager
def relay(number: int) -> Iterator[tuple[int, bytearray]]:
    """Pass on what comes to a port of loopback to another; that port, and what has come."""
    heard = bytearray()

    class Passing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", number)) as server:
                ends = {self.request: server, server: self.request}
                while True:
                    for end in select.select([*ends], [], [])[0]:
                        text = end.recv(65536)
                        if not text:
                            return
                        if end is self.request:
                            heard.extend(text)
                        ends[end].sendall(text)

    class Door(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with serving(Door(("127.0.0.1", 0), Passing)) as door:
        yield door.server_address[1], heard


@contextmanager
def service_away(_account: Account, edge: Edge) -> Iterator[None]:
    """For a time that is shorter than reconnect waits."""
    edge.fault(unreachable=True)
    back = threading.Timer(3, edge.fault, kwargs={"unreachable": False})
    back.start()
    yield
    back.join()


@contextmanager
def sessions_dropped(_account: Account, edge: Edge) -> Iterator[None]:
    edge.drop_sessions()
    yield


@contextmanager
def session_lost_without_a_word(_account: Account, edge: Edge) -> Iterator[None]:
    edge.fault(heartbeats=False)
    edge.drop_endpoints()
    yield


@contextmanager
def endpoint_dead(_account: Account, edge: Edge) -> Iterator[None]:
    edge.drop_endpoints()
    yield
