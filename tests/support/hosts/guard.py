"""The guard of one run: makes its namespaces, and ends the run with its owner.

``python -m tests.support.hosts.guard RECORD``, started by :mod:`tests.support.hosts.root`, as root
and detached. It prints one line when the run is ready. The run's first process dies with the guard,
by kernel.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.hosts import machine
from tests.support.hosts.base import HostsError, locked

# The first process: prints its pid as the machine sees it, and reaps orphans.
INIT = """\
set -eu
read -r pid rest </proc/self/stat
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns
umount -R /sys/fs/cgroup || :
mount -t cgroup2 cgroup2 /sys/fs/cgroup
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 || :
ip link set lo up
ip link add bridge type bridge
ip link set bridge up
echo "$pid"
exec >/dev/null
sleep infinity &
wait
"""


def main() -> None:
    """Start the run, wait for its end, clean up."""
    given = json.loads(sys.argv[1])
    directory = Path(given["directory"])
    me = machine.Process.of(os.getpid())
    owner = given["owner"] and machine.Process(**given["owner"])
    record = machine.Record(
        id=given["id"],
        name=directory.name,
        directory=directory,
        sockets=Path(given["sockets"]),
        account=tuple(given["account"]),
        guard=me,
        owner=owner,
    )
    record.write()
    record.sockets.mkdir(mode=0o700)
    os.chown(record.sockets, *record.account)
    for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(wanted, _leave)
    namespaces = ("--mount", "--net", "--pid", "--fork", "--kill-child")
    init = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "unshare", *namespaces, "sh", "-c", INIT, record.id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert init.stdout is not None
        said = init.stdout.readline()
        if not said:
            raise HostsError("the namespaces of the run could not be made; see guard.log")
        record.init = machine.Process.of(int(said))
        record.write()
        machine.connect(record)
        print("ready", flush=True)
        sys.stdout.close()
        watched = [owner.watch()] if owner else []
        # A descriptor is missing when its process has ended already.
        if None not in watched:
            ends = [os.pidfd_open(init.pid), *(found for found in watched if found is not None)]
            select.select(ends, [], [])
    except HostsError as exc:
        print(exc, flush=True)
        raise
    finally:
        with locked(directory.parent / "lock"):
            found = machine.Record.read(directory)
            if found is not None and found.id == record.id:
                machine.end(found)


def _leave(*_: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
