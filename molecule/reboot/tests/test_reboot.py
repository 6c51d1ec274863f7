"""What reconnect brings back after a reboot."""

from __future__ import annotations

import json

from testinfra.host import Host

from tests.hosts.verify import Notebook, play
from tests.hosts.world import directory

BTIME = ("sed", "-n", "s/^btime //p", "/proc/stat")


def test_both_sessions_run_and_the_notebook_answers(host: Host) -> None:
    notebook = Notebook.of(host)
    assert set(notebook.processes()) == {"jupyter", "ngrok"}
    assert notebook.answers()


def test_reconnect_said_what_it_started(host: Host) -> None:
    name = Notebook.of(host).machine.name
    report = json.loads((directory() / "report.json").read_text())
    repaired = {row["host"]: row["repaired"] for row in report}
    assert repaired[name] == ["server", "agent"]


def test_that_it_was_rebooted_is_known(host: Host) -> None:
    notebook = Notebook.of(host)
    started = notebook.root("date", "-d", "@" + notebook.root(*BTIME).strip(), "+%F %R %Z")
    assert notebook.read("jupyter/earlier").splitlines()[0] == started.strip()


def test_the_sessions_outlive_the_login_that_reconnected(host: Host) -> None:
    notebook = Notebook.of(host)
    for pid in notebook.processes().values():
        assert "/user@1000.service/" in notebook.cgroup(pid)


def test_a_further_reconnect_changes_nothing() -> None:
    again = play("reconnect")
    assert again.returncode == 0, again.stdout
    assert again.stdout.count(" changed=0 ") == 2
