#!/usr/bin/env python3
# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an ngrok agent while the server that it forwards to runs, and at no other time.

The agent is started once a process of this account listens on the upstream's port, and is ended at
once when that process ends, or the port is no longer this account's: whoever takes the port of a
server that has ended would get what visitors send. When the server is back, the agent is started
anew. When the agent ends by itself, this ends with the same status.

The agent is confined by Landlock (landlock(7), Linux 5.13 and newer) where the kernel can: it reads
no file of the account but its own configuration. Its API, which has no password and can forward to
files, is on only where it is confined and nobody else can log in.

What the agent prints goes to the log, which is kept small, and on to standard output. The lines of
the supervisor itself have ``"obj":"supervisor"``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import pwd
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import typing as t
import urllib.parse

# Seconds between two looks at the socket of a server that runs, which cost nothing, and at the list
# of all sockets, which takes milliseconds on a large machine (seen with Linux 6.18).
LOOK, LOOK_AT_ALL = 0.25, 5.0
# The same while the server does not run: at first, and when it has been away for a minute.
LOOK_FOR_IT, AWAY, LOOK_SELDOM = 0.5, 60.0, 2.0
# Seconds that the agent has to close its session with ngrok: when the server has gone, and when
# somebody has asked it to end.
SERVER_GONE, ASKED = 0.3, 3.0
# What the log may grow to, and what then remains of it, in bytes.
LOG_MAX, LOG_KEPT = 256 << 10, 64 << 10
LINE_MAX = 16 << 10

# The states that a log which was cut still has to tell: the last line of each, by whose it is.
KEPT = {
    True: ("supervisor starts", "supervisor waits", "agent starts"),
    False: ("tunnel session started", "started tunnel"),
}
# The status of a program that could not be started, as a shell has it.
NOT_STARTED = 127
VISIT = "join connections"

LISTEN = "0A"
# Shells of accounts that cannot log in, by name.
NO_LOGIN = {"nologin", "false", "true", "sync", "shutdown", "halt", "git-shell"}
# Sources of accounts that list all they have (nsswitch.conf(5)).
LISTED = {"files", "compat", "systemd", "altfiles", "extrausers"}

# linux/landlock.h, asm-generic/unistd.h, sys/prctl.h
CREATE_RULESET, ADD_RULE, RESTRICT_SELF, PIDFD_GETFD = 444, 445, 446, 438
PATH_BENEATH, NET_PORT = 1, 2
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1, 2, 4, 8, 1 << 14
BIND_TCP, CONNECT_TCP = 1, 2
# All rights to files that an ABI knows.
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
FILE_RIGHTS_5 = (1 << 16) - 1
SCOPES = 1 | 2  # abstract Unix sockets, signals
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

# What every account may read, and an agent, or a script that starts one, may need.
PUBLIC = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr", "/opt", "/snap"),
    *("/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/run/connman"),
    *("/proc/self", "/proc/sys", "/sys/kernel/mm", "/dev/urandom"),
)
# Root may read more of /etc than others may know.
ROOTS_ETC = ("resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "localtime")
ROOTS_ETC_DIRECTORIES = ("ssl", "pki", "ca-certificates", "crypto-policies")


class Upstream(t.NamedTuple):
    """Where the agent forwards to; ``addresses`` are those on which the server may listen.

    They are empty for an upstream that is not on loopback, which nobody watches.
    """

    port: int
    addresses: frozenset[str]


class Port(t.NamedTuple):
    """Who listens on a port: a socket of this account, or the account that has it instead."""

    inode: str = ""
    foreign: int = -1


def upstream_of(url: str) -> Upstream:
    """Return what an upstream stands for: a URL, ``host:port``, a host or a port."""
    parts = urllib.parse.urlsplit(url if "://" in url else f"//{url}")
    host, port = parts.hostname or "", 0
    with contextlib.suppress(ValueError):
        port = parts.port or (443 if parts.scheme == "https" else 80)
    if re.fullmatch(r"\d{1,5}", url):
        host, port = "localhost", int(url)
    # Names that mean loopback, and the addresses that stand for all of the machine.
    anywhere = host in ("localhost", "0.0.0.0", "::") or host.endswith(".localhost")
    addresses = set()
    if anywhere or re.fullmatch(r"127(\.\d{1,3}){3}", host):
        four = "127.0.0.1" if anywhere else host
        addresses |= {four, f"::ffff:{four}", "0.0.0.0", "::ffff:0.0.0.0", "::"}
    if anywhere or host == "::1":
        addresses |= {"::1", "::"}
    return Upstream(port, frozenset(addresses))


def rows(table: str) -> t.Iterator[list[str]]:
    """Yield the sockets of ``/proc/net/tcp`` or ``tcp6`` (proc_pid_net(5))."""
    with (
        contextlib.suppress(FileNotFoundError),
        open(f"/proc/net/{table}", encoding="ascii") as lines,
    ):
        next(lines)
        yield from (line.split() for line in lines)


def address(text: str) -> str:
    """Decode an address of /proc/net/tcp: 32-bit words in the machine's byte order."""
    words = (int(text[start : start + 8], 16) for start in range(0, len(text), 8))
    family = socket.AF_INET if len(text) == 8 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(word.to_bytes(4, sys.byteorder) for word in words))


