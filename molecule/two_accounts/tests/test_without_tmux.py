"""What an account is told that lacks tmux and may not install it."""

from __future__ import annotations

from tests.support.hosts.verify import play
from tests.support.hosts.world import attach


def test_without_tmux_it_fails_and_names_the_package() -> None:
    hosts = attach()[0].hosts
    for host in hosts:
        host.run(["pkill", "-KILL", "-u", "lab"], check=False)
        host.run(["mv", "/usr/bin/tmux", "/usr/bin/tmux.away"])
    try:
        tried = play("setup", "-e", "notebook_hosts=*-lab")
    finally:
        for host in hosts:
            host.run(["mv", "/usr/bin/tmux.away", "/usr/bin/tmux"])
    assert tried.returncode != 0
    told = " ".join(tried.stderr.split())
    for host in hosts:
        assert (
            f"The package tmux is not installed on {host.name}-lab, and the account there may not "
            "become root: "
        ) in told
    assert "Have somebody install tmux, or let the account become root; then run this" in told
