"""What the keeper tells a webhook, and what becomes of one that is not well."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from notebook_keeper import webhook
from notebook_keeper.webhook import Ended, Webhook, duration, message

from tests.support.hooks import Hook
from tests.support.ports import free_port
from tests.support.sites import listener, serving

CELL = Ended("a/b.ipynb", 600.0, "ended")
LOG = logging.getLogger("test_keeper_webhook")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (CELL, "a/b.ipynb on box: a cell has ended, after 10 min."),
        (Ended("x.ipynb", 29.6, "ended"), "x.ipynb on box: a cell has ended, after 30 s."),
        (
            Ended("x.ipynb", 3 * 3600, "failed", "ValueError"),
            "x.ipynb on box: a cell has failed (ValueError), after 3 h 0 min.",
        ),
        (
            Ended("x.ipynb", 90, "died", "signal 9: the machine's memory was full"),
            "x.ipynb on box: a cell is lost: its kernel died "
            "(signal 9: the machine's memory was full), after 2 min.",
        ),
        (
            Ended("a notebook", 7 * 86400, "died"),
            "a notebook on box: a cell is lost: its kernel died, after 168 h 0 min.",
        ),
    ],
)
def test_it_is_told_which_notebook_what_and_how_long(cell: Ended, text: str) -> None:
    assert message(cell, "box", "https://x.test") == {
        "host": "box",
        "url": "https://x.test",
        "notebook": cell.notebook,
        "state": cell.state,
        "of": cell.of,
        "seconds": round(cell.seconds),
        "text": text,
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (29, "29 s"), (45, "1 min"), (3569, "59 min"), (3599, "1 h 0 min")],
)
def test_a_duration_is_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def file_of(directory: Path, url: str, **changes: object) -> str:
    """What setup writes."""
    file = directory / "cell_webhook.json"
    told = {"url": url, "minutes": 10, "host": "box", "public_url_file": "/no/such/file"}
    file.write_text(json.dumps(told | changes))
    return str(file)


def told(file: str, seconds: float = 600.0, cell: Callable[[], Ended] = lambda: CELL) -> float:
    """Tell of a cell; the seconds that it took until nothing was left to be done."""

    async def tell() -> float:
        hook = Webhook(file, LOG, pauses=(0.0, 0.0, 0.0))
        began = time.monotonic()
        hook.tell(seconds, cell)
        # Whoever tells does not wait.
        assert time.monotonic() - began < 1
        await asyncio.gather(*hook._telling)
        return time.monotonic() - began

    return asyncio.run(tell())


@pytest.mark.parametrize(
    ("statuses", "count", "why"),
    [
        ((), 1, ""),
        ((500, 204), 2, ""),
        ((503, 429, 200), 3, ""),
        ((404, 404, 404), 3, "it answered with 404"),
        # Where that leads, nobody has said.
        ((302, 302, 302), 3, "it answered with 302"),
    ],
)
def test_it_is_tried_three_times(
    statuses: tuple[int, ...],
    count: int,
    why: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(Hook(*statuses)) as hook:
        told(file_of(tmp_path, hook.url))

    assert len(hook.got) == count
    assert hook.got[0] == message(CELL, "box", "")
    assert caplog.messages == ([f"The webhook for cells was not told: {why}."] if why else [])


def drip(connection: socket.socket) -> None:
    """Answer a byte at a time, and never to the end."""
    for _ in range(3000):
        connection.sendall(b"H")
        time.sleep(0.01)


def flood(connection: socket.socket) -> None:
    """Answer with more than anybody wants."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(3000):
        connection.sendall(b"x" * 65536)


def nonsense(connection: socket.socket) -> None:
    """Answer with something else."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize("talk", [drip, flood, nonsense])
def test_one_that_is_not_well_is_given_up(
    talk: Callable[[socket.socket], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "PATIENCE", 0.2)
    with listener(talk) as address:
        took = told(file_of(tmp_path, f"http://{address}/s3cret"))

    assert took < 10
    (said,) = caplog.messages
    assert said.startswith("The webhook for cells was not told: it does not answer")
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:{port}/s3cret", "http://s3cret.invalid/", "s3cret", "file:///s3cret"],
)
def test_one_that_is_not_there_is_told_in_the_log_without_its_address(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told(file_of(tmp_path, address.format(port=free_port())))

    (said,) = caplog.messages
    assert said.startswith("The webhook for cells was not told: it does not answer")
    assert "s3cret" not in caplog.text


def broken() -> Ended:
    raise RuntimeError("s3cret")


@pytest.mark.parametrize(
    "text",
    ["", "s3cret", "[]", "{}", '{"url": "s3cret", "minutes": "many", "host": ""}', '"s3cret"'],
)
def test_a_file_that_is_not_whole_harms_nobody(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "cell_webhook.json"
    file.write_text(text)

    told(str(file))
    told(file_of(tmp_path, "http://127.0.0.1:9/"), cell=broken)

    assert len(caplog.messages) == 2
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("file", ["", "/no/such/file"])
def test_without_a_file_nobody_is_told(file: str, caplog: pytest.LogCaptureFixture) -> None:
    told(file, cell=broken)

    assert caplog.messages == []


@pytest.mark.parametrize(("seconds", "count"), [(599.9, 0), (600.0, 1), (86400.0, 1)])
def test_only_a_cell_that_has_run_for_so_long_is_told(
    seconds: float, count: int, tmp_path: Path
) -> None:
    with serving(Hook()) as hook:
        told(file_of(tmp_path, hook.url), seconds)

    assert len(hook.got) == count


def test_not_more_than_some_wait_to_be_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell() -> int:
        hook = Webhook(file_of(tmp_path, "http://127.0.0.1:9/"), LOG, pauses=(600.0,))
        for _ in range(webhook.WAITING + 3):
            hook.tell(600.0, lambda: CELL)
        waiting = list(hook._telling)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return len(waiting)

    assert asyncio.run(tell()) == webhook.WAITING
    assert caplog.messages == ["The webhook for cells was not told: it does not keep up."] * 3
