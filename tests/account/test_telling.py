"""Where a new URL is told, and what the card says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import zxingcpp

from tests.support.accounts import Account
from tests.support.breakages import mend
from tests.support.edge.client import Edge, fetch
from tests.support.hooks import Hook
from tests.support.plays import Play
from tests.support.ports import free_port
from tests.support.sites import serving
from tests.support.waiting import wait_until

HALVES = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}
SCALE = 4


@dataclass(frozen=True)
class Told:
    """What reconnect said when the agent was back with a new URL, and when nothing was wrong."""

    old: str
    new: Play
    again: Play
    got: list[object]
    kernels: list[str]
    pids: dict[str, int]


def come_back_elsewhere(notebook: Account, service: Edge) -> None:
    """The agent lost its session, and has another URL now."""
    notebook.url()
    service.fault(keep_host=False)
    service.drop_sessions()
    wait_until(lambda: service.state()["endpoints"])


@pytest.fixture(scope="module")
def told(notebook: Account, service: Edge) -> Iterator[Told]:
    """Everybody who can be told is told; then again, while ngrok has a page before each page."""
    visitor = notebook.visitor()
    visitor.run(visitor.kernel(), "pass")
    kernels = visitor.kernels()
    come_back_elsewhere(notebook, service)
    with serving(Hook()) as hook:
        new = notebook.reconnect(notebook_url_webhook=hook.url, notebook_qr=True)
        mend(service)
        service.fault(interstitial=True)
        pids = notebook.pids()
        again = notebook.reconnect(notebook_url_webhook=hook.url)
        mend(service)
    yield Told(visitor.url, new, again, hook.got, kernels, pids)
    notebook.visitor().end_kernels()


def test_a_new_url_is_found_and_reported(told: Told) -> None:
    assert told.new.url != told.old
    assert "a new URL" in told.new.card("Notebook")
    assert told.new.card("Repaired") == "ngrok agent"
    assert fetch(told.old, "/api").status == 404
    assert fetch(told.new.url, "/api").status == 200


def test_a_page_on_the_controller_leads_to_the_notebook(told: Told, notebook: Account) -> None:
    page = notebook.home / ".config/anywhere-notebook/localhost.html"
    assert told.new.card("Bookmark") == str(page)
    assert re.findall(r'url=([^"]+)"|href="([^"]+)"', page.read_text()) == [
        (told.new.url, ""),
        ("", told.new.url),
    ]
    assert page.stat().st_mode & 0o777 == 0o600


def test_a_webhook_gets_a_new_url_once(told: Told) -> None:
    assert told.got == [{"host": "localhost", "url": told.new.url}]
    assert "Webhook" not in told.new.output
    assert "s3cret" not in told.new.output


def test_a_phone_reads_the_url_off_the_terminal(told: Told) -> None:
    drawn = [line.strip(" -'\"") for line in told.new.output.splitlines() if "██" in line]
    rows = [[HALVES[half][part] for half in line] for line in drawn for part in (0, 1)]
    assert len({len(row) for row in rows}) == 1
    pixels = [[value for value in row for _ in range(SCALE)] for row in rows for _ in range(SCALE)]
    image = memoryview(bytes(value for row in pixels for value in row))
    (found,) = zxingcpp.read_barcodes(image.cast("B", (len(pixels), len(pixels[0]))))
    assert found.text == told.new.url


def test_nothing_broken_nothing_changed(told: Told, notebook: Account) -> None:
    # Nor was the page that ngrok has for browsers mistaken for the notebook.
    assert told.again.changed == 0, told.again.output
    assert told.again.card("Repaired") == "nothing, everything ran"
    assert (told.again.url, notebook.pids()) == (told.new.url, told.pids)


def test_the_card_says_all_a_person_needs(told: Told, notebook: Account) -> None:
    card, port = told.again.card, notebook.variables["jupyter_port"]
    assert card("On the machine") == f"http://127.0.0.1:{port}"
    assert card("Password") == "the one in jupyter_password"
    assert int(card("Kernels alive").split()[0]) == len(told.kernels)
    assert ".ipynb: python3, idle" in told.again.output
    assert "the same URL as before" in card("Notebook")
    # Long lines were broken.
    said = " ".join(told.again.output.split())
    assert f"Jupyter log: tmux -S {notebook.socket} attach -t jupyter" in said
    assert card("Without tunnel").startswith(f"ssh -N -L {port}:127.0.0.1:{port} ")


def test_a_webhook_that_fails_and_a_password_that_is_wrong_fail_nothing_else(
    notebook: Account, edge: Edge
) -> None:
    come_back_elsewhere(notebook, edge)
    nobody = f"http://127.0.0.1:{free_port()}/s3cret"

    play = notebook.reconnect("-vvv", notebook_url_webhook=nobody, jupyter_password="not this one")

    assert play.card("Webhook") == "did not take the new URL, because it does not answer"
    assert "s3cret" not in play.output
    said = " ".join(play.output.split())
    assert "does not take the one that is known here; it was changed here. Run setup" in said
    assert "not this one" not in play.output
