"""Where a secret can be seen by others: on command lines, and in files."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.accounts import Account
from tests.support.waiting import wait_until

LOOKS = 50


@contextmanager
def watched_processes(secrets: list[str]) -> Iterator[set[str]]:
    """Look at the command line of every process; yield those that hold a secret."""
    seen: set[str] = set()
    # How often each process was looked at: what it runs, and with which words, is settled soon.
    looks: dict[str, int] = {}
    done = threading.Event()

    def watch() -> None:
        nonlocal looks
        while not done.is_set():
            looks = {pid: looks.get(pid, 0) + 1 for pid in os.listdir("/proc") if pid.isdigit()}
            for pid in [pid for pid, count in looks.items() if count <= LOOKS]:
                try:
                    line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if any(secret in line for secret in secrets):
                    seen.add(line)
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

    Jupyter writes a readable page with its token into its runtime directory, which is closed.
    """
    above = [parent for parent in path.parents if parent.is_relative_to(account.home)]
    closed_above = any(
        not parent.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for parent in above
    )
    ours = path.is_relative_to(account.state) and "k" not in path.parts
    readable = bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    return readable and (ours or not closed_above)


def environments(account: Account) -> str:
    """What tmux and the commands in its sessions have in their environments."""
    found = account.tmux("show-environment", "-g")
    for session, pid in account.pids().items():
        found += account.tmux("show-environment", "-t", f"={session}")
        found += Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return found
