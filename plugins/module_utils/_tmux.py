# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection knows about tmux. Private to the collection.

Facts about tmux are from tmux(1) unless a comment says where they were seen.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import signal
import socket
import struct
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.anywhere.notebook.plugins.module_utils import (
    _listener,
    _machine,
    _script,
)
from ansible_collections.anywhere.notebook.plugins.module_utils._login import outside
from ansible_collections.anywhere.notebook.plugins.module_utils._text import hide_secrets

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.anywhere.notebook.plugins.module_utils._login import Run
    from ansible_collections.anywhere.notebook.plugins.module_utils._script import Script

# Every failure of tmux exits 1, so only the text tells "no server" apart (tmux 3.3a). A server
# that is just ending, because its last session did, has words of its own.
NO_SERVER = re.compile(
    r"no server running|server exited|lost server"
    r"|error connecting to .*\((No such file|Connection refused)"
)

# A line that Tmux._first has list-panes print.
PANE = re.compile(
    r"(?P<server>[0-9]{1,10}) (?P<id>%[0-9]{1,10}) (?P<pid>[1-9][0-9]{0,9}) (?P<dead>[01]?) "
    r"(?P<how>status|signal) (?P<code>[^ ]*) (?P<session>.*)"
)

# "creating" is bind(2), "connecting" what came of it or is in its place (tmux 3.3a).
NO_SOCKET = re.compile(r"error (creating|connecting to) ")

# By these a program knows that it runs in tmux: "tmux kill-server" below our command would end all
# that we run.
INSIDE = ("TMUX", "TMUX_PANE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION")
RUN = f'unset {" ".join(INSIDE)}; exec "$@"'

# A tmux server keeps its first client's environment for all its sessions and shows it to
# whoever asks ("show-environment -g"), so these never reach it.
WITHHELD = ("NGROK_AUTHTOKEN", "NGROK_API_KEY")
# Nor what is the login's, such as its agent with keys, or Ansible's: a session outlives both.
PASSING = re.compile(r"ANSIBLE_|SSH_|SUDO_")


# tmux answers within milliseconds, but not at all while its server is suspended. timeout(1) says so
# with a status of its own.
SECONDS = 10
NO_ANSWER = 124

# What the kernel calls a tmux server, and how long one takes to make its socket again.
SERVER_NAME = "tmux: server"
REBIND = 5

# What the path of a Unix socket may have, in bytes (unix(7), less the zero at its end).
LONGEST = 107
# What proc_pid_net(5) says of a Unix socket that listens, __SO_ACCEPTCON.
LISTENS = "00010000"
# A struct ucred: process, account, group (unix(7), SO_PEERCRED).
CREDENTIALS = struct.Struct("iII")


class TmuxError(Exception):
    """tmux refused a command; the message is the command and tmux's own words."""


class DuplicateError(TmuxError):
    """There is a session of this name already."""


@dataclass(frozen=True)
class Place:
    """Where a tmux server has its socket; without a directory, where ``tmux -L`` looks for it."""

    name: str
    directory: str = ""

    @property
    def is_the_accounts(self) -> bool:
        """Whether it is where a person's own tmux is, who types no more than ``tmux``."""
        return not self.directory and self.name == "default"

    def words(self, binary: str) -> list[str]:
        """Return the words by which tmux is asked to use this socket."""
        if not self.directory:
            return [binary, "-L", self.name]
        path = f"{self.directory}/{self.name}"
        if len(os.fsencode(path)) > LONGEST:
            return ["env", "-C", self.directory, binary, "-S", self.name]
        return [binary, "-S", path]

    def real(self) -> tuple[str, str]:
        """Return directory and name as :func:`bound` has them."""
        return os.path.realpath(self.directory), self.name

    def server(self) -> int:
        """Return the process that listens there, 0 when none does.

        Raises:
            TmuxError: another account could be the one that listens, or is.
        """
        directory = self.directory or usual_directory()
        try:
            # Of an open directory the path is short, and nobody can exchange it any more.
            opened = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return 0
        except NotADirectoryError as exc:
            raise TmuxError(
                f"{directory}, where tmux's socket is to be, is no directory. Remove it, or choose "
                "another place (socket_dir; in the roles tmux_socket_dir)."
            ) from exc
        try:
            _require_private(directory, os.fstat(opened))
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                client.connect(f"/proc/self/fd/{opened}/{self.name}")
                told = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        except (FileNotFoundError, ConnectionRefusedError):
            return 0
        except OSError as exc:
            # As when many have asked a suspended server already.
            raise TmuxError(
                f"tmux's socket {directory}/{self.name} takes no connection: {exc.strerror}."
            ) from exc
        finally:
            os.close(opened)
        pid, account, _ = CREDENTIALS.unpack(told)
        if account != os.getuid():
            raise TmuxError(
                f"{directory}/{self.name}, tmux's socket, belongs to another account ({account})."
            )
        return int(pid)


