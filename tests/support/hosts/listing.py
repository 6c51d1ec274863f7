"""What is on this machine, as lines to compare: has a run left anything behind?"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import run as execute

from tests.support import CHECKOUT
from tests.support.hosts.base import runs_dir
from tests.support.hosts.client import AS_ROOT, STATE, Run
from tests.support.hosts.machine import MARK, UPLINK, Record
from tests.support.waiting import wait_until

RUNS = re.compile(rf"{MARK}|\b{UPLINK}\d+\b")


def everything() -> frozenset[str]:
    """Processes, namespaces, mounts, cgroups, links, addresses, firewall rules, runs.

    A process appears with its start time and its namespaces with their numbers: neither comes
    back, so a line that is still there is the same thing.
    """
    if AS_ROOT:
        command = [*AS_ROOT, sys.executable, "-B", "-m", "tests.support.hosts.listing"]
        done = execute(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        return frozenset(done.stdout.splitlines())
    return frozenset(
        (*_processes(), *_mounts(), *_cgroups(), *_network(), *map("directory {}".format, _runs()))
    )


def belongings(run: Run) -> frozenset[str]:
    """What of :func:`everything` is a run's: its mark is on it, or a process of its holds it."""
    marks = (run.token, f"{run.directory}/", f"directory {run.directory} ")
    ours = set()
    namespaces = set()
    for line in everything():
        if any(mark in f"{line} " for mark in marks):
            ours.add(line)
            namespaces.update(_namespaces(line))
    namespaces -= set().union(*map(_namespaces, _process(Path("/proc/self"))))
    shared = {line for line in everything() if namespaces.intersection(_namespaces(line))}
    return frozenset(ours | shared)


def left(run: Run, had: frozenset[str], seconds: float = 10) -> list[str]:
    """What a run that ended still has of what it ``had``, and anything that bears its mark.

    The kernel takes namespaces and links down in the background, hence a limit in ``seconds``.
    """

    def remains() -> list[str]:
        return sorted((had & everything()) | belongings(run))

    with suppress(TimeoutError):
        wait_until(lambda: not remains(), seconds)
    return remains()


def lasting() -> frozenset[str]:
    """Links, addresses, rules and mounts of this machine, not of runs: none may change them."""
    kinds = ("link ", "address ", "rule ", f"mount {Path('/proc/self/ns/mnt').readlink()} ")
    return frozenset(
        line for line in everything() if line.startswith(kinds) and not RUNS.search(line)
    )


def _namespaces(line: str) -> set[str]:
    """The namespaces a line names, such as ``net:[4026531840]``."""
    return {word for word in line.split() if ":[" in word and word.endswith("]")}


def _processes() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        yield from _process(process)


def _process(process: Path) -> Iterator[str]:
    try:
        status = (process / "stat").read_text().rpartition(")")[2].split()
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        cgroup = (process / "cgroup").read_text().replace("\n", " ")
        kinds = ("mnt", "net", "pid")
        namespaces = " ".join(str((process / "ns" / kind).readlink()) for kind in kinds)
    except OSError:  # It has ended, or is none of our business.
        return
    if status[0] not in "ZX":
        short = " ".join(command.split())
        yield f"process {process.name} since {status[19]} {namespaces} {cgroup} {short}"


def _mounts() -> Iterator[str]:
    """Mounts of every mount namespace that a process is in."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            namespace = (process / "ns/mnt").readlink()
            if namespace in seen:
                continue
            seen.add(namespace)
            lines = (process / "mountinfo").read_text().splitlines()
        except OSError:
            continue
        yield from (f"mount {namespace} {line.split(' ', 3)[3]}" for line in lines)


def _cgroups() -> Iterator[str]:
    for directory, _, _ in os.walk("/sys/fs/cgroup"):
        if MARK in directory:
            yield f"cgroup {directory}"


def _network() -> Iterator[str]:
    for kind, *command in (
        ("link", "ip", "-o", "link"),
        ("address", "ip", "-o", "-4", "addr"),
        ("rule", "iptables", "-w", "-S"),
        ("rule", "iptables", "-w", "-t", "nat", "-S"),
    ):
        done = execute(command, capture_output=True, text=True, check=True)
        yield from (f"{kind} {line}" for line in done.stdout.splitlines())


def _runs() -> Iterator[str]:
    yield from map(str, Path("/tmp").glob(f"{UPLINK}-*"))
    for path in runs_dir(STATE).glob("*/"):
        record = Record.read(path)
        yield f"{path} {record.id if record else ''}"


if __name__ == "__main__":
    print(*sorted(everything()), sep="\n")
