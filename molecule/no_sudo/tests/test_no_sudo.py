"""What an account gets that may not become root."""

from __future__ import annotations

import re

import pytest
from testinfra.host import Host

from tests.support.hosts.verify import Notebook, play

AFTER_LOGOUT = "Jupyter ends, because this machine ends what a login leaves behind."


def test_sudo_was_only_asked_whether_it_would_work(host: Host) -> None:
    calls = Notebook.of(host).root("cat", "/var/log/sudo-calls").splitlines()
    assert set(calls) == {"lab: -n true"}


@pytest.fixture(scope="session")
def cards() -> dict[str, str]:
    """What a further reconnect says of each host.

    Where logind kills, the last login has taken the notebook along.
    """
    done = play("reconnect")
    assert done.returncode == 0, done.stdout
    shown = done.stdout.partition("TASK [Show the card]")[2].partition("TASK [")[0]
    told = re.split(r"^ok: \[(\w+)\]", shown, flags=re.MULTILINE)[1:]
    return dict(zip(told[::2], told[1::2], strict=True))


def test_it_has_a_notebook_and_the_card_says_where_a_logout_ends_it(
    host: Host, cards: dict[str, str]
) -> None:
    notebook = Notebook.of(host)
    kills = notebook.machine.name == "bookworm"

    assert notebook.kills() is kills
    assert (AFTER_LOGOUT in cards[notebook.machine.name]) is kills
    assert set(notebook.processes()) == {"jupyter", "ngrok"}
    assert notebook.answers()


def test_what_the_card_says_of_a_logout_is_true(host: Host) -> None:
    notebook = Notebook.of(host)
    before = notebook.processes()

    notebook.log_out()

    assert notebook.processes() == ({} if notebook.kills() else before)