@dataclass(frozen=True)
class Pane:
    """The pane in which a session's command runs, or ran.

    Of a command that runs where no tmux can be asked for it, ``pane_id`` is empty.
    """

    pane_id: str
    pid: int
    dead: bool
    ending: str  # such as "status 1" or "signal 9"; empty while the command runs
    server: int  # the process that keeps it
    place: Place
    session: str = ""


@dataclass(frozen=True)
class Command:
    """What a session runs, and where."""

    session: str
    argv: Sequence[str]
    directory: str


class Tmux:
    """The tmux server of one account behind one socket.

    ``run`` is ``AnsibleModule.run_command``; ``binary`` is empty where tmux is not installed,
    which reads as "no session". In ``socket_dir`` nobody but the account may write; what was
    started behind the socket of this name in tmux's usual place, as older releases did it, is used
    where it is. Without ``socket_dir`` all is in the usual place.

    A server that is suspended goes on, unless ``may_resume`` is false, and ``resumed`` becomes
    true; commands never are for long, because tmux lets them go on itself (seen with 3.3a). So does
    one whose socket has vanished, which makes it again, unless ``may_bind`` is false.
    """

    def __init__(
        self,
        run: Run,
        binary: str,
        socket_name: str,
        socket_dir: str | None = None,
        *,
        may_resume: bool = True,
        may_bind: bool = True,
    ) -> None:
        self.resumed = False
        self._may_resume, self._may_bind = may_resume, may_bind
        self._run = run
        self._binary = binary
        self._place = Place(socket_name, _script.from_home(socket_dir) if socket_dir else "")

    def pane(self, session: str, script: Script | None = None) -> Pane | None:
        """Return the first pane of the session of exactly this name, None when there is none.

        What was started by ``script`` and runs is found wherever it is; what another notebook's
        script has started is no session of this one.
        """
        found: list[Pane] = []
        if self._binary:
            found = [pane for place in self._places() if (pane := self._first(place, session))]
        if script:
            found = [pane for pane in found if pane.dead or not script.is_other(pane.pid)]
            if all(pane.dead for pane in found):
                found += [self._pane_of(pid) for pid in script.processes()[:1]]
        # The private place comes first, but not before what runs.
        return min(found, key=lambda pane: pane.dead, default=None)

    def start(self, command: Command, dead: Pane | None) -> None:
        """Run a command in a new detached session, or again in the ``dead`` pane of an old one.

        A ``~`` at the start of a word is expanded, as a shell would do it.
        The pane stays when its command ends, so that its last lines can be read.
        """
        place = dead.place if dead else self._place
        words = _start_words(command, dead)
        if place.directory:
            _make_private(place.directory)
        try:
            self._ask(place, *words, prefix=outside())
        except TmuxError as exc:
            if not (place.directory and NO_SOCKET.search(str(exc))):
                raise
            raise TmuxError(
                f"{exc}. tmux can have no socket there, as on some network file systems. Choose a "
                "directory of this account on a disk of the machine (socket_dir; in the roles "
                f"tmux_socket_dir), such as /run/user/{os.getuid()} where the account lingers."
            ) from exc

    def boot_words(self, command: Command) -> list[str]:
        """Return the words by which :meth:`start` makes a session, for a later boot.

        Empty where no manager of the account outlives its logins, and so could start it then.
        """
        prefix = outside()
        return [*prefix, *self._words(self._place), *_start_words(command, None)] if prefix else []

    def attach(self, session: str, pane: Pane | None) -> str:
        """Return the command line that shows a session, for a shell where a login begins."""
        place = pane.place if pane else self._place
        home = os.path.join(pwd.getpwuid(os.getuid()).pw_dir, "")
        if place.directory.startswith(home):
            place = Place(place.name, place.directory[len(home) :])
        name = pane.session if pane and pane.pane_id else session
        return shlex.join([*place.words("tmux"), "attach", "-t", name])

    def last_lines(self, pane: Pane, count: int) -> str:
        """Return the last lines a pane shows, with secrets taken out."""
        words = ["capture-pane", "-p", "-J", "-S", f"-{count}", "-t", pane.pane_id]
        lines = [line.rstrip() for line in self._ask(pane.place, *words).splitlines()]
        # With remain-on-exit tmux adds a line of its own.
        shown = [line for line in lines if line and not line.startswith("Pane is dead")]
        return hide_secrets("\n".join(shown[-count:]))

    def reap(self, pane: Pane) -> None:
        """Have tmux notice how commands ended; 3.3a at times shows a dead pane without it."""
        self._ask(pane.place, "run-shell", "true")

    def kill(self, pane: Pane) -> None:
        """End the session with a pane. Without "=" tmux would take the name as a prefix."""
        try:
            self._ask(pane.place, "kill-session", "-t", _whole(f"={pane.session}"))
        except TmuxError as exc:
            # It may have ended with its command.
            if not (NO_SERVER.search(str(exc)) or "can't find session" in str(exc)):
                raise

    def _places(self) -> Iterator[Place]:
        """Yield where a server of this account is to be asked for a session."""
        if not self._place.directory:
            # Of this one, tmux itself looks whose it is.
            yield self._place
            return
        usual = Place(self._place.name, usual_directory())
        alive = self._place.server()
        if alive:
            yield self._place
        # What another account puts there is none of ours, and no reason to stop.
        with contextlib.suppress(TmuxError, OSError):
            if usual.server():
                yield usual
                return
        if alive:
            return
        # Where none is, one may have lost its socket.
        ours = (self._place.real(), usual.real())
        for pid in servers():
            if bound(pid) in ours and (reached := self._reach(pid)):
                yield self._place if self._place.server() else reached

    def _pane_of(self, pid: int) -> Pane:
        """Return the pane of a command that runs somewhere."""
        server = next(
            (each for each in _script.above(pid) if _listener.program(each) == SERVER_NAME), 0
        )
        place = self._reach(server) if server and self._binary else None
        if place:
            with contextlib.suppress(TmuxError):
                for pane in self._panes(place):
                    if pane.pid == pid or pane.pid in _script.above(pid):
                        return pane
        return Pane("", pid, dead=False, ending="", server=server or pid, place=self._place)

    def _reach(self, server: int) -> Place | None:
        """Return where a server of this account can be asked, wherever it is.

        Where its socket has vanished, and nobody else has taken the place, it makes it again.
        """
        directory, name = bound(server)
        if not name:
            return None
        # It may also be in a /tmp of its own (pam_namespace(8)).
        places = [Place(name, directory), Place(name, f"/proc/{server}/root{directory}")]
        with contextlib.suppress(TmuxError, OSError):
            there = [place.server() for place in places]
            if server in there:
                return places[there.index(server)]
            if any(there) or not self._may_bind:
                return None
            _make_private(directory)
            # tmux(1): as when the socket was removed by accident
            os.kill(server, signal.SIGUSR1)
            limit = time.monotonic() + REBIND
            while time.monotonic() < limit:
                for place in places:
                    if place.server() == server:
                        self.resumed = True
                        return place
                time.sleep(0.02)
        return None

    def _first(self, place: Place, session: str) -> Pane | None:
        # Ids grow: the lowest is the pane the session was created with.
        panes = [pane for pane in self._panes(place) if pane.session == session]
        return min(panes, key=lambda pane: int(pane.pane_id[1:]), default=None)

    def _panes(self, place: Place) -> list[Pane]:
        ending = "#{?pane_dead_signal,signal #{pane_dead_signal},status #{pane_dead_status}}"
        fields = f"#{{pid}} #{{pane_id}} #{{pane_pid}} #{{pane_dead}} {ending} #{{session_name}}"
        try:
            rows = self._ask(place, "list-panes", "-a", "-F", fields).splitlines()
        except TmuxError as exc:
            if NO_SERVER.search(str(exc)):
                return []
            raise
        panes = []
        for row in rows:
            found = PANE.fullmatch(row)
            if not found:
                raise TmuxError(f"tmux list-panes: it answers {row[:80]!r}, which is no pane")
            how = f"{found['how']} {found['code']}" if found["code"] else ""
            pid, server, dead = int(found["pid"]), int(found["server"]), found["dead"] == "1"
            panes.append(Pane(found["id"], pid, dead, how, server, place, found["session"]))
        return panes

    def _ask(self, place: Place, *words: str, prefix: Sequence[str] = ()) -> str:
        argv = [*prefix, "timeout", str(SECONDS), *self._words(place), *words]
        rc, out, err = self._run(argv, expand_user_and_vars=False)
        if rc == NO_ANSWER and self._may_resume and not self.resumed:
            self.resumed = resume(place.server())
            rc, out, err = self._run(argv, expand_user_and_vars=False)
        if rc == NO_ANSWER:
            raise TmuxError(
                f"tmux (socket {place.name}, process {place.server()}) does not answer. "
                "What runs in its sessions goes on. Once tmux answers, run this again."
            )
        if rc != 0:
            # respawn-pane says "pane ... still active" when somebody else was faster.
            duplicate = re.search(r"^duplicate session|still active", err, re.MULTILINE)
            raise (DuplicateError if duplicate else TmuxError)(f"tmux {words[0]}: {err.strip()}")
        return out

    def _words(self, place: Place) -> list[str]:
        # -u: without it tmux prints other than ASCII names as underscores in a C locale.
        words = [*place.words(self._binary), "-u"]
        # In place of /etc/tmux.conf and the account's, any line of which may end what is started
        # (destroy-unattached), or be taken for it (new-session). Of use to a new server only.
        return words if place.is_the_accounts else [*words, "-f", os.devnull]


