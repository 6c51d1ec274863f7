# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell who else installs packages on this machine, and wait until nobody does.

Usage: ``python3 -I - SECONDS``. Prints who does; 0 seconds only look. Its exit status is 0 when
packages can be installed, ``BUSY`` when somebody still does, and ``BROKEN`` when an installation
has ended halfway. It takes root, who alone may read the files that are locked.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time

BUSY, BROKEN = 6, 7

# Locked with fcntl(2) while apt and dpkg (apt-get(8), FILES; dpkg's lib/dpkg/dbmodify.c) or rpm
# (its lib/rpmlock.c) work.
LOCKS = (
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
    "var/lib/apt/lists/lock",
    "var/cache/apt/archives/lock",
    "var/lib/rpm/.rpm.lock",
    "usr/lib/sysimage/rpm/.rpm.lock",
)
# With the number of the process that works (dnf's dnf/lock.py; yum, and zypper's zypp).
PID_FILES = (
    "var/cache/dnf/metadata_lock.pid",
    "var/cache/dnf/download_lock.pid",
    "var/lib/dnf/rpmdb_lock.pid",
    "var/run/yum.pid",
    "run/zypp.pid",
)
# What dpkg was about to do (dpkg's lib/dpkg/dbmodify.c); apt refuses to go on from there.
UPDATES = "var/lib/dpkg/updates"
# The first is there from its start, the second from its end (cloudinit/cmd/status.py).
CLOUD_INIT = ("run/cloud-init/status.json", "run/cloud-init/result.json")
# struct flock of fcntl(2).
LOCK = "hhqqi4x"


def holders(root: str = "/") -> list[str]:
    """Return who holds a lock of the package manager, as ``apt-get (process 812) has FILE``."""
    found = []
    for name in LOCKS:
        try:
            with open(root + name, "rb") as file:
                asked = struct.pack(LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, *_, pid = struct.unpack(LOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
        except OSError:
            continue
        if kind != fcntl.F_UNLCK:
            found.append(f"{_named(pid)} has {root + name}")
    for name in PID_FILES:
        try:
            with open(root + name, encoding="ascii") as digits:
                pid = int(digits.read())
        except (OSError, ValueError):
            continue
        if pid > 0 and os.path.exists(f"/proc/{pid}"):
            found.append(f"{_named(pid)} has {root + name}")
    return found


def starting(root: str = "/") -> list[str]:
    """Return whether the machine is still being set up, as what is said of it."""
    began, ended = (os.path.exists(root + name) for name in CLOUD_INIT)
    return ["cloud-init has not set the machine up to its end"] if began and not ended else []


def interrupted(root: str = "/") -> bool:
    """Whether an installation by dpkg has ended halfway."""
    try:
        return any(name.isdigit() for name in os.listdir(root + UPDATES))
    except OSError:
        return False


def wait(seconds: float, root: str = "/") -> tuple[int, str]:
    """Wait until packages can be installed; the status and who is in the way."""
    end = time.monotonic() + seconds
    while True:
        held = holders(root)
        said = held or starting(root)
        if not said:
            return (BROKEN, "") if interrupted(root) else (0, "")
        if time.monotonic() >= end:
            # One that hangs need not keep anybody from installing.
            return (BUSY, said[0]) if held or not seconds else (0, "")
        time.sleep(1)


def _named(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as name:
            return f"{name.read().strip()} (process {pid})"
    except OSError:  # outside of this container
        return "another program"


if __name__ == "__main__":
    status, who = wait(float(sys.argv[1]))
    print(who)
    sys.exit(status)
