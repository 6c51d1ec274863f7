"""What breaks every day, and what reconnect does about it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.accounts import PASSWORD, Account
from tests.support.breakages import kill
from tests.support.edge.client import Edge, fetch
from tests.support.plays import Play
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

AWAY_SECONDS = 20.0


@pytest.fixture
def work(notebook: Account, visitor: Visitor) -> Iterator[str]:
    """A kernel in which somebody has computed something."""
    kernel = visitor.kernel()
    visitor.run(kernel, "x = 1729")
    yield kernel
    visitor = notebook.visitor()
    if kernel in visitor.kernels():
        visitor.api("DELETE", f"/api/kernels/{kernel}")


def assert_work_is_still_there(play: Play, kernel: str) -> None:
    """The URL on the card works, and leads to the same kernel with the same variable."""
    visitor = Visitor(play.url)
    assert visitor.log_in(PASSWORD)
    assert kernel in visitor.kernels()
    assert visitor.run(kernel, "print(x)") == "1729\n"


def test_nothing_broken_nothing_changed(notebook: Account, work: str) -> None:
    url = notebook.url()
    before = notebook.pids()

    play = notebook.reconnect()

    assert (play.changed, play.url, notebook.pids()) == (0, url, before), play.output
    assert_work_is_still_there(play, work)


def test_a_killed_agent_is_started_anew(notebook: Account, work: str) -> None:
    before = notebook.pids()
    kill(before["ngrok"])

    play = notebook.reconnect()

    assert play.card("Repaired") == "agent"
    assert notebook.pids()["jupyter"] == before["jupyter"]
    assert_work_is_still_there(play, work)


def test_a_killed_ngrok_session_is_started_anew(notebook: Account, work: str) -> None:
    before = notebook.pids()
    notebook.tmux("kill-session", "-t", "=ngrok")

    play = notebook.reconnect()

    assert play.card("Repaired") == "agent"
    assert notebook.pids()["jupyter"] == before["jupyter"]
    assert_work_is_still_there(play, work)


def test_a_service_that_was_away_is_waited_for(notebook: Account, edge: Edge, work: str) -> None:
    before = notebook.pids()
    edge.fault(unreachable=True)
    # The time away is what is tested: the agent's pauses between its attempts grow with it.
    time.sleep(AWAY_SECONDS)
    edge.fault(unreachable=False)

    play = notebook.reconnect()

    assert notebook.pids()["jupyter"] == before["jupyter"]
    assert_work_is_still_there(play, work)


def test_a_new_host_name_is_found_and_reported(notebook: Account, edge: Edge, work: str) -> None:
    old = notebook.url()
    before = notebook.pids()
    edge.fault(keep_host=False)
    edge.drop_sessions()
    wait_until(lambda: edge.state()["endpoints"])

    play = notebook.reconnect()

    assert play.url != old
    assert "a new URL" in play.card("Notebook")
    assert fetch(old, "/api").status == 404
    assert notebook.pids()["jupyter"] == before["jupyter"]
    assert_work_is_still_there(play, work)


def test_an_agent_that_came_back_by_itself_is_kept(
    notebook: Account, edge: Edge, work: str
) -> None:
    url = notebook.url()
    before = notebook.pids()
    edge.drop_sessions()

    play = notebook.reconnect()

    assert (play.url, notebook.pids()) == (url, before)
    assert_work_is_still_there(play, work)


def test_the_page_for_browsers_is_not_mistaken_for_the_notebook(
    notebook: Account, edge: Edge
) -> None:
    edge.fault(interstitial=True)
    before = notebook.pids()

    play = notebook.reconnect()

    assert play.changed == 0
    assert notebook.pids() == before


def test_a_killed_server_comes_back_and_its_kernels_are_said_to_be_lost(
    notebook: Account, work: str
) -> None:
    before = notebook.pids()
    url = notebook.url()
    kill(before["jupyter"])

    play = notebook.reconnect()

    assert play.card("Repaired") == "server"
    assert "the kernels it had are lost" in play.output
    assert "Why: it was killed by signal 9" in play.output
    log = notebook.state / "jupyter/server.log"
    assert log.read_text().count("Serving notebooks from local directory") >= 2
    assert log.stat().st_mode & 0o777 == 0o600
    assert play.card("Kernels alive") == "none"
    assert (play.url, notebook.pids()["ngrok"]) == (url, before["ngrok"])
    visitor = Visitor(play.url)
    assert visitor.log_in(PASSWORD)
    assert work not in visitor.kernels()
    assert visitor.run(visitor.kernel(), "print('back')") == "back\n"


def test_a_server_is_not_started_from_an_environment_that_is_not_complete(
    notebook: Account,
) -> None:
    complete = notebook.state / "jupyter/venv/complete"
    complete.unlink()
    kill(notebook.pids()["jupyter"])

    play = notebook.play("anywhere.notebook.reconnect")

    complete.touch()
    assert play.status != 0
    assert "The installation of Jupyter was interrupted. Run setup again" in play.output
    assert "jupyter" not in notebook.pids()
    assert notebook.reconnect().card("Repaired") == "server"


def test_where_one_host_fails_the_others_go_on_and_all_are_reported(
    notebook: Account, visitor: Visitor, tmp_path: Path
) -> None:
    url, kernels = visitor.url, len(visitor.kernels())
    before = notebook.pids()
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        "[all:vars]\nansible_connection=local\n"
        # Another session for the same port.
        "[all]\nbroken jupyter_session_name=another\nbox\n"
    )
    report = tmp_path / "report.json"

    play = notebook.play(
        "anywhere.notebook.reconnect", "-i", str(inventory), notebook_report=str(report)
    )

    assert play.status != 0
    assert play.url == url
    assert notebook.pids() == before
    broken, box = json.loads(report.read_text())
    assert report.stat().st_mode & 0o777 == 0o600
    error = broken.pop("error")
    assert f"127.0.0.1:{notebook.variables['jupyter_port']} is taken by " in error
    assert broken == {"host": "broken", "url": None, "kernels": None, "repaired": []}
    assert box == {"host": "box", "url": url, "kernels": kernels, "repaired": [], "error": None}
    said = " ".join(play.output.split())
    assert f"box {url} {kernels} - -" in said
    assert "broken - - - see below" in said
    assert error[:50] in said