def withhold() -> None:
    """Take out of this process's environment what no session is to have."""
    for name in list(os.environ):
        if name in WITHHELD or PASSING.match(name):
            del os.environ[name]


def usual_directory() -> str:
    """Return where tmux has its sockets unless it is told otherwise (tmux(1), TMUX_TMPDIR)."""
    told = os.environ.get("TMUX_TMPDIR", "")
    return f"{os.path.realpath(told if os.path.isdir(told) else '/tmp')}/tmux-{os.getuid()}"


def servers() -> list[int]:
    """Return the tmux servers of this account."""
    return [pid for pid in _script.pids() if _listener.program(pid) == SERVER_NAME]


def has_panes(server: int) -> bool:
    """Whether anything runs in the panes of a tmux server; what only reads them has no terminal."""
    children = (pid for pid in _script.pids() if _machine.parent(pid) == server)
    return any(_machine.runs(pid) and _machine.has_terminal(pid) for pid in children)


def bound(server: int) -> tuple[str, str]:
    """Return the directory and the name to which a process of this account has bound its socket.

    The directory is the real one, whatever is there by now; both are empty where nothing is known.
    """
    inodes = set(_listener.sockets(server))
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as lines:
            rows = [line.rstrip("\n").split(maxsplit=7) for line in lines]
        cwd = os.readlink(f"/proc/{server}/cwd")
    except OSError:  # it has just ended
        return "", ""
    for row in rows:
        # Of those that listen, only the server's own has a path.
        if len(row) == 8 and row[3] == LISTENS and row[6] in inodes:
            directory, name = os.path.split(os.path.join(cwd, row[7]))
            # In a directory that was removed nothing can be made.
            gone = directory.endswith(" (deleted)") and not os.path.isdir(directory)
            return ("", "") if gone else (os.path.realpath(directory), name)
    return "", ""


