"""The role's server without the play, the tunnel and tmux, and whatever it opens at its start."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.anywhere.notebook.plugins.module_utils import _listener

from tests.support import PASSWORD
from tests.support.accounts import Account
from tests.support.ports import free_port
from tests.support.processes import descendants, runs
from tests.support.waiting import wait_until

# What the role does before and after is not of interest here.
CONFIGURE = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.file: {path: "{{ jupyter_base_dir }}", state: directory, mode: "0700"}
    - ansible.builtin.import_role: {name: anywhere.notebook.jupyter, tasks_from: configure}
"""


@dataclass
class Seen:
    """What a server that was started has opened, and what it said."""

    status: int = 0
    said: str = ""
    opened: set[str] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)

    @property
    def last_line(self) -> str:
        return self.said.strip().rpartition("\n")[2]


@dataclass
class Server:
    """What the role has written for a server that shows ``home/notebooks``."""

    home: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    prefix: list[str] = field(default_factory=list)
    # What somebody has asked for; the values are secrets.
    asked: dict[str, str] = field(
        default_factory=lambda: {"ASKED": "s3cr3t $HOME", "OTHERS": "$OTHERS by s3cr3t"}
    )

    @property
    def base(self) -> Path:
        return self.home / "jupyter"

    @property
    def notebooks(self) -> Path:
        return self.home / "notebooks"

    @property
    def config(self) -> Path:
        return self.base / "jupyter_server_config.py"

    def configure(self) -> None:
        """Have the role write it."""
        account = Account(self.home)
        play = self.home.parent / "configure.yml"
        play.write_text(CONFIGURE)
        done = account.play(
            play,
            "-vvv",
            "--diff",
            ansible_python_interpreter=sys.executable,
            jupyter_base_dir=str(self.base),
            jupyter_executable=str(Path(sys.executable).parent / "jupyter"),
            jupyter_python=sys.executable,
            jupyter_password=PASSWORD,
            jupyter_root_dir=str(self.notebooks),
            jupyter_environment=self.asked,
            jupyter_login_environment=True,
            __jupyter_base_dir={"path": str(self.base)},
            __jupyter_before={"running": False},
            __jupyter_outdated=False,
            __tmux_preflight={"listens_on": f"127.0.0.1:{self.port}"},
        )
        assert done.status == 0, done.output
        assert not [value for value in self.asked.values() if value in done.output]

    @contextlib.contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the script that tmux runs; in the end it and what it has started ends."""
        kept = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        with (self.home / "said").open("wb") as said:
            server = subprocess.Popen(
                [*self.prefix, self.base / "start"],
                env=kept | self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield server
        finally:
            if server.poll() is None:
                pids = descendants(server.pid)
                server.send_signal(signal.SIGTERM)
                try:
                    server.wait(60)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()
                wait_until(lambda: not any(map(runs, pids)))

    def watch(self) -> Seen:
        """Start it, and look every 50 ms until it has ended, or opened something."""
        seen = Seen()
        with self.started() as server:

            def ended() -> bool:
                self.look(server, seen)
                return server.poll() is not None or bool(seen.opened)

            wait_until(ended, 120)
            seen.status = server.poll() or 0
        seen.said = (self.home / "said").read_text(errors="replace")
        return seen

    def look(self, server: subprocess.Popen[bytes], seen: Seen) -> None:
        """Add what is open now, and what somebody without a login gets there."""
        now = listening(server.pid)
        seen.opened |= now
        for address in now:
            if not address.startswith("/"):
                port = int(address.rpartition(":")[2])
                seen.answered.add(status(port, "/api/status"))

    @contextlib.contextmanager
    def disk(self, megabytes: int) -> Iterator[None]:
        """Have what the role has written on a small disk of its own; takes root."""
        aside = self.home / "aside"
        shutil.copytree(self.base, aside)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs"]
        subprocess.run([*mount, self.base], check=True)
        try:
            shutil.copytree(aside, self.base, dirs_exist_ok=True)
            yield
        finally:
            subprocess.run(["umount", self.base], check=True)
            shutil.rmtree(aside)


def status(port: int, path: str) -> int:
    """The status of an answer to somebody without a login; 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def listening(pid: int) -> set[str]:
    """Where a process and those below it listen: ``host:port``, or the path of a socket."""
    pids = descendants(pid)
    found = set(_listener.addresses(pids))
    inodes = {inode for each in pids for inode in _listener.sockets(each)}
    for line in Path("/proc/net/unix").read_text(errors="replace").splitlines():
        row = line.split(maxsplit=7)
        if row[3] == "00010000" and row[6] in inodes:
            found.add(row[7] if len(row) > 7 else "/")
    return found


def without_rights() -> Sequence[str]:
    """What has a command of root obey the modes of files; nothing where nobody is root."""
    dropped = "-dac_override,-dac_read_search"
    prefix = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
    return prefix if os.geteuid() == 0 else []
