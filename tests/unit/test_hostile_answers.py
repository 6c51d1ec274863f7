"""Whatever a server answers: a sentence, in time, and no success that is none."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _http, _jupyter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Site

Talk = Callable[[socket.socket], None]

ACTIVE = "2026-11-23T09:30:00.000000Z"
KERNEL = {
    "id": "7e3a",
    "name": "python3",
    "last_activity": ACTIVE,
    "execution_state": "idle",
}
RIGHT: dict[str, Any] = {
    "/api": {"version": "2.21.1"},
    "/api/status": {"last_activity": ACTIVE, "started": ACTIVE},
    "/api/kernels": [KERNEL],
    "/api/sessions": [{"path": "a.ipynb", "kernel": KERNEL}],
    "/api/terminals": [{"name": "1"}],
    "/api/notebook-keeper": {"problems": ["old"], "deaths": {"7e3a": {"died": ACTIVE}}},
    "/api/notebook-guard": {
        "failed_logins": 1,
        "last_failed_login": ACTIVE,
        "attacked": False,
        "sessions_since": "",
    },
    "/": "hello",
}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@contextmanager
def listener(talk: Talk) -> Iterator[str]:
    """Listen on loopback, and talk to whoever comes; where that is, as ``host:port``."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # The test is over.
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        talk(connection)
                    except OSError:  # It was left alone.
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def endless(start: bytes, part: bytes, pause: float = 0) -> Talk:
    """Say something, and then the same again and again, for longer than anybody listens."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(start)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            connection.sendall(part)
            # How slow a server is, is what is tested.
            time.sleep(pause)

    return talk


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        pytest.param(endless(HEAD + b"\r\n", b"x" * 65536), "more than 4 MB", id="endless"),
        pytest.param(
            endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 65536),
            "more than 4 MB",
            id="chunk-of-a-negative-size",
        ),
        pytest.param(
            endless(HEAD + b"Content-Length: 9999999999\r\n\r\n", b"x" * 65536),
            "more than 4 MB",
            id="long",
        ),
        pytest.param(endless(HEAD, b"X-A: 1\r\n"), "headers", id="headers-without-end"),
        pytest.param(endless(HEAD, b"x", 0.05), "timed out", id="slow-headers"),
        pytest.param(endless(HEAD + b"\r\n", b"x", 0.05), "timed out", id="slow-body"),
        pytest.param(lambda _: time.sleep(3), "timed out", id="mute"),
        pytest.param(
            lambda one: one.sendall(HEAD + b"Content-Length: 9\r\n\r\n{}"), "cut off", id="cut-off"
        ),
        pytest.param(lambda one: one.sendall(b"SSH-2.0-OpenSSH\r\n"), "SSH", id="no-http"),
        pytest.param(lambda one: one.sendall(b"HTTP/1.1 abc\r\n\r\n"), "abc", id="no-status"),
        pytest.param(lambda _: None, "closed connection", id="nothing"),
    ],
)
def test_neither_time_nor_size_is_up_to_who_answers(talk: Talk, reason: str) -> None:
    with listener(talk) as address:
        began = time.monotonic()
        with pytest.raises(_http.NoAnswer, match=reason):
            _http.request(f"http://{address}/api", timeout=1)

        # The limit of time is what is tested.
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
        "http://[::1/",
        "http:///",
        "tcp://1.tcp.ngrok.io:12345",
        "",
        "http://127.0.0.1:1/\r\nHost: evil",
    ],
)
def test_what_is_no_address_of_the_web_is_no_answer(url: str) -> None:
    with pytest.raises(_http.NoAnswer):
        _http.request(url, timeout=1)


def serve(site: Site, answers: dict[str, Any]) -> None:
    """Have a site give these answers, and nothing else."""
    site.answers.clear()
    site.closed.update(("/api/status", "/api/notebook-guard"))
    for path, answer in answers.items():
        site.answer(path, answer)


def changed(document: Any, path: tuple[int, ...], value: object) -> Any:
    """A copy of a document with another value somewhere."""
    if not path or not isinstance(document, (dict, list)) or not document:
        return value
    where, *rest = path
    if isinstance(document, list):
        copy = list(document)
        where %= len(copy)
        copy[where] = changed(copy[where], tuple(rest), value)
        return copy
    name = sorted(document)[where % len(document)]
    return document | {name: changed(document[name], tuple(rest), value)}


def is_a_report(result: dict[str, Any]) -> bool:
    """Whether all of a result has the types that it is documented with."""
    texts = (
        *("msg", "url", "error_code", "login", "version", "started", "last_activity", "exposed"),
        *("outputs_problem", "page_problem", "last_failed_login", "sessions_since"),
    )
    flags = ("running", "answered", "proven", "outputs_kept", "attacked")
    of_kernel = ("id", "name", "path", "execution_state", "last_activity", "died", "died_of")
    json.dumps(result, ensure_ascii=False).encode()
    return (
        all(type(result[name]) is str for name in texts)
        and all(type(result[name]) is bool for name in flags)
        and type(result["failed_logins"]) is int
        and all(type(name) is str for name in result["terminals"])
        and all(type(kernel[name]) is str for kernel in result["kernels"] for name in of_kernel)
        and all(kernel["idle_seconds"] >= 0 for kernel in result["kernels"])
    )


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    route=st.sampled_from(sorted(RIGHT)),
    path=st.tuples(*[st.integers(0, 5)] * 3) | st.tuples(*[st.integers(0, 5)] * 1) | st.just(()),
    value=ANYTHING,
)
def test_whatever_our_server_answers_is_a_report_or_an_error(
    site: Site, tmp_path: Path, route: str, path: tuple[int, ...], value: object
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("5f0c2a")
    serve(site, RIGHT | {route: changed(RIGHT[route], path, value)})

    said = ""
    try:
        result = _jupyter.look(site.url, time.monotonic(), token_file=str(token_file))
    except _jupyter.JupyterError as exc:
        said = str(exc)
    assert "5f0c2a" not in said
    if not said:
        assert is_a_report(result)
        assert not result["running"] or _jupyter.VERSION.fullmatch(result["version"])


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    head=st.sampled_from([b"", HEAD, HEAD + b"Content-Type: application/json\r\n\r\n"]),
    body=st.binary(max_size=200) | st.builds(lambda x: json.dumps(x).encode(), ANYTHING),
)
def test_whatever_a_foreign_server_answers_proves_nothing(head: bytes, body: bytes) -> None:
    challenge = _jupyter.new_challenge("5f0c2a")
    with listener(lambda one: one.sendall(head + body)) as address:
        result = _jupyter.look(
            f"http://{address}", time.monotonic(), challenge=challenge, password="secret"
        )

    assert is_a_report(result)
    assert (result["proven"], result["login"]) == (False, "")
    assert not result["running"] or _jupyter.VERSION.fullmatch(result["version"])
