"""The authtoken and the password are shown to nobody."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.support.accounts import Account
from tests.support.edge.client import Edge
from tests.support.leaks import environments, readable_by_others, watched_processes
from tests.support.waiting import wait_until


def test_the_watcher_sees_a_secret_on_a_command_line() -> None:
    secret = uuid.uuid4().hex
    with (
        watched_processes([secret]) as seen,
        subprocess.Popen([sys.executable, "-c", "input()", secret], stdin=subprocess.PIPE) as leak,
    ):
        wait_until(lambda: seen)
        leak.kill()


@pytest.mark.acceptance
def test_setup_shows_no_secret_that_is_given_by_variable(neighbour: Account) -> None:
    account = neighbour
    token = str(account.variables["ngrok_authtoken"])
    password = f"pw {uuid.uuid4().hex}"
    secrets = [token, password]

    with watched_processes(secrets) as seen:
        outputs = account.setup("-vvv", "--diff", jupyter_password=password).output
        # The second run changes the secret, which a diff could show.
        outputs += account.setup("-vvv", "--diff", jupyter_password=f"{password}2").output

    assert seen == set()
    secrets.append((account.state / "jupyter/token").read_text())
    outputs += environments(account)
    assert [secret for secret in secrets if secret in outputs] == []
    assert readable_by_others(account, secrets) == []


@pytest.mark.acceptance
def test_a_refusal_that_repeats_the_token_shows_no_secret(neighbour: Account, edge: Edge) -> None:
    account = neighbour
    token = str(account.variables["ngrok_authtoken"])
    edge.fault(auth_error="ERR_NGROK_107")

    play = account.play("anywhere.notebook.setup", "-vvv", "--diff")

    assert "ERR_NGROK_107" in play.output
    assert token not in play.output
    # The service did repeat it, and the agent wrote it down.
    assert token in (account.state / "ngrok/agent.log").read_text()
    assert readable_by_others(account, [token]) == []


def test_jupyter_and_the_agent_listen_on_loopback_only(notebook: Account) -> None:
    pids = notebook.pids()
    ports = {
        "jupyter": int(str(notebook.variables["jupyter_port"])),
        "ngrok": int(str(notebook.variables["ngrok_web_addr"]).rpartition(":")[2]),
    }
    assert ports.keys() <= pids.keys()
    tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    for port in ports.values():
        listening = [
            row.split()[1]
            for row in tables.splitlines()
            if f":{port:04X} " in row and row.split()[3] == "0A"
        ]
        # 127.0.0.1, as the kernel writes it; the agent's API may be off.
        assert listening in ([f"0100007F:{port:04X}"], [] if port == ports["ngrok"] else None)