def look(upstream: Upstream) -> Port:
    """Return who listens on the port of a loopback upstream."""
    found, end = Port(), f":{upstream.port:04X}"
    for table in ("tcp", "tcp6"):
        for row in rows(table):
            if row[3] != LISTEN:
                # The kernel lists those that listen first.
                if found.inode:
                    break
                continue
            if row[1].endswith(end) and address(row[1][: -len(end)]) in upstream.addresses:
                if int(row[7]) != os.geteuid():
                    return Port(foreign=int(row[7]))
                found = Port(found.inode or row[9])
    return found


def born(pid: int) -> str:
    """Return when a process was started, in ticks; empty when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "XZ" and int(fields[17]) < 2 else fields[19]


def link_of(pid: int, inode: str) -> str:
    """Return where /proc has a socket of a process; empty when it has none that may be seen."""
    with contextlib.suppress(OSError):
        for each in os.listdir(f"/proc/{pid}/fd"):
            if is_socket(f"/proc/{pid}/fd/{each}", inode):
                return f"/proc/{pid}/fd/{each}"
    return ""


def is_socket(link: str, inode: str) -> bool:
    """Whether an open file of a process is this socket."""
    try:
        return os.readlink(link) == f"socket:[{inode}]"
    except OSError:
        return False


class Server:
    """A listening socket, and the process that has it; ``pid`` is 0 where that cannot be seen.

    Of several processes it is the one that was started first: the others have it from that one.
    """

    def __init__(self, inode: str = "") -> None:
        self.inode = inode
        self.pid, self.descriptor, self.held = 0, -1, False
        self._born = self._link = ""
        self._holding: tuple[socket.socket, ...] = ()
        pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if inode]
        pids = [pid for pid in pids if link_of(pid, inode)]
        for pid in sorted(pids, key=lambda pid: (len(born(pid)), born(pid))):
            # Python knows it since 3.9, the kernel since 5.3.
            with contextlib.suppress(OSError, AttributeError):
                self.descriptor = os.pidfd_open(pid)
            self._born, self._link = born(pid), link_of(pid, inode)
            # Now it cannot be another process that has got the same id.
            if self._born and self._link:
                self.pid = pid
                self._hold()
                return
            self.close()

    def has_ended(self) -> bool:
        """Whether the process has ended, or has the socket no more. A suspended one has it."""
        if self.descriptor >= 0:
            poller = select.poll()
            poller.register(self.descriptor, select.POLLIN)
            ended = bool(poller.poll(0))
        else:
            ended = born(self.pid) != self._born
        if not ended and not is_socket(self._link, self.inode):
            self._link = link_of(self.pid, self.inode)
        return ended or not self._link

    def close(self) -> None:
        """Let go of the process, and of its port."""
        for end in self._holding:
            end.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor, self.held, self._holding = -1, False, ()

    def _hold(self) -> None:
        """Keep the socket open, so that nobody can take the port before the agent has ended.

        The kernel allows it to who may trace the process (pidfd_getfd(2), Linux 5.6). The socket
        stays on its way between the two ends of a pair, so that no process has it, and whoever
        looks for the listener finds the server alone.
        """
        try:
            number = int(os.path.basename(self._link))
            copy = system_call(PIDFD_GETFD, self.descriptor, number, 0)
        except OSError:
            return
        self._holding = socket.socketpair()
        socket.send_fds(self._holding[0], [b"."], [copy])
        os.close(copy)
        self.held = True


def who_else(accounts: t.Iterable[tuple[str, int, str]], uid: int) -> list[str]:
    """Return the names of accounts, given as ``(name, uid, shell)``, that can log in as well.

    Root may do anything, and is not meant. Without a shell, an account has /bin/sh (passwd(5)).
    """
    return sorted(
        {
            name
            for name, other, shell in accounts
            if other not in (0, uid) and os.path.basename(shell) not in NO_LOGIN
        }
    )


def unlisted(nsswitch: str) -> list[str]:
    """Return the sources of accounts that nsswitch.conf names and that may not list them all."""
    found = re.search(r"^\s*passwd:([^#\n]*)", nsswitch, re.MULTILINE)
    words = re.sub(r"\[[^]]*\]", " ", found[1] if found else "files").split()
    return [word for word in words if word not in LISTED]


def api_is_on(
    wish: str, abi: int, uid: int, others: t.Sequence[str], sources: t.Sequence[str]
) -> tuple[bool, str]:
    """Return whether the agent's API may be on, and why, as a part of a sentence.

    ``wish`` is ngrok_api, ``abi`` Landlock's version (0: the agent cannot be confined), ``others``
    and ``sources`` are as :func:`who_else` and :func:`unlisted` have them.
    """
    if wish == "false":
        return False, "ngrok_api is false"
    if not abi:
        return False, "the agent cannot be kept from the account's files on this machine"
    if wish == "true":
        return True, "ngrok_api is true"
    if uid == 0:
        return False, "the agent runs as root"
    if sources:
        return False, f"accounts come from {', '.join(sources)}, so that others may log in"
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return False, f"others can log in: {', '.join(others[:3])}{more}"
    return True, "nobody else can log in"


def choose(wanted: str) -> str:
    """Return a free ``host:port`` of ``host:port`` or ``host:lowest-highest``, empty for none."""
    match = re.fullmatch(r"(.+):([0-9]{1,5})(?:-([0-9]{1,5}))?", wanted)
    if not match:
        return ""
    low, high = int(match[2]), int(match[3] or match[2])
    count = max(high - low + 1, 0)
    # Another account begins at another port.
    for port in (low + (os.getuid() + step) % count for step in range(count)):
        with contextlib.suppress(OSError, OverflowError), socket.create_server((match[1], port)):
            return f"{match[1]}:{port}"
    return ""


def system_call(number: int, *words: object) -> int:
    """Do a system call that Python does not have.

    Raises:
        OSError: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    result = int(libc.syscall(ctypes.c_long(number), *given))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def landlock_abi() -> int:
    """Return the version of Landlock that is in force here, 0 for none."""
    try:
        return system_call(CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


class Confinement(t.NamedTuple):
    """What a program may do: read and execute, also write, and the TCP ports.

    ``connects`` is empty where it may connect to every port.
    """

    reads: t.Sequence[str]
    writes: t.Sequence[str]
    binds: t.Sequence[int]
    connects: t.Sequence[int]

    def enter(self) -> None:
        """Confine this process and all that it starts, for good.

        Raises:
            OSError: the kernel refuses.
        """
        abi = landlock_abi()
        files = FILE_RIGHTS.get(abi, FILE_RIGHTS_5)
        ports = (BIND_TCP | (CONNECT_TCP if self.connects else 0)) if abi >= 4 else 0
        attributes = struct.pack("=QQQ", files, ports, SCOPES)[
            : 8 if abi < 4 else 16 if abi < 6 else 24
        ]
        rules = system_call(CREATE_RULESET, ctypes.c_char_p(attributes), len(attributes), 0)
        for paths, rights in ((self.reads, EXECUTE | READ_FILE | READ_DIR), (self.writes, files)):
            for path in paths:
                self._allow_path(rules, path, rights)
        for numbers, right in ((self.binds, BIND_TCP), (self.connects, CONNECT_TCP)):
            for number in numbers if ports else ():
                rule = struct.pack("=QQ", right, number)
                system_call(ADD_RULE, rules, NET_PORT, ctypes.c_char_p(rule), 0)
        set_attribute(PR_SET_NO_NEW_PRIVS, 1)
        system_call(RESTRICT_SELF, rules, 0)
        os.close(rules)

    @staticmethod
    def _allow_path(rules: int, path: str, rights: int) -> None:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        if not os.path.isdir(path):
            rights &= EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE
        rule = struct.pack("=Qi", rights, place)
        system_call(ADD_RULE, rules, PATH_BENEATH, ctypes.c_char_p(rule), 0)
        os.close(place)


def set_attribute(option: int, value: int) -> None:
    """Set an attribute of this process (prctl(2)).

    Raises:
        OSError: the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def record_of(line: bytes) -> dict[str, t.Any]:
    """Return a line of the log as a record, empty for one that is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def trimmed(text: bytes, kept: int) -> bytes:
    """Return the last lines of a log, at most ``kept`` bytes, after what still has to be told."""
    cut = text.find(b"\n", max(len(text) - kept, 0)) + 1
    told: dict[tuple[str, str], bytes] = {}
    visits = 0
    for line in text[:cut].split(b"\n"):
        record = record_of(line)
        message, key = record.get("msg"), (str(record.get("msg")), str(record.get("name")))
        if message == VISIT:
            visits += 1
            continue
        own = record.get("obj") == "supervisor"
        if own and message == "earlier connections":
            visits += record["count"]
        elif message in KEPT[own]:
            if message == "agent starts":
                visits, told = 0, {at: old for at, old in told.items() if at[0] == KEPT[True][0]}
            told.pop(key, None)
            told[key] = line
    earlier = said("earlier connections", count=visits)
    return b"".join(line + b"\n" for line in [*told.values(), earlier]) + text[cut:]


def said(message: str, **more: object) -> bytes:
    """Return a line of the supervisor's own."""
    record = {"lvl": "info", "msg": message, "obj": "supervisor"} | more
    return json.dumps(record, separators=(",", ":")).encode()


class Log:
    """The file that has what the agent and the supervisor say, for its owner only.

    Where the disk is full it is in memory, and found by its name below ``/proc/PID/fd``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._text = bytearray()
        self._file = -1
        self._begin()

    def write(self, line: bytes) -> None:
        """Add a line, and begin anew with the last ones where the file has become large."""
        self._text += line + b"\n"
        if len(self._text) > LOG_MAX:
            self._text = bytearray(trimmed(bytes(self._text), LOG_KEPT))
            self._begin()
            return
        try:
            whole = os.write(self._file, line + b"\n") > len(line)
        except OSError:
            whole = False
        if not whole:
            self._take(os.memfd_create("agent.log"))

    def _begin(self) -> None:
        draft = f"{self._path}.part"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._take(os.open(draft, flags, 0o600))
            os.replace(draft, self._path)
        except OSError:
            self._take(os.memfd_create("agent.log"))

    def _take(self, file: int) -> None:
        """Go on in another file, with all that was said.

        Raises:
            OSError: it does not take that.
        """
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        if os.write(file, self._text) < len(self._text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Supervisor:
    """Starts and ends the agent of the command line ``words``.

    ``directory`` has ``supervisor.json`` with the keys ``upstream``, where the agent forwards to;
    ``api``, which is auto, true or false; ``web_addr``, where its API may listen; ``api_config``,
    a configuration that turns it on, with WEB_ADDR in it; ``reads``, files that it may read; and
    ``connect_url``, the ``host:port`` of a private ingress, or empty. What the supervisor writes is
    there as well: ``agent.log``, and the directory ``agent`` that is the agent's own.
    """

    def __init__(self, directory: str, words: list[str]) -> None:
        with open(f"{directory}/supervisor.json", encoding="utf-8") as file:
            self._told = json.load(file)
        self._home = f"{directory}/agent"
        self._words = words
        self._upstream = upstream_of(self._told["upstream"])
        self._asked = 0
        self._look_again = 0.0
        self._log = Log(f"{directory}/agent.log")
        # Signals are seen at once also while it waits for something else.
        self._woken, wake = os.pipe()
        for end in (self._woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._ask)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        # A terminal that is not read holds nothing up.
        with contextlib.suppress(OSError):
            os.set_blocking(1, False)

    def run(self) -> int:
        """Return the status of an agent that has ended; minus a signal that has ended it."""
        self._say("supervisor starts", pid=os.getpid())
        while True:
            server = self._wait()
            if server is None:
                return 0
            try:
                status = self._serve(server)
            except (OSError, subprocess.SubprocessError) as exc:
                self._say("command failed", lvl="crit", err=str(exc))
                status = NOT_STARTED
            server.close()
            if status is not None:
                return status

    def _wait(self) -> Server | None:
        """Return the server once it runs, None when this was asked to end."""
        if not self._upstream.addresses:
            return Server()
        last, began = None, time.monotonic()
        poller = select.poll()
        poller.register(self._woken, select.POLLIN)
        while not self._asked:
            port = look(self._upstream)
            if port.inode:
                return Server(port.inode)
            if port != last:
                last, foreign = port, port.foreign
                taken = {"taken_by": name_of(foreign)} if foreign >= 0 else {}
                self._say("supervisor waits", upstream=self._told["upstream"], **taken)
            away = time.monotonic() - began > AWAY
            poller.poll((LOOK_SELDOM if away else LOOK_FOR_IT) * 1000)
            self._drain()
        return None

    def _serve(self, server: Server) -> int | None:
        """Run the agent; its status, or None when it was ended because the server has gone."""
        agent = self._start(server)
        assert agent.stdout
        output, rest = agent.stdout.fileno(), b""
        os.set_blocking(output, False)
        poller = select.poll()
        for descriptor in (self._woken, output, server.descriptor):
            if descriptor >= 0:
                poller.register(descriptor, select.POLLIN)
        limit: float | None = None
        gone = passed_on = False
        while agent.poll() is None:
            patience = LOOK if limit is None else min(LOOK, max(limit - time.monotonic(), 0.01))
            events = dict(poller.poll(patience * 1000))
            self._drain()
            if server.descriptor in events:
                # It stays readable from now on.
                poller.unregister(server.descriptor)
            if events.get(output, 0) & select.POLLIN:
                rest = self._pass_on(output, rest)
            elif output in events:
                poller.unregister(output)
            if limit is None or (self._asked and not passed_on):
                if self._asked:
                    agent.send_signal(self._asked)
                    passed_on, limit = True, time.monotonic() + ASKED
                elif self._gone(server):
                    # Where anybody may have the port by now, no visitor must be let in any more.
                    (agent.terminate if server.held else agent.kill)()
                    self._say("supervisor waits", upstream=self._told["upstream"])
                    gone, limit = True, time.monotonic() + SERVER_GONE
            elif time.monotonic() >= limit:
                agent.kill()
        self._pass_on(output, rest, to_its_end=True)
        agent.stdout.close()
        return None if gone and not self._asked else agent.returncode

    def _gone(self, server: Server) -> bool:
        """Whether the server has ended, or its port is another one's."""
        if not self._upstream.addresses:
            return False
        if server.pid and server.has_ended():
            return True
        if server.pid and time.monotonic() < self._look_again:
            return False
        self._look_again = time.monotonic() + LOOK_AT_ALL
        return look(self._upstream).inode != server.inode

    def _start(self, server: Server) -> subprocess.Popen[bytes]:
        told = self._told
        confinement = self._confinement(0)
        confined = landlock_abi() > 0 and self._can_run(confinement)
        sources = unlisted(nsswitch())
        # A directory may be large, and its accounts make no difference then.
        accounts = [] if sources else [(a.pw_name, a.pw_uid, a.pw_shell) for a in pwd.getpwall()]
        others = who_else(accounts, os.getuid())
        on, why = api_is_on(
            told["api"],
            landlock_abi() if confined else 0,
            os.getuid(),
            others,
            sources,
        )
        web_addr = choose(told["web_addr"]) if on else ""
        if on and not web_addr:
            on, why = False, f"{told['web_addr']} is taken"
        words = list(self._words)
        if on:
            confinement = self._confinement(int(web_addr.rpartition(":")[2]))
            file = f"{self._home}/api.yml"
            os.makedirs(self._home, 0o700, exist_ok=True)
            with open(file, "w", encoding="utf-8") as lines:
                lines.write(told["api_config"].replace("WEB_ADDR", web_addr))
            words.insert(-1, f"--config={file}")
        self._say(
            "agent starts",
            pid=os.getpid(),
            upstream=told["upstream"],
            api="on" if on else "off",
            why=why,
            web_addr=web_addr,
            confined=confined,
            port_held=server.held,
        )
        return self._spawn(words, confinement if confined else None, subprocess.PIPE)

    def _can_run(self, confinement: Confinement) -> bool:
        """Whether the agent runs though it is confined; one in a package that confines may not."""
        try:
            trial = self._spawn([self._words[0], "version"], confinement, subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            return False
        try:
            return trial.wait(10) == 0
        except subprocess.TimeoutExpired:
            trial.kill()
            trial.wait()
            return False

    def _spawn(
        self, words: list[str], confinement: Confinement | None, output: int
    ) -> subprocess.Popen[bytes]:
        """Start a program that ends with this one."""
        mother = os.getpid()
        environment = dict(os.environ)
        if confinement:
            os.makedirs(self._home, 0o700, exist_ok=True)
            environment = {
                name: value for name, value in environment.items() if not name.startswith("XDG_")
            } | {"HOME": self._home, "TMPDIR": self._home}

        def prepare() -> None:
            set_attribute(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != mother:
                os._exit(1)
            if confinement:
                confinement.enter()

        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=prepare,
        )

    def _confinement(self, api_port: int) -> Confinement:
        told = self._told
        etc = ["/etc"]
        if os.getuid() == 0:
            etc = [f"/etc/{name}" for name in ROOTS_ETC + ROOTS_ETC_DIRECTORIES]
        connects = {53, 80, 443, self._upstream.port}
        ingress = told["connect_url"].rpartition(":")[2]
        if ingress.isdigit():
            connects.add(int(ingress))
        # A proxy may be on any port.
        if (ingress and not ingress.isdigit()) or any(
            name.lower().endswith("_proxy") for name in os.environ
        ):
            connects = set()
        return Confinement(
            [*PUBLIC, *etc, self._words[0], *told["reads"]],
            [self._home, "/dev/null"],
            [api_port] if api_port else [],
            sorted(connects),
        )

    def _pass_on(self, output: int, rest: bytes, *, to_its_end: bool = False) -> bytes:
        """Pass on what the agent has printed; the beginning of a line that has not ended."""
        try:
            while chunk := os.read(output, 65536):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LINE_MAX:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._write(line)
                if not to_its_end:
                    break
        except BlockingIOError:
            pass
        if to_its_end and rest:
            self._write(rest)
        return rest

    def _write(self, line: bytes) -> None:
        line = line.rstrip(b"\r")
        # The agent repeats words of others, who do not speak for the supervisor.
        if record_of(line).get("obj") == "supervisor":
            line = b"agent: " + line
        self._log.write(line)
        with contextlib.suppress(OSError):
            os.write(1, line + b"\n")

    def _say(self, message: str, **more: object) -> None:
        line = said(message, t=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **more)
        self._log.write(line)
        with contextlib.suppress(OSError):
            os.write(1, line + b"\n")

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)

    def _ask(self, number: int, _frame: object) -> None:
        self._asked = number


def name_of(uid: int) -> str:
    """Return the name of an account, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def nsswitch() -> str:
    """Return what tells where accounts come from; empty where nothing does."""
    try:
        with open("/etc/nsswitch.conf", encoding="utf-8", errors="replace") as lines:
            return lines.read()
    except OSError:
        return ""


def main() -> int:
    """Do what the command line says; the exit status."""
    if sys.argv[1:] == ["--can-confine"]:
        return 0 if landlock_abi() else 1
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        print("usage: supervisor.py DIRECTORY -- AGENT start --config=FILE NAME", file=sys.stderr)
        return 2
    status = Supervisor(sys.argv[1], sys.argv[3:]).run()
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL is always as it is
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main())
