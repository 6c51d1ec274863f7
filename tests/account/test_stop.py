"""What is stopped, and what is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.accounts import Account
from tests.support.plays import refused
from tests.support.visitors import Visitor

STOP = "anywhere.notebook.stop"


@pytest.fixture
def cell(notebook: Account, visitor: Visitor) -> Iterator[None]:
    """A cell that runs until the test ends."""
    with visitor.computing(visitor.kernel()):
        yield
    if "jupyter" in notebook.pids():
        notebook.visitor().end_kernels()


def test_only_the_tunnel(notebook: Account, cell: None) -> None:
    server = notebook.pids()["jupyter"]

    play = notebook.play(STOP, "-e", "notebook_tunnel_only=true")

    assert play.status == 0, play.output
    assert play.card("Stopped") == "the tunnel"
    assert notebook.pids() == {"jupyter": server}
    assert notebook.reconnect().card("Repaired") == "agent"
    assert notebook.pids()["jupyter"] == server


def test_nothing_while_a_cell_runs(notebook: Account, cell: None) -> None:
    before = notebook.pids()

    play = notebook.play(STOP, "-e", "notebook_force=false")

    sentence = refused(play)
    assert sentence.startswith("Action failed: A cell still runs: ")
    assert "Nothing was stopped." in sentence
    assert "-e notebook_force=true" in sentence
    assert notebook.pids() == before


def test_everything_and_nothing_the_second_time(notebook: Account, visitor: Visitor) -> None:
    kernel = visitor.kernel()
    visitor.run(kernel, "x = 1")

    play = notebook.play(STOP)

    assert play.status == 0, play.output
    assert play.card("Stopped").startswith("the tunnel, Jupyter with ")
    assert notebook.pids() == {}

    again = notebook.play(STOP)

    assert (again.status, again.changed) == (0, 0)
    assert again.card("Stopped") == "nothing, nothing ran"
    assert notebook.reconnect().card("Repaired") == "server, agent"


def test_a_running_cell_too_where_that_is_wanted(notebook: Account, cell: None) -> None:
    play = notebook.play(STOP, "-e", "notebook_force=true")

    assert play.status == 0, play.output
    assert notebook.pids() == {}
    assert notebook.reconnect().card("Repaired") == "server, agent"
