"""What a stranger may send, and how long it may take."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from tests.support.guarded import TOKEN, Guarded, guarded
from tests.support.waiting import wait_until

MB = 1_000_000
FORM = "Content-Type: application/x-www-form-urlencoded"
KNOWN = f"Authorization: token {TOKEN}"


@contextlib.contextmanager
def sending(server: Guarded, target: str, *headers: str) -> Iterator[socket.socket]:
    """Begin a request whose body has still to come."""
    with socket.create_connection(("127.0.0.1", server.port), 60) as stream:
        method, path = target.split(" ")
        lines = [f"{method} {path} HTTP/1.1", "Host: box", *headers, "", ""]
        stream.sendall("\r\n".join(lines).encode())
        yield stream


def is_cut_off(stream: socket.socket) -> bool:
    """Read until the other side has closed; TimeoutError where it does not."""
    try:
        while stream.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def pour(server: Guarded, target: str, header: str, size: int) -> int:
    """Send so many bytes, as long as they are taken; return how many were."""
    chunk = b"x" * 65536
    if "chunked" in header:
        chunk = b"10000\r\n" + chunk + b"\r\n"
    sent = 0
    with sending(server, target, FORM, header) as stream:
        try:
            while sent < size:
                stream.sendall(chunk)
                sent += len(chunk)
        except ConnectionError:
            pass
    return sent


def posted(server: Guarded, header: str, size: int) -> bytes:
    """Send so many bytes to the login page; how the answer begins, nothing if there is none."""
    body = b"x" * size
    if "chunked" in header:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
    with sending(server, "POST /login", FORM, header.format(size)) as stream:
        try:
            stream.sendall(body)
            return stream.recv(65536)
        except ConnectionError:
            return b""


@pytest.mark.parametrize("header", ["Content-Length: {}", "Transfer-Encoding: chunked"])
def test_a_megabyte_is_what_a_stranger_may_send(header: str, server: Guarded) -> None:
    # The form has no XSRF token, so it gets no further.
    assert posted(server, header, 1 * MB).startswith(b"HTTP/1.1 403 ")
    assert posted(server, header, 1 * MB + 1)[:13] in (b"HTTP/1.1 400 ", b"")


@pytest.mark.parametrize("header", ["Content-Length: 400000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("target", ["POST /login", "PUT /api/contents/a", "POST /notebook-proof"])
def test_twenty_visitors_with_400_mb_each_take_no_memory(
    target: str, header: str, server: Guarded
) -> None:
    sent: list[int] = []

    def visit() -> None:
        with ThreadPoolExecutor(20) as visitors:
            sent.extend(visitors.map(lambda _: pour(server, target, header, 400 * MB), range(20)))

    assert server.grows(visit) < 50 * MB
    # What sockets hold is no memory of the server, but a few MB of the machine.
    assert max(sent) < 20 * MB


def test_many_bodies_that_are_allowed_take_little_memory_together(server: Guarded) -> None:
    def hold(stream: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            stream.sendall(b"x" * 899_999)
            is_cut_off(stream)

    def visit() -> None:
        with contextlib.ExitStack() as held, ThreadPoolExecutor(100) as visitors:
            header = "Content-Length: 900000"
            streams = [
                held.enter_context(sending(server, "POST /login", FORM, header)) for _ in range(100)
            ]
            holding = [visitors.submit(hold, stream) for stream in streams]
            wait_until(lambda: sum(one.done() for one in holding) > 70)
            # A login is small, and gets in beside them.
            assert server.visitor().log_in()
            for stream in streams:
                with contextlib.suppress(OSError):
                    stream.shutdown(socket.SHUT_RDWR)

    assert server.grows(visit) < 50 * MB
    # What they held is free again.
    assert posted(server, "Content-Length: {}", 1 * MB).startswith(b"HTTP/1.1 403 ")


def test_somebody_who_is_logged_in_sends_what_jupyter_takes(server: Guarded) -> None:
    owner = server.owner()
    content = "x" * (5 * MB)
    model = {"type": "file", "format": "text", "content": content}
    owner.api("PUT", "/api/contents/large.txt", model)
    assert (server.base / "notebooks/large.txt").stat().st_size == len(content)
    body = json.dumps(model | {"content": content * 2}).encode()
    answer, _ = server.ask("/api/contents/large.txt", "PUT", body, Authorization=f"token {TOKEN}")
    assert answer.status == 200


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One that waits for strangers for a second, so that nobody has to wait for it longer."""
    settings = "connections.HEADERS_SECONDS = connections.BODY_SECONDS = 1.0"
    with guarded(tmp_path_factory.mktemp("hasty") / "base", settings) as server:
        yield server


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /api HTTP/1.1\r\nHost: box\r\n",
        b"POST /login HTTP/1.1\r\nHost: box\r\nContent-Length: 500000\r\n\r\nx",
        b"POST /login HTTP/1.1\r\nHost: box\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx",
    ],
    ids=["nothing", "headers", "body", "chunks"],
)
def test_a_stranger_whose_request_does_not_come_in_is_cut_off(begun: bytes, hasty: Guarded) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), 30) as stream:
        stream.sendall(begun)
        assert is_cut_off(stream)


