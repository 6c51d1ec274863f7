"""Breakages one after the other, at once, for long, and on a disk that is full."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.accounts import Account, disk
from tests.support.breakages import (
    Break,
    ended,
    endpoint_dead,
    fault,
    kill,
    killed,
    nothing,
    sessions_dropped,
    tmux_killed,
)
from tests.support.edge.client import Edge, fetch
from tests.support.plays import refused
from tests.support.states import NOTHING, RECONNECT, State, meet

pytestmark = pytest.mark.acceptance

AWAY_SECONDS = 20.0


@contextmanager
def away_for_long(_account: Account, edge: Edge) -> Iterator[None]:
    edge.fault(unreachable=True)
    # The time away is what is tested: the agent's pauses between its attempts grow with it.
    time.sleep(AWAY_SECONDS)
    edge.fault(unreachable=False)
    yield


def test_a_service_that_was_away_for_long_is_waited_for(notebook: Account, edge: Edge) -> None:
    meet(State(away_for_long, repaired=("agent", NOTHING), kept=("jupyter",)), notebook, edge)


@pytest.fixture
def full(neighbour: Account) -> Iterator[Callable[[], None]]:
    """Fill the disk that has everything of an account's notebook, which is one of its own."""
    neighbour.state.mkdir(parents=True)

    def fill() -> None:
        with suppress(OSError), (neighbour.state / "large").open("wb") as large:
            while True:
                large.write(bytes(1 << 20))
                large.flush()

    with disk(neighbour.state, 60) as mounted:
        if not mounted:
            pytest.skip("only root can make a disk")
        yield fill
        neighbour.stop()


def test_a_disk_that_is_full_while_the_configuration_is_written(
    neighbour: Account, edge: Edge, full: Callable[[], None]
) -> None:
    url = neighbour.setup().url
    before = neighbour.pids()
    configuration = (neighbour.state / "jupyter/jupyter_server_config.py").read_bytes()
    full()
    neighbour.variables["jupyter_settings"] = {"LabApp": {"default_url": "/tree"}}

    play = neighbour.play("anywhere.notebook.setup")

    assert "No space left on device" in refused(play)
    assert "The disk is full: free some room on it" in " ".join(play.output.split())
    assert neighbour.pids() == before
    assert (neighbour.state / "jupyter/jupyter_server_config.py").read_bytes() == configuration
    assert fetch(url, "/api").status == 200
    # What is broken is repaired all the same, and a new URL is told though it cannot be kept.
    edge.fault(keep_host=False)
    kill(before["ngrok"])
    new = neighbour.reconnect().url
    assert new != url
    assert fetch(new, "/api").status == 200
    assert neighbour.pids()["jupyter"] == before["jupyter"]
    (neighbour.state / "large").unlink()
    neighbour.setup()
    assert neighbour.visitor().page("/")[1] == "/tree"


def test_two_at_the_same_time_do_not_fight(notebook: Account) -> None:
    notebook.url()
    kill(notebook.pids()["ngrok"])
    kill(notebook.pids()["jupyter"])

    both = [
        subprocess.Popen(
            notebook.command(RECONNECT),
            cwd=notebook.home,
            env=notebook.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]

    said = [child.communicate()[0] for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    url = notebook.url()
    assert all(url in output for output in said)
    pids = notebook.pids()
    assert notebook.reconnect().changed == 0
    assert notebook.pids() == pids


QUICK = [
    nothing(),
    killed("jupyter"),
    killed("ngrok"),
    ended("jupyter"),
    ended("ngrok"),
    tmux_killed,
    sessions_dropped,
    endpoint_dead,
    fault(keep_host=False),
    fault(interstitial=True),
]


@settings(
    deadline=None,
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sequence=st.lists(st.lists(st.sampled_from(QUICK), max_size=2), min_size=2, max_size=3))
def test_a_healthy_server_is_never_restarted_and_the_url_always_works_afterwards(
    notebook: Account, edge: Edge, sequence: list[list[Break]]
) -> None:
    notebook.url()
    for breaks in sequence:
        for broken in breaks:
            with broken(notebook, edge):
                pass
        healthy = notebook.pids().get("jupyter")

        play = notebook.reconnect()

        assert fetch(play.url, "/api").status == 200
        assert healthy in (None, notebook.pids()["jupyter"])
