"""What two accounts of one host may rely on, of which the second may not become root."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from testinfra.host import Host

from tests.support.edge.client import fetch
from tests.support.hosts.verify import Notebook, play
from tests.support.hosts.world import attach

AFTER_LOGOUT = "Jupyter ends, because this machine ends what a login leaves behind."


@pytest.fixture(scope="session", autouse=True)
def cards() -> Iterator[dict[str, str]]:
    """What a further reconnect says of each, and a login of those that may not become root.

    Where logind kills, the last login has taken their notebook along.
    """
    with ExitStack() as logins:
        for machine in attach()[0].hosts:
            logins.enter_context(Notebook(machine, "lab").staying())
        done = play("reconnect")
        assert done.returncode == 0, done.stdout
        shown = done.stdout.partition("TASK [Show the card]")[2].partition("TASK [")[0]
        told = re.split(r"^ok: \[([\w-]+)\]", shown, flags=re.MULTILINE)[1:]
        yield dict(zip(told[::2], told[1::2], strict=True))


@pytest.fixture
def notebook(host: Host) -> Notebook:
    return Notebook.of(host)


@pytest.fixture
def other(notebook: Notebook) -> Notebook:
    return Notebook(notebook.machine, {"dev": "lab", "lab": "dev"}[notebook.account])


def test_each_has_both_sessions(notebook: Notebook) -> None:
    assert set(notebook.processes()) == {"jupyter", "ngrok"}


def test_each_has_a_port_of_its_own(notebook: Notebook, other: Notebook) -> None:
    assert notebook.read("jupyter/port") != other.read("jupyter/port")


def test_each_processes_belong_to_its_account(notebook: Notebook) -> None:
    for pid in notebook.processes().values():
        assert notebook.root("stat", "--format=%U", f"/proc/{pid}").strip() == notebook.account


def test_each_url_leads_to_its_own_server(notebook: Notebook, other: Notebook) -> None:
    own = {"Authorization": f"token {notebook.read('jupyter/token')}"}

    seen = fetch(notebook.url, "/api/status", own)

    assert seen.status == 200
    assert json.loads(seen.body)["started"] == notebook.ask("status")["started"]
    assert fetch(other.url, "/api/status", own).status == 403


def test_sudo_was_only_asked_whether_it_would_work(notebook: Notebook) -> None:
    calls = notebook.root("cat", "/var/log/sudo-calls").splitlines()
    assert {call for call in calls if call.startswith("lab: ")} == {"lab: -n true"}


def test_the_card_says_where_a_logout_ends_it_and_that_is_true(
    notebook: Notebook, cards: dict[str, str]
) -> None:
    before = notebook.processes()
    ends = notebook.account == "lab" and notebook.kills()
    assert notebook.kills() is (notebook.machine.name == "bookworm")
    assert (AFTER_LOGOUT in cards[f"{notebook.machine.name}-{notebook.account}"]) is ends

    notebook.log_out()

    assert notebook.processes() == ({} if ends else before)
    assert ends or notebook.answers()