@pytest.mark.parametrize("header", ["Content-Length: 20", "Transfer-Encoding: chunked"])
def test_somebody_who_is_logged_in_may_be_slow(header: str, hasty: Guarded) -> None:
    chunked = "chunked" in header
    with sending(hasty, "PATCH /api/contents/none", KNOWN, header) as stream:
        # It takes longer than strangers have: about time is what this is.
        for number in range(20):
            stream.sendall(b"1\r\nx\r\n" if chunked else b"x")
            time.sleep(0.1 if number else 0.5)
        stream.sendall(b"0\r\n\r\n" if chunked else b"")
        assert stream.recv(65536).startswith(b"HTTP/1.1 400 ")
        # Nor is the connection closed because nothing is asked for a while.
        time.sleep(2)
        stream.sendall(f"GET /api/status HTTP/1.1\r\nHost: box\r\n{KNOWN}\r\n\r\n".encode())
        assert b"HTTP/1.1 200 " in stream.recv(65536)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One with room for few, on which answers are compressed, as the role has it."""
    settings = (
        "connections.CONNECTIONS = 40; c.ServerApp.tornado_settings = {'compress_response': 1}"
    )
    with guarded(tmp_path_factory.mktemp("small") / "base", settings) as server:
        yield server


@pytest.mark.parametrize("begun", [b"", b"GET /login HTTP/1.1\r\nHost: box\r\n"])
def test_strangers_who_hold_connections_keep_nobody_out(begun: bytes, small: Guarded) -> None:
    assert small.process
    pid, files = small.process.pid, resource.RLIMIT_NOFILE
    open_files = len(os.listdir(f"/proc/{pid}/fd"))
    _, most = resource.prlimit(pid, files)
    known = {"Authorization": f"token {TOKEN}"}
    with contextlib.ExitStack() as held:
        owners = held.enter_context(contextlib.closing(HTTPConnection("127.0.0.1", small.port)))
        owners.request("GET", "/api/status", headers=known)
        assert owners.getresponse().read()
        used = owners.sock
        resource.prlimit(pid, files, (open_files + 80, most))
        for _ in range(200):
            stream = held.enter_context(socket.create_connection(("127.0.0.1", small.port), 30))
            with contextlib.suppress(ConnectionError):
                stream.sendall(begun)
        assert small.visitor("192.0.2.9").log_in()
        owners.request("GET", "/api/status", headers=known)
        assert owners.getresponse().status == 200
        assert owners.sock is used
        assert len(os.listdir(f"/proc/{pid}/fd")) < open_files + 60


def test_what_is_for_everybody_is_compressed_for_nobody_but_the_owner(small: Guarded) -> None:
    style = "/static/style/bootstrap.min.css"
    stranger, _ = small.ask(style, Accept_Encoding="gzip")
    owner, _ = small.ask(style, Accept_Encoding="gzip", Authorization=f"token {TOKEN}")
    assert (stranger.status, stranger.headers["Content-Encoding"]) == (200, None)
    assert (owner.status, owner.headers["Content-Encoding"]) == (200, "gzip")
