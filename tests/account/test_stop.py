"""What is stopped, and what is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support import PASSWORD
from tests.support.accounts import Account
from tests.support.plays import Play, refused
from tests.support.processes import runs
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

STOP = "anywhere.notebook.stop"


@dataclass(frozen=True)
class Stop:
    """What stop said, and what ran before it and after it."""

    play: Play
    before: dict[str, int]
    after: dict[str, int]


@pytest.fixture(scope="module")
def stop(notebook: Account) -> Callable[..., Stop]:
    """Run stop."""

    def run(*flags: str) -> Stop:
        before = notebook.pids()
        return Stop(notebook.play(STOP, *flags), before, notebook.pids())

    return run


@pytest.fixture(scope="module")
def stops(notebook: Account, stop: Callable[..., Stop]) -> dict[str, Stop]:
    """While a cell runs: stop, and stop only the tunnel. Then without it: stop, and once more."""
    notebook.url()
    visitor = Visitor(f"http://127.0.0.1:{notebook.variables['jupyter_port']}")
    assert visitor.log_in(PASSWORD)
    visitor.end_kernels()
    kernel = visitor.kernel()
    found = {}
    with visitor.computing(kernel):
        found["busy"] = stop("-e", "notebook_force=false")
        found["tunnel"] = stop("-e", "notebook_tunnel_only=true")
    visitor.api("POST", f"/api/kernels/{kernel}/interrupt")
    wait_until(lambda: visitor.api("GET", f"/api/kernels/{kernel}")["execution_state"] == "idle")
    # What runs is found by its processes.
    server = notebook.pids()["jupyter"]
    shutil.rmtree(notebook.socket.parent)
    found["all"] = stop()
    assert not runs(server)
    found["again"] = stop()
    return found


def test_nothing_while_a_cell_runs(stops: dict[str, Stop]) -> None:
    stop = stops["busy"]

    sentence = refused(stop.play)
    assert sentence.startswith("Action failed: A cell still runs: ")
    assert "Nothing was stopped." in sentence
    assert "-e notebook_force=true" in sentence
    assert stop.after == stop.before
    assert stop.before.keys() == {"jupyter", "ngrok"}


def test_only_the_tunnel_whatever_runs(stops: dict[str, Stop]) -> None:
    stop = stops["tunnel"]

    assert stop.play.status == 0, stop.play.output
    assert stop.play.card("Stopped") == "the tunnel"
    assert stop.after == {"jupyter": stop.before["jupyter"]}


def test_what_was_stopped_is_not_broken(stops: dict[str, Stop], notebook: Account) -> None:
    assert stops["again"].play.status == 0
    said = " ".join(notebook.play("anywhere.notebook.status").output.split())

    assert "localhost: stopped" in said
    assert "URL: none while it is stopped" in said
    assert "Jupyter and the tunnel were stopped on purpose." in said
    assert "ansible-playbook anywhere.notebook.reconnect" in said
    assert "Problem:" not in said


def test_everything_and_nothing_the_second_time(stops: dict[str, Stop], notebook: Account) -> None:
    stop, again = stops["all"], stops["again"]

    assert stop.play.status == 0, stop.play.output
    assert stop.play.card("Stopped").startswith("Jupyter with ")
    assert stop.after == {}
    assert (again.play.status, again.play.changed) == (0, 0)
    assert again.play.card("Stopped") == "nothing, nothing ran"
    back = notebook.reconnect()
    assert back.card("Repaired") == "Jupyter server, ngrok agent"
    assert "Why: it was stopped on purpose." in " ".join(back.output.split())
    assert notebook.look()["stopped"] == ""


@pytest.mark.acceptance
def test_a_running_cell_too_where_that_is_wanted(
    notebook: Account, visitor: Visitor, stop: Callable[..., Stop]
) -> None:
    with visitor.computing(visitor.kernel()):
        stopped = stop("-e", "notebook_force=true")

    assert stopped.play.status == 0, stopped.play.output
    assert stopped.play.card("Stopped").startswith("the tunnel, Jupyter with ")
    assert stopped.after == {}
    assert notebook.reconnect().card("Repaired") == "Jupyter server, ngrok agent"