def _make_private(directory: str) -> None:
    """Make a directory, and those above it, for this account only, where they are missing."""
    before = os.umask(0o077)
    try:
        os.makedirs(directory, exist_ok=True)
    finally:
        os.umask(before)


def _require_private(directory: str, status: os.stat_result) -> None:
    if status.st_uid != os.getuid():
        raise TmuxError(
            f"{directory}, where tmux's socket is to be, belongs to another account "
            f"({status.st_uid}). Remove it, or choose another place (socket_dir; in the roles "
            "tmux_socket_dir)."
        )
    if status.st_mode & 0o022:
        raise TmuxError(
            f"Other accounts may write to {directory}, where tmux's socket is to be. Close it to "
            f"them: chmod 700 {shlex.quote(directory)}"
        )


def _start_words(command: Command, dead: Pane | None) -> list[str]:
    # tmux gives a lone argument to the account's shell, and says nothing of a program that it
    # cannot execute; sh says so, and is replaced by the program.
    argv = [os.path.expanduser(word) for word in command.argv]
    run = ["-c", _plain(command.directory), "--", "sh", "-c", RUN, "sh", *argv]
    if dead:
        target = dead.pane_id
        words = ["respawn-pane", "-t", target, *run]
    else:
        target, name = f"={command.session}:", _plain(command.session)
        words = ["new-session", "-d", "-s", name, "-n", name, "-x", "200", "-y", "50", *run]
    words = [_whole(word) for word in words]
    # In one call, so that the command can neither print nor end before these hold.
    words += [";", "set-option", "-w", "-t", target, "remain-on-exit", "on"]
    # Once a command has ended, tmux reads what it still had to say only of a pane with a pipe. Of
    # others it lost the last lines of more than 4096 bytes whenever it was late (seen with 3.3a).
    words += [";", "pipe-pane", "-t", target, "exec cat > /dev/null"]
    return words


def resume(pid: int) -> bool:
    """Let a process that was suspended go on; whether it was."""
    suspended = _machine.is_suspended(pid)
    if suspended:
        os.kill(pid, signal.SIGCONT)
    return suspended


def _whole(word: str) -> str:
    """Return ``word`` so that a ";" at its end does not end tmux's command."""
    return re.sub(r";\Z", r"\\;", word)


def _plain(text: str) -> str:
    """Return ``text`` as tmux wants it where it expands formats."""
    return text.replace("#", "##")


def private(path: str, flags: int) -> int:
    """Open a file for its owner only; to be the ``opener`` of ``open``."""
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor
