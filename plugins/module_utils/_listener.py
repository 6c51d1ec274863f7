# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port of this machine. Private to the collection.

Linux only: everything is read from ``/proc`` (proc_pid_fd(5), proc_pid_net(5)), so nothing is
connected to and no package is needed.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
import sys
import typing as t
from dataclasses import dataclass

from ansible_collections.anywhere.notebook.plugins.module_utils import _machine

LISTEN = "0A"


@dataclass(frozen=True)
class Listener:
    """The process behind a listening socket; ``pid`` is 0 where /proc hides other accounts'."""

    user: str
    pid: int = 0
    program: str = ""
    uid: int = -1

    def __str__(self) -> str:
        if not self.pid:
            return f"a program of the account {self.user}"
        return f"{self.program} (process {self.pid}, account {self.user})"

    def descends_from(self, ancestor: int) -> bool:
        """Whether the process is ``ancestor`` or was started below it."""
        pid = self.pid
        while pid > 1:
            if pid == ancestor:
                return True
            pid = _machine.parent(pid)
        return False


@dataclass(frozen=True)
class Range:
    """A host and the TCP ports that may be taken there, the lowest and the highest included."""

    host: str
    low: int
    high: int

    def candidates(self) -> t.Iterator[int]:
        """Yield every port once, beginning at one that depends on the account.

        So accounts that choose at the same moment do not choose the same port. Accounts 0 and
        1000, the usual ones of a cloud machine, begin with the lowest of a hundred.
        """
        count = self.high - self.low + 1
        for step in range(count):
            yield self.low + (os.getuid() + step) % count


def split_range(address: str) -> Range:
    """Return what ``host:port`` or ``host:lowest-highest`` stands for.

    Raises:
        ValueError: it is neither.
    """
    match = re.fullmatch(r"(.+):([0-9]{1,5})(?:-([0-9]{1,5}))?", address)
    ports = [int(port) for port in match.groups()[1:] if port] if match else []
    if not match or not 0 < ports[0] <= ports[-1] < 65536:
        raise ValueError(
            f"{address!r} is not an address of the form host:port, or host:lowest-highest"
        )
    return Range(match[1], ports[0], ports[-1])


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port``.

    Raises:
        ValueError: there is no host or no port between 1 and 65535.
    """
    match = re.fullmatch(r"(.+):([0-9]{1,5})", address)
    if not match or not 0 < int(match[2]) < 65536:
        raise ValueError(f"{address!r} is not an address of the form host:port")
    return match[1], int(match[2])


def read_port(file: str) -> int | None:
    """Return the port that a file holds, None when there is no such file.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        with open(file, encoding="ascii") as lines:
            port = int(lines.read())
        if not 0 < port < 65536:
            raise ValueError(port)
        return port
    except FileNotFoundError:
        return None
    except ValueError as exc:
        raise ValueError(f"{file} holds no port. Remove it to have one chosen again.") from exc


def find(address: str) -> Listener | None:
    """Return who listens on the IPv4 ``host:port``, also by listening on every address.

    Raises:
        ValueError: the address is malformed.
        OSError: its host has no IPv4 address.
    """
    found = _listening(address)
    if not found:
        return None
    inode, uid = found
    pid = _socket_owner(inode)
    return Listener(user_name(uid), pid, program(pid) if pid else "", uid)


def owner(address: str) -> int | None:
    """Return the user id of who listens on the IPv4 ``host:port``, a fifth of ``find``'s work.

    Raises:
        As ``find``.
    """
    found = _listening(address)
    return found[1] if found else None


def addresses(pids: t.Collection[int]) -> list[str]:
    """Return where processes listen, as ``host:port``; those of other accounts are not seen."""
    inodes = {inode for pid in pids for inode in sockets(pid)}
    return [f"{host}:{port}" for (host, port), inode, _ in _listening_sockets() if inode in inodes]


def _listening(address: str) -> tuple[str, int] | None:
    """Return inode and user id of the socket that listens on the IPv4 ``host:port``."""
    host, port = split_address(address)
    for wanted, inode, uid in _listening_sockets():
        if wanted in {("0.0.0.0", port), ("::", port), (socket.gethostbyname(host), port)}:
            return inode, uid
    return None


def _listening_sockets() -> t.Iterator[tuple[tuple[str, int], str, int]]:
    """Yield ``((address, port), inode, uid)`` of every listening TCP socket."""
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            with open(f"/proc/net/{table}", encoding="ascii") as lines:
                rows = [line.split() for line in lines][1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for row in rows:
            if row[3] == LISTEN:
                address, port = row[1].split(":")
                yield (_address(address, family), int(port, 16)), row[9], int(row[7])


def _address(text: str, family: socket.AddressFamily) -> str:
    """Decode an address of /proc/net/tcp: 32-bit words in the machine's byte order."""
    words = (int(text[start : start + 8], 16) for start in range(0, len(text), 8))
    return socket.inet_ntop(family, b"".join(word.to_bytes(4, sys.byteorder) for word in words))


def _socket_owner(inode: str) -> int:
    """Return the process that has the socket open, 0 when /proc does not show it."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        if inode in sockets(pid):
            return pid
    return 0


def sockets(pid: int) -> t.Iterator[str]:
    """Yield the inodes of the sockets that a process has open, as far as /proc shows them."""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:  # another account's process, or one that has just ended
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:  # it has just been closed
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def program(pid: int) -> str:
    """Return the program's short name; never its arguments, which may hold secrets."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return ""


def user_name(uid: int) -> str:
    """Return the name of an account, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
