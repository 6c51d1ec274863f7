"""What an account is told that lacks tmux and may not install it."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from tests.support.hosts.verify import play
from tests.support.hosts.world import attach


@pytest.fixture(scope="session")
def told() -> str:
    """The errors of a setup on hosts without tmux."""
    hosts = attach()[0].hosts
    for host in hosts:
        host.run(["pkill", "-KILL", "-u", "lab"], check=False)
        host.run(["mv", "/usr/bin/tmux", "/usr/bin/tmux.away"])
    try:
        tried = play("setup")
    finally:
        for host in hosts:
            host.run(["mv", "/usr/bin/tmux.away", "/usr/bin/tmux"])
    assert tried.returncode != 0
    return " ".join(tried.stderr.split())


def test_without_tmux_it_fails_and_names_the_package(host: Host, told: str) -> None:
    name = host.ansible.get_variables()["inventory_hostname"]
    assert (
        f"The package tmux is not installed on {name}, and the account there may not become root. "
        "Have somebody install tmux, then run this again."
    ) in told
