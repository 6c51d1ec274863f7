"""Neither time nor size of an answer is up to who gives it; what they say is in test_fuzz."""

from __future__ import annotations

import socket
import time

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _http

from tests.support.sites import Talk, listener


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
