# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection knows about tmux. Private to the collection.

Facts about tmux are from tmux(1) unless a comment says where they were seen.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import typing as t
from dataclasses import dataclass

from ansible_collections.anywhere.notebook.plugins.module_utils import _listener, _machine
from ansible_collections.anywhere.notebook.plugins.module_utils._login import outside
from ansible_collections.anywhere.notebook.plugins.module_utils._text import hide_secrets

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.anywhere.notebook.plugins.module_utils._login import Run

# Every failure of tmux exits 1, so only the text tells "no server" apart (tmux 3.3a). A server
# that is just ending, because its last session did, has words of its own.
NO_SERVER = re.compile(
    r"no server running|server exited|lost server"
    r"|error connecting to .*\((No such file|Connection refused)"
)

# A tmux server keeps its first client's environment for all its sessions and shows it to
# whoever asks ("show-environment -g"), so these never reach it.
WITHHELD = ("NGROK_AUTHTOKEN", "NGROK_API_KEY")


# tmux answers within milliseconds, but not at all while its server is suspended. timeout(1) says so
# with a status of its own.
SECONDS = 10
NO_ANSWER = 124


class TmuxError(Exception):
    """tmux refused a command; the message is the command and tmux's own words."""


class DuplicateError(TmuxError):
    """There is a session of this name already."""


@dataclass(frozen=True)
class Pane:
    """The pane in which a session's command runs, or ran."""

    pane_id: str
    pid: int
    dead: bool
    ending: str  # such as "status 1" or "signal 9"; empty while the command runs
    server: int  # the process that keeps it


@dataclass(frozen=True)
class Command:
    """What a session runs, where, and the file that gets what it prints."""

    session: str
    argv: Sequence[str]
    directory: str
    log_file: str | None


class Tmux:
    """The tmux server of one account behind one socket.

    ``run`` is ``AnsibleModule.run_command``; ``binary`` is empty where tmux is not installed,
    which reads as "no session". A server that is suspended goes on, unless ``may_resume`` is false,
    and ``resumed`` becomes true; commands never are for long, because tmux lets them go on itself
    (seen with 3.3a).
    """

    def __init__(self, run: Run, binary: str, socket_name: str, *, may_resume: bool = True) -> None:
        self.resumed = False
        self._may_resume = may_resume
        self._run = run
        self._binary = binary
        self._socket_name = socket_name

    def pane(self, session: str) -> Pane | None:
        """Return the first pane of the session of exactly this name, None when there is none."""
        if not self._binary:
            return None
        ending = "#{?pane_dead_signal,signal #{pane_dead_signal},status #{pane_dead_status}}"
        fields = f"#{{pid}} #{{pane_id}} #{{pane_pid}} #{{pane_dead}} {ending} #{{session_name}}"
        try:
            rows = self._ask("list-panes", "-a", "-F", fields).splitlines()
        except TmuxError as exc:
            if NO_SERVER.search(str(exc)):
                return None
            raise
        panes = []
        for row in rows:
            server, pane_id, pid, dead, how, code, name = row.split(" ", 6)
            if name == session:
                how = f"{how} {code}" if code else ""
                panes.append(Pane(pane_id, int(pid), dead == "1", how, int(server)))
        # Ids grow: the lowest is the pane the session was created with.
        return min(panes, key=lambda pane: int(pane.pane_id[1:]), default=None)

    def start(self, command: Command, dead: Pane | None) -> None:
        """Run a command in a new detached session, or again in the ``dead`` pane of an old one.

        A ``~`` at the start of a word is expanded, as a shell would do it.
        The pane stays when its command ends, so that its last lines can be read.
        """
        words = _start_words(command, dead)
        if command.log_file:
            with open(command.log_file, "wb", opener=private):
                pass
        self._ask(*words, prefix=outside())

    def boot_words(self, command: Command) -> list[str]:
        """Return the words by which :meth:`start` makes a session, for a later boot.

        Empty where no manager of the account outlives its logins, and so could start it then.
        """
        prefix = outside()
        return [*prefix, *self._words(), *_start_words(command, None)] if prefix else []

    def last_lines(self, pane: Pane, count: int) -> str:
        """Return the last lines a pane shows, with secrets taken out."""
        text = self._ask("capture-pane", "-p", "-J", "-S", f"-{count}", "-t", pane.pane_id)
        lines = [line.rstrip() for line in text.splitlines()]
        # With remain-on-exit tmux adds a line of its own.
        shown = [line for line in lines if line and not line.startswith("Pane is dead")]
        return hide_secrets("\n".join(shown[-count:]))

    def reap(self) -> None:
        """Have tmux notice how commands ended; 3.3a at times shows a dead pane without it."""
        self._ask("run-shell", "true")

    def kill(self, session: str) -> None:
        """End a session. Without "=" tmux would take the name as a prefix."""
        self._ask("kill-session", "-t", _whole(f"={session}"))

    def _ask(self, *words: str, prefix: Sequence[str] = ()) -> str:
        argv = [*prefix, "timeout", str(SECONDS), *self._words(), *words]
        rc, out, err = self._run(argv, expand_user_and_vars=False)
        if rc == NO_ANSWER and self._may_resume and not self.resumed:
            self.resumed = resume(self._server())
            rc, out, err = self._run(argv, expand_user_and_vars=False)
        if rc == NO_ANSWER:
            raise TmuxError(
                f"tmux (socket {self._socket_name}, process {self._server()}) does not answer. "
                "What runs in its sessions goes on. Once tmux answers, run this again."
            )
        if rc != 0:
            # respawn-pane says "pane ... still active" when somebody else was faster.
            duplicate = re.search(r"^duplicate session|still active", err, re.MULTILINE)
            raise (DuplicateError if duplicate else TmuxError)(f"tmux {words[0]}: {err.strip()}")
        return out

    def _words(self) -> list[str]:
        # -u: without it tmux prints other than ASCII names as underscores in a C locale.
        return [self._binary, "-u", "-L", self._socket_name]

    def _server(self) -> int:
        """Return the process behind the socket, 0 when there is none."""
        directory = os.path.realpath(os.environ.get("TMUX_TMPDIR") or "/tmp")
        return _listener.find_unix(f"{directory}/tmux-{os.getuid()}/{self._socket_name}")


def _start_words(command: Command, dead: Pane | None) -> list[str]:
    # tmux gives a lone argument to the account's shell, and says nothing of a program that it
    # cannot execute; sh says so, and is replaced by the program.
    argv = [os.path.expanduser(word) for word in command.argv]
    run = ["-c", _plain(command.directory), "--", "sh", "-c", 'exec "$@"', "sh", *argv]
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
    shell = f"umask 077; exec cat > {shlex.quote(command.log_file or os.devnull)}"
    # pipe-pane expands formats and dates before it calls the shell.
    words += [";", "pipe-pane", "-t", target, re.sub("([#%])", r"\1\1", shell)]
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
