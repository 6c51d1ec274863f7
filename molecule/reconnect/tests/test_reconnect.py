"""What reconnect repairs, and what it leaves alone."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

from tests.support.hosts.verify import Notebook, play
from tests.support.hosts.world import attach

ENDED = {"bookworm": "ngrok", "trixie": "jupyter"}


@pytest.fixture
def notebook(host: Host) -> Notebook:
    return Notebook.of(host)


def test_only_the_half_that_had_ended_is_new(notebook: Notebook) -> None:
    before = json.loads(notebook.root("cat", f"{notebook.home}/before.json"))["processes"]
    now = notebook.processes()
    assert set(now) == {"jupyter", "ngrok"}
    assert {name for name in now if now[name] != before[name]} == {ENDED[notebook.machine.name]}
    assert notebook.answers()


def test_a_kernel_outlives_the_agent_but_not_its_server(notebook: Notebook) -> None:
    before = json.loads(notebook.root("cat", f"{notebook.home}/before.json"))["kernel"]
    alive = [kernel["id"] for kernel in notebook.ask("kernels")]
    assert alive == ([before] if ENDED[notebook.machine.name] == "ngrok" else [])


@pytest.fixture(scope="session")
def again() -> dict[str, dict[str, int]]:
    """The processes of all hosts before a further reconnect, which changes nothing."""
    before = {host.name: Notebook(host, "dev").processes() for host in attach()[0].hosts}
    done = play("reconnect")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(" changed=0 ") == len(before)
    return before


def test_a_further_reconnect_restarts_nothing(
    notebook: Notebook, again: dict[str, dict[str, int]]
) -> None:
    assert notebook.processes() == again[notebook.machine.name]
