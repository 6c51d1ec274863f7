"""What goes on when the last login has ended."""

from __future__ import annotations

from testinfra.host import Host

from tests.support.hosts.verify import Notebook


def test_the_last_logout_ends_nothing(host: Host) -> None:
    notebook = Notebook.of(host)
    assert notebook.kills()
    before = notebook.processes()
    notebook.log_out()

    assert notebook.processes() == before
    assert set(before) == {"jupyter", "ngrok"}
    assert notebook.answers()
    assert notebook.logins() == []
