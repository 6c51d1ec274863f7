"""Where the URL is told, besides the card."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator

import pytest
import zxingcpp

from tests.support.accounts import Account
from tests.support.breakages import kill
from tests.support.edge.client import Edge
from tests.support.ports import free_port

HALVES = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}
SCALE = 4


class Hook(http.server.HTTPServer):
    """A webhook that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Post)
        self.got: list[object] = []
        self.url = f"http://127.0.0.1:{self.server_port}/s3cret"


class Post(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        assert self.path == "/s3cret"
        length = int(self.headers["Content-Length"])
        self.server.got.append(json.loads(self.rfile.read(length)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook that ends with the test."""
    with Hook() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield server
        server.shutdown()


@pytest.fixture
def new_url(notebook: Account, edge: Edge) -> None:
    """The agent has crashed, and the next one will get another URL."""
    notebook.url()
    edge.fault(keep_host=False)
    kill(notebook.pids()["ngrok"])


def test_a_page_on_the_controller_leads_to_the_notebook(notebook: Account, new_url: None) -> None:
    play = notebook.reconnect()

    page = notebook.home / ".config/anywhere-notebook/localhost.html"
    assert play.card("Bookmark") == str(page)
    assert re.findall(r'url=([^"]+)"|href="([^"]+)"', page.read_text()) == [
        (play.url, ""),
        ("", play.url),
    ]
    assert page.stat().st_mode & 0o777 == 0o600


def test_a_webhook_gets_a_new_url_once(notebook: Account, new_url: None, hook: Hook) -> None:
    play = notebook.reconnect(notebook_url_webhook=hook.url)
    again = notebook.reconnect(notebook_url_webhook=hook.url)

    assert hook.got == [{"host": "localhost", "url": play.url}]
    assert (again.changed, again.url) == (0, play.url)
    assert "Webhook" not in play.output
    assert "s3cret" not in play.output


def test_a_webhook_that_fails_fails_nothing_else(notebook: Account, new_url: None) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/s3cret"

    play = notebook.reconnect("-vvv", notebook_url_webhook=nobody)

    assert play.card("Webhook") == "did not take the new URL, because it does not answer"
    assert "s3cret" not in play.output


def test_a_phone_reads_the_url_off_the_terminal(notebook: Account) -> None:
    url = notebook.url()

    play = notebook.reconnect(notebook_qr=True)

    drawn = [line.strip(" -'\"") for line in play.output.splitlines() if "██" in line]
    rows = [[HALVES[half][part] for half in line] for line in drawn for part in (0, 1)]
    assert len({len(row) for row in rows}) == 1
    pixels = [[value for value in row for _ in range(SCALE)] for row in rows for _ in range(SCALE)]
    image = memoryview(bytes(value for row in pixels for value in row))
    (found,) = zxingcpp.read_barcodes(image.cast("B", (len(pixels), len(pixels[0]))))
    assert found.text == url
