"""What is said where something cannot work, and what helps. It takes further setups: one host."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.hosts.verify import Notebook, play
from tests.support.hosts.world import attach

HOSTS = {host.name: host for host in attach()[0].hosts}

pytestmark = pytest.mark.skipif("trixie" not in HOSTS, reason="the host is not among them")


def on_trixie(playbook: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook for that host."""
    return play(playbook, "-e", "notebook_hosts=trixie", *words)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a playbook that has failed has said, without the ends of its lines."""
    assert done.returncode != 0, done.stdout
    return " ".join(done.stderr.split())


def test_where_other_accounts_processes_are_hidden_nobody_can_see_that_all_are_idle() -> None:
    refused = on_trixie("setup", "-e", "notebook_idle_minutes=60")

    assert "ada does not see what other accounts run (/proc is mounted with hidepid)" in said(
        refused
    )
    assert set(Notebook(HOSTS["trixie"], "ada", "dev").processes()) == {"jupyter", "ngrok"}


def test_where_home_executes_nothing_it_says_so_and_another_directory_helps() -> None:
    host = HOSTS["trixie"]
    assert on_trixie("stop").returncode == 0
    host.run(["mount", "--bind", "/home", "/home"])
    host.run(["mount", "-o", "remount,bind,noexec", "/home"])
    host.run(["install", "-d", "-o", "ada", "-m", "700", "/opt/ada"])

    refused = on_trixie("setup")
    elsewhere = [f"-e{role}_base_dir=/opt/ada/{role}" for role in ("jupyter", "ngrok")]
    helped = on_trixie("setup", *elsewhere)

    assert "/start cannot be run, because /home is mounted with noexec. Choose" in said(refused)
    assert helped.returncode == 0, helped.stdout
    assert set(Notebook(host, "ada", "dev").processes()) == {"jupyter", "ngrok"}
