"""What is there after a reboot, before anybody has done anything."""

from __future__ import annotations

import json
import time
from subprocess import CompletedProcess

import pytest
from testinfra.host import Host

from tests.support.hosts.verify import Notebook, play
from tests.support.hosts.world import directory

BTIME = ("sed", "-n", "s/^btime //p", "/proc/stat")
BOOT_SECONDS = 15


def said(done: CompletedProcess[str]) -> str:
    """What a playbook has printed, without the ends of its lines."""
    return " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def reconnect() -> CompletedProcess[str]:
    """The first reconnect after the reboot."""
    return play("reconnect", "-e", f"notebook_report={directory()}/report.json")


def test_both_sessions_are_back(host: Host) -> None:
    notebook = Notebook.of(host)
    began = int(notebook.root("ps", "-o", "etimes=", "-p", "1"))
    while set(notebook.processes()) != {"jupyter", "ngrok"}:
        assert int(notebook.root("ps", "-o", "etimes=", "-p", "1")) < began + BOOT_SECONDS
        time.sleep(0.1)
    for pid in notebook.processes().values():
        age = int(notebook.root("ps", "-o", "etimes=", "-p", str(pid)))
        assert int(notebook.root("ps", "-o", "etimes=", "-p", "1")) - age <= BOOT_SECONDS


def test_they_are_in_scopes_of_the_account_s_manager(host: Host) -> None:
    notebook = Notebook.of(host)
    for pid in notebook.processes().values():
        assert "/user@1000.service/" in notebook.cgroup(pid)


def test_a_session_has_the_command_it_had(host: Host) -> None:
    odd = Notebook.of(host).root("cat", "/home/dev/odd")
    assert odd.splitlines() == ['100% $HOME \\n "quoted"', ";", "#{pid}"]


def test_reconnect_finds_nothing_to_repair(host: Host, reconnect: CompletedProcess[str]) -> None:
    assert reconnect.returncode == 0, reconnect.stdout
    name = Notebook.of(host).machine.name
    report = {row["host"]: row for row in json.loads((directory() / "report.json").read_text())}
    assert (report[name]["error"], report[name]["repaired"]) == (None, [])
    assert Notebook.of(host).answers()


def test_it_changes_nothing_where_the_url_stays(reconnect: CompletedProcess[str]) -> None:
    recap = next(line for line in reconnect.stdout.splitlines() if line.startswith("trixie  "))
    assert " changed=0 " in recap


def test_it_says_that_the_kernels_are_lost(host: Host, reconnect: CompletedProcess[str]) -> None:
    notebook = Notebook.of(host)
    started = notebook.root("date", "-d", "@" + notebook.root(*BTIME).strip(), "+%F %R %Z")
    lost = f"The machine was, at {started.strip()}; the kernels it had then are lost."
    assert said(reconnect).count(f"Rebooted: {lost}") == 2


def test_status_says_so_too() -> None:
    assert said(play("status")).count("The machine was rebooted at 20") == 2


def test_a_further_reconnect_changes_nothing() -> None:
    again = play("reconnect")
    assert again.returncode == 0, again.stdout
    assert again.stdout.count(" changed=0 ") == 2
