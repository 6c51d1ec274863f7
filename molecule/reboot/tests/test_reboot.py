"""What is there after a reboot, before anybody has done anything."""

from __future__ import annotations

import json
import re
from datetime import datetime
from subprocess import CompletedProcess

import pytest
from testinfra.host import Host

from tests.support.hosts.verify import Notebook, play
from tests.support.hosts.world import attach, directory
from tests.support.waiting import wait_until

BTIME = ("sed", "-n", "s/^btime //p", "/proc/stat")
BOOT_SECONDS = 60
NAMES = [host.name for host in attach()[0].hosts]


def said(done: CompletedProcess[str]) -> str:
    """What a playbook has printed, without the ends of its lines."""
    return " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def reconnect() -> CompletedProcess[str]:
    """The first reconnect after the reboot."""
    return play("reconnect", "-e", f"notebook_report={directory()}/report.json")


def test_both_sessions_are_back(host: Host) -> None:
    notebook = Notebook.of(host)
    both = {"jupyter", "ngrok"}
    wait_until(lambda: set(notebook.processes()) == both, BOOT_SECONDS, what="both sessions")
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


@pytest.mark.skipif("trixie" not in NAMES, reason="the one whose URL stays is not among them")
def test_it_changes_nothing_where_the_url_stays(reconnect: CompletedProcess[str]) -> None:
    recap = next(line for line in reconnect.stdout.splitlines() if line.startswith("trixie  "))
    # The report on all hosts counts as a change of the first.
    changes = int(NAMES[0] == "trixie")
    assert f" changed={changes} " in recap, reconnect.stdout


def test_it_says_that_the_kernels_are_lost(host: Host, reconnect: CompletedProcess[str]) -> None:
    notebook = Notebook.of(host)
    started = datetime.fromtimestamp(int(notebook.root(*BTIME)))
    lost = rf"Rebooted: The machine was, \w+ at {started:%H:%M}; the kernels it had then are lost\."
    assert len(re.findall(lost, said(reconnect))) == 1


def test_status_says_so_too() -> None:
    told = re.findall(r"The machine was rebooted \w+ at \d\d:\d\d;", said(play("status")))
    assert len(told) == len(NAMES)


def test_a_further_reconnect_changes_nothing() -> None:
    again = play("reconnect")
    assert again.returncode == 0, again.stdout
    assert again.stdout.count(" changed=0 ") == len(NAMES)
