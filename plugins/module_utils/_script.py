# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts that start server and agent have become. Private to the collection.

tmux knows its sessions only as long as its socket is found; a process is there as long as it runs.
Linux only: everything is read from ``/proc`` (proc(5)).
"""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.anywhere.notebook.plugins.module_utils import _machine

# What the programs are told to read, by which they are known.
CONFIGURATIONS = ("jupyter_server_config.py", "ngrok.yml")
OPTION = re.compile(r"--[\w.-]+=(.+)", re.DOTALL)


@dataclass(frozen=True)
class Script:
    """The script ``start`` in the directory of one of our roles."""

    directory: str

    @classmethod
    def of(cls, argv: t.Sequence[str] | None) -> Script | None:
        """Return the script that a command line is, None when it is another command."""
        path = argv[0] if argv and len(argv) == 1 else ""
        path = from_home(path)
        return cls(os.path.dirname(path)) if os.path.basename(path) == "start" else None

    @property
    def mark(self) -> str:
        """The file that is there while what the script starts is stopped on purpose."""
        return f"{self.directory}/stopped"

    def processes(self) -> list[int]:
        """Return the processes of this account that the script has become, not those below them."""
        found = {pid for pid in pids() if self.directory_of(pid) == self._real()}
        return sorted(pid for pid in found if not found.intersection(above(pid)))

    def is_other(self, pid: int) -> bool:
        """Whether a process is what another notebook's script has become."""
        return self.directory_of(pid) not in ("", self._real())

    @staticmethod
    def directory_of(pid: int) -> str:
        """Return the real directory of the script that a process was, empty when it was none."""
        words = words_of(pid)
        try:
            cwd = os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")
        except OSError:  # it has just ended, or is another account's
            return ""
        for word in words:
            told = OPTION.fullmatch(word)
            if told and os.path.basename(told[1]) in CONFIGURATIONS:
                return os.path.realpath(os.path.join(cwd, os.path.dirname(told[1])))
        names = [os.path.basename(word) for word in words[:2]]
        if names == ["sh", "start"]:
            return os.path.realpath(os.path.join(cwd, os.path.dirname(words[1])))
        # Older releases told the server by its environment, and had it begin there.
        return os.path.realpath(cwd) if "jupyter-lab" in names else ""

    def _real(self) -> str:
        return os.path.realpath(self.directory)


def from_home(path: str) -> str:
    """Return a path in full; one that is relative is so to the home, wherever this runs."""
    return os.path.normpath(os.path.join(os.path.expanduser("~"), os.path.expanduser(path)))


def pids() -> t.Iterator[int]:
    """Yield the processes of this account, but for this one.

    Only those that see the same files: to those of a container, a path means something else.
    """
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):  # it has just ended, or is none of the account's
            owner = os.stat(f"/proc/{pid}").st_uid
            if owner != os.getuid() or pid == os.getpid():
                continue
            if os.path.samefile(f"/proc/{pid}/root", "/"):
                yield pid


def words_of(pid: int) -> list[str]:
    """Return the command line of a process, nothing of one that has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="surrogateescape") as line:
            return line.read().split("\0")
    except OSError:
        return []


def above(pid: int) -> t.Iterator[int]:
    """Yield the process that has started another one, and so on."""
    while (pid := _machine.parent(pid)) > 1:
        yield pid
