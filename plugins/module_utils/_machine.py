# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine has, and what kernels take of it. Private to the collection.

Linux only: everything is read from ``/proc`` (proc(5)), so no package is needed.
"""

from __future__ import annotations

import os
import re
import typing as t

# How Jupyter names the file that it gives a kernel on its command line
# (MultiKernelManager.start_kernel of jupyter_client).
CONNECTION_FILE = re.compile(rb"kernel-([0-9a-f-]+)\.json\0")


def memory() -> dict[str, int]:
    """Return ``memory_mb`` and ``memory_available_mb``, which programs could still take."""
    with open("/proc/meminfo", encoding="ascii") as lines:
        sizes = dict(line.split()[:2] for line in lines)
    names = {"memory_mb": "MemTotal:", "memory_available_mb": "MemAvailable:"}
    return {name: int(sizes[field]) >> 10 for name, field in names.items()}


def disk(path: str) -> dict[str, int]:
    """Return ``disk_mb`` and ``disk_free_mb`` of the file system that has ``path``, or will."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return {
        "disk_mb": found.f_blocks * found.f_frsize >> 20,
        "disk_free_mb": found.f_bavail * found.f_frsize >> 20,
    }


def kernels(ids: set[str]) -> dict[str, dict[str, int]]:
    """Return ``pid`` and ``memory_mb`` of those kernels of ``ids`` that run on this machine.

    The memory is that of the kernel and of all that it has started.
    """
    parents: dict[int, int] = {}
    owners: dict[int, str] = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc")) if ids else ()):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as words:
                found = CONNECTION_FILE.search(words.read())
            parents[pid] = parent(pid)
        except OSError:  # it has just ended
            continue
        if found and found[1].decode() in ids:
            owners[pid] = found[1].decode()
    # Where a kernel is started by a program that has the same words, that is the kernel's.
    firsts = {pid: name for pid, name in owners.items() if owners.get(parents[pid]) != name}
    sizes = dict.fromkeys(firsts, 0)
    for pid in parents:
        above = pid
        while above and above not in firsts:
            above = parents.get(above, 0)
        if above:
            sizes[above] += _memory_kb(pid)
    return {name: {"pid": pid, "memory_mb": sizes[pid] >> 10} for pid, name in firsts.items()}


def parent(pid: int) -> int:
    """Return the process that has started ``pid``, 0 when there is none or it has ended."""
    try:
        return int(_stat(pid)[1])
    except OSError:
        return 0


def has_terminal(pid: int) -> bool:
    """Whether a process runs in a terminal."""
    try:
        return _stat(pid)[4] != "0"
    except OSError:
        return False


def runs(pid: int) -> bool:
    """Whether a process has not ended, so that it may still have files and ports.

    One that was only not reaped yet has ended when its other threads have.
    """
    try:
        state, *_, threads = _stat(pid)[:18]
    except OSError:
        return False
    return state not in ("X", "Z") or int(threads) > 1


def is_suspended(pid: int) -> bool:
    """Whether a process was suspended (SIGSTOP, Ctrl-Z)."""
    try:
        return _stat(pid)[0] == "T"
    except OSError:
        return False


def _stat(pid: int) -> t.Sequence[str]:
    """Return the fields of proc_pid_stat(5) from the third one on."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        # The second field, the name in parentheses, may hold spaces and parentheses itself.
        return stat.read().rpartition(")")[2].split()


def _memory_kb(pid: int) -> int:
    """Return what a process takes, its part of what it shares with others included."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as lines:
            found = re.search(r"^Pss:\s+(\d+)", lines.read(), re.MULTILINE)
    except OSError:  # it has just ended, or is another account's
        return 0
    return int(found[1]) if found else 0
