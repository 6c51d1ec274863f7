"""The authtoken and the password are shown to nobody."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.accounts import Account
from tests.support.edge.client import Edge
from tests.support.waiting import wait_until


@contextmanager
def watched_processes(secrets: list[str]) -> Iterator[set[str]]:
    """Look at every process's command line again and again; yield the lines that hold a secret."""
    seen: set[str] = set()
    looks = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal looks
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if any(secret in line for secret in secrets):
                    seen.add(line)
            looks += 1
            done.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        wait_until(lambda: looks)
        yield seen
    finally:
        done.set()
        watcher.join()


def readable_by_others(account: Account, secrets: list[str]) -> list[Path]:
    """Files in the home, Ansible's scratch among them, with a secret and open to others."""
    files = [
        path
        for path in account.home.rglob("*")
        if path.is_file() and not path.is_symlink() and "venv" not in path.parts
    ]
    holding = [
        path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)
    ]
    assert holding
    return [path for path in holding if is_open(path, account)]


def is_open(path: Path, account: Account) -> bool:
    """Whether others may read a file. What the roles wrote has to be closed by its own mode.

    Jupyter writes a readable page with its token into its runtime directory, which it closes.
    """
    above = [parent for parent in path.parents if parent.is_relative_to(account.home)]
    closed_above = any(
        not parent.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for parent in above
    )
    ours = path.is_relative_to(account.state) and "runtime" not in path.parts
    readable = bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    return readable and (ours or not closed_above)


def test_the_watcher_sees_a_secret_on_a_command_line() -> None:
    secret = uuid.uuid4().hex
    with (
        watched_processes([secret]) as seen,
        subprocess.Popen([sys.executable, "-c", "input()", secret], stdin=subprocess.PIPE) as leak,
    ):
        wait_until(lambda: seen)
        leak.kill()


@pytest.mark.parametrize("given", ["by variable", "by environment"])
def test_setup_shows_no_secret(neighbour: Account, given: str) -> None:
    account = neighbour
    token = str(account.variables["ngrok_authtoken"])
    password = f"pw {uuid.uuid4().hex}"
    secrets = [token, password]
    if given == "by environment":
        del account.variables["ngrok_authtoken"]
        account.exported["NGROK_AUTHTOKEN"] = token

    with watched_processes(secrets) as seen:
        outputs = account.setup("-vvv", "--diff", jupyter_password=password).output
        # The second run changes the secret, which a diff could show.
        outputs += account.setup("-vvv", "--diff", jupyter_password=f"{password}2").output

    assert seen == set()
    secrets.append((account.state / "jupyter/token").read_text())
    outputs += account.tmux("show-environment", "-g")
    for session, pid in account.pids().items():
        outputs += account.tmux("show-environment", "-t", f"={session}")
        outputs += Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    assert [secret for secret in secrets if secret in outputs] == []
    assert readable_by_others(account, secrets) == []


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
        # 127.0.0.1, as the kernel writes it.
        assert listening == [f"0100007F:{port:04X}"]
