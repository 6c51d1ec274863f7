"""The part of the hosts that needs root, one verb per process.

``python -m tests.support.hosts.root VERB ARGUMENTS`` with the arguments as a JSON object; it
answers with a JSON object that has either ``done`` or ``error``.
:mod:`tests.support.hosts.client` calls it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import CHECKOUT
from tests.support.hosts import base, machine
from tests.support.hosts.base import HostsError, layers, locked, runs_dir


def start(state: Path, name: str, token: str, owner: int | None) -> dict[str, Any]:
    """Start a run and its guard. With an owner (a pid), the run ends with that process.

    ``token`` is no other run's; everything the run has on the machine carries it.
    """
    machine.require_tools()
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,19}", name):
        raise HostsError(f"run {name!r}: up to 20 small letters, digits and hyphens")
    watched = None if owner is None else vars(machine.Process.of(owner))
    account = (int(os.environ.get("SUDO_UID", 0)), int(os.environ.get("SUDO_GID", 0)))
    directory = runs_dir(state) / name
    with _runs(state):
        if directory.exists():
            raise HostsError(f"run {name} exists")
        directory.mkdir()
        os.chown(directory, *account)
        given = {
            "id": f"{machine.MARK}-{name}-{token}",
            "directory": str(directory),
            # The path of a socket has at most 107 bytes, so these are not below the checkout.
            "sockets": f"/tmp/{machine.UPLINK}-{token}",
            "account": account,
            "owner": watched,
        }
        with (directory / "guard.log").open("wb") as log:
            guard = subprocess.Popen(
                [sys.executable, "-B", "-m", "tests.support.hosts.guard", json.dumps(given)],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert guard.stdout is not None
        said = guard.stdout.readline().strip()
        if said != "ready":
            raise HostsError(said or (directory / "guard.log").read_text())
    return show(state, name)


def show(state: Path, name: str) -> dict[str, Any]:
    """One run."""
    return _public(_record(state, name))


def living(state: Path) -> list[dict[str, Any]]:
    """The runs that live, after an end of what killed ones left."""
    with _runs(state):
        return [_public(record) for record in machine.sweep(runs_dir(state))]


def end(state: Path, name: str, token: str) -> None:
    """End a run; nothing happens when there is none, or only one with another token."""
    with _runs(state):
        record = machine.Record.read(runs_dir(state) / name)
        if record is not None and record.id.endswith(token):
            machine.end(record)


def up(state: Path, name: str, hosts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make hosts and boot them."""
    base_dir = state / "base"
    base_dir.mkdir(exist_ok=True)
    wanted = ("release", "packages", "kept")
    lower = [layers(base_dir, *(spec[key] for key in wanted)) for spec in hosts]
    with _changing(state, name) as record:
        made = [machine.add(record, *pair) for pair in zip(hosts, lower, strict=True)]
    return [vars(host) for host in made]


def power(state: Path, name: str, host: str, on: bool) -> None:
    """Boot a host or pull its plug."""
    with _changing(state, name) as record:
        machine.power(record, record.host(host), on=on)


def wire(state: Path, name: str, host: str, **changes: Any) -> None:
    """Change a host's link: ``cut``, ``delay_ms``, ``loss_percent``."""
    with _changing(state, name) as record:
        found = record.host(host)
        for key, value in changes.items():
            setattr(found, key, value)
        machine.wire(record, found)


def down(state: Path, name: str, host: str) -> None:
    """End a host and remove what it had."""
    with _changing(state, name) as record:
        machine.remove(record, record.host(host))


def keep(state: Path, name: str, host: str, layer: str) -> None:
    """Make a layer of what a host has that is shutting down."""
    with _changing(state, name) as record:
        found = record.host(host)
        machine.ended(record, found)
        upper = record.home(found) / "upper"
    with _runs(state):
        living = machine.sweep(runs_dir(state))
        used = {found.kept for record in living for found in record.hosts}
        base.keep(upper, state / "base" / layer, used)


@contextmanager
def _runs(state: Path) -> Iterator[None]:
    """Hold the lock for starting and ending runs, after an end of what killed ones left."""
    (runs_dir(state)).mkdir(parents=True, exist_ok=True)
    with locked(runs_dir(state) / "lock"):
        machine.sweep(runs_dir(state))
        yield


@contextmanager
def _changing(state: Path, name: str) -> Iterator[machine.Record]:
    """Hold a run's lock, and have its record as it is now."""
    try:
        with locked(runs_dir(state) / name / "lock"):
            yield _record(state, name)
    except FileNotFoundError as exc:
        if (runs_dir(state) / name).exists():
            raise
        raise HostsError(f"there is no run {name}") from exc


def _record(state: Path, name: str) -> machine.Record:
    record = machine.Record.read(runs_dir(state) / name)
    if record is None:
        raise HostsError(f"there is no run {name}")
    return record


def _public(record: machine.Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "token": record.id.rpartition("-")[2],
        "gateway": f"{record.subnet}.1",
        "sockets": str(record.sockets),
        "uplink": record.uplink,
        "guard": record.guard.pid,
        "init": record.init and record.init.pid,
        "owner": record.owner and record.owner.pid,
        "hosts": [vars(host) for host in record.hosts],
    }


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb for verb in (start, show, living, end, up, power, wire, down, keep)
}


def main() -> int:
    """Do what the command line says and return the exit status."""
    os.umask(0o022)
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
    verb, given = sys.argv[1], json.loads(sys.argv[2])
    state = Path(given.pop("state"))
    try:
        answer: dict[str, Any] = {"done": VERBS[verb](state, **given)}
    except (HostsError, ProcessLookupError, TimeoutError) as exc:
        answer = {"error": str(exc)}
    print(json.dumps(answer))
    return "error" in answer


if __name__ == "__main__":
    sys.exit(main())
