"""The role ngrok by itself: what it installs, and when it installs another agent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _ngrok

from tests.support.accounts import Account, pack_agent
from tests.support.breakages import kill
from tests.support.edge.client import Edge
from tests.support.plays import refused
from tests.support.processes import descendants
from tests.support.sites import Site, serving
from tests.support.waiting import wait_until

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_role:
        name: anywhere.notebook.ngrok
        tasks_from: {entry_point}
"""


@pytest.fixture(scope="module")
def machine(new_account: Callable[[], Account], service: Edge) -> Iterator[Account]:
    """An account with an agent that was installed from an archive, and a server of its own."""
    account = new_account()
    account.variables["ngrok_url"] = f"http://lingering.localhost:{service.visitor_port}"
    for entry_point in ("main", "session"):
        (account.home / f"{entry_point}.yml").write_text(PLAY.format(entry_point=entry_point))
    account.variables |= pack_agent(account.home / "old.tgz", 1)
    with serving(Site()) as site:
        account.variables["ngrok_upstream_url"] = site.url
        play = account.play(account.home / "main.yml")
        assert play.status == 0, play.output
        yield account
        account.stop()


def installed(account: Account) -> Path:
    """Where the role puts the agent of the archive that the account names."""
    digest = str(account.variables["ngrok_archive_checksum"]).partition(":")[2][:12]
    return account.state / f"ngrok/ngrok-{digest}"


def program(account: Account) -> Path:
    """The agent that runs."""
    return Path(f"/proc/{descendants(account.pids()['ngrok'])[-1]}/exe").readlink()


def test_an_archive_with_the_right_checksum_is_installed(machine: Account) -> None:
    assert program(machine) == installed(machine)


@pytest.mark.acceptance
def test_an_archive_is_installed_once(machine: Account) -> None:
    again = machine.play(machine.home / "main.yml")

    assert (again.status, again.changed) == (0, 0), again.output


def test_a_checksum_that_does_not_match(account: Account) -> None:
    given = pack_agent(account.home / "ngrok.tgz", 1)
    given["ngrok_archive_checksum"] = f"sha256:{'0' * 64}"
    (account.home / "play.yml").write_text(PLAY.format(entry_point="main"))

    play = account.play(account.home / "play.yml", **given)

    assert "checksum" in refused(play)
    assert [path.name for path in (account.state / "ngrok").iterdir()] == []
    assert account.pids() == {}


def test_the_endpoint_of_an_agent_that_crashed_is_waited_for(machine: Account, edge: Edge) -> None:
    edge.fault(linger=True)
    before = machine.pids()["ngrok"]
    kill(before)

    def let_go() -> None:
        # The new agent was refused, and so somebody waits.
        log = str(machine.state / "ngrok/agent.log")
        wait_until(lambda: "ERR_NGROK_334" in _ngrok.read_log(log))
        edge.fault(linger=False)

    gone = threading.Thread(target=let_go)
    gone.start()

    play = machine.play(machine.home / "session.yml")

    gone.join()
    assert play.status == 0, play.output
    assert machine.pids()["ngrok"] != before
    assert "lingering.localhost" in (machine.state / "ngrok/url").read_text()


def test_an_agent_that_is_too_old_is_replaced_by_the_present_release(
    machine: Account, edge: Edge
) -> None:
    edge.fault(auth_error="ERR_NGROK_121")
    kill(machine.pids()["ngrok"])

    play = machine.play(machine.home / "session.yml")

    assert "This collection knows none newer than" in refused(play)

    machine.variables |= pack_agent(machine.home / "new.tgz", 2)

    def accept_the_new_one() -> None:
        wait_until(installed(machine).exists)
        edge.fault(auth_error=None)

    accepted = threading.Thread(target=accept_the_new_one)
    accepted.start()

    play = machine.play(machine.home / "session.yml")

    accepted.join()
    assert play.status == 0, play.output
    assert program(machine) == installed(machine)
