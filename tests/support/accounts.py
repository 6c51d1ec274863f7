"""Accounts that the tests set up notebooks for, on this machine, against a real agent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.anywhere.notebook.plugins.module_utils import _script, _tmux

from tests.support import CHECKOUT, PASSWORD
from tests.support.edge.client import fetch
from tests.support.hosts.client import AS_ROOT
from tests.support.plays import Play, run
from tests.support.processes import end_sessions
from tests.support.visitors import Visitor

TMUX_SECONDS = 5.0
AGENT = CHECKOUT / ".cache/ngrok-agent-2/ngrok"

# Runs a module as Ansible does, but without Ansible: in a process of its own, with its arguments.
MODULE = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
module = importlib.import_module(
    f"ansible_collections.anywhere.notebook.plugins.modules.{sys.argv[1]}"
)
with patch_module_args(json.load(sys.stdin)):
    module.main()
"""


def pack_agent(file: Path, level: int = 1) -> dict[str, str]:
    """Pack the agent as ngrok packs it; what the role ngrok is told to install it from there.

    With another ``level`` of compression it is another release to the role.
    """
    with tarfile.open(file, "w:gz", compresslevel=level) as packed:
        packed.add(AGENT, "ngrok")
    return {
        "ngrok_executable": "",
        "ngrok_archive_url": f"file://{file}",
        "ngrok_archive_checksum": f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}",
    }


@contextlib.contextmanager
def disk(directory: Path, megabytes: int, *options: str) -> Iterator[bool]:
    """Have a small disk of its own at a directory; False where only root can make one."""
    told = ",".join([f"size={megabytes}m", f"uid={os.getuid()}", *options])
    mount = ["mount", "-t", "tmpfs", "-o", told, "tmpfs"]
    mounted = subprocess.run([*AS_ROOT, *mount, directory], capture_output=True, check=False)
    try:
        yield not mounted.returncode
    finally:
        if not mounted.returncode:
            subprocess.run([*AS_ROOT, "umount", directory], check=True)


def caches() -> dict[str, str]:
    """Return where the installers keep what they fetched, for all accounts of the tests."""
    cache = CHECKOUT / ".cache"
    return {"PIP_CACHE_DIR": str(cache / "pip"), "UV_CACHE_DIR": str(cache / "uv")}


@dataclass
class Account:
    """A home, ports and a tmux server of its own, as another account would have them."""

    home: Path
    socket_name: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:8]}")
    variables: dict[str, object] = field(default_factory=dict)
    exported: dict[str, str] = field(default_factory=dict)
    ansible: Path = Path(sys.executable).parent

    @property
    def state(self) -> Path:
        """The directory below which the roles put everything."""
        return self.home / ".local/share/anywhere-notebook"

    @property
    def socket(self) -> Path:
        """The socket of its tmux server, in tmux's usual place if it is there."""
        usual = Path(os.environ.get("TMUX_TMPDIR", "/tmp"), f"tmux-{os.getuid()}", self.socket_name)
        return usual if usual.exists() else self.state / "tmux" / self.socket_name

    def environment(self) -> dict[str, str]:
        """The caller's environment as this account would have it."""
        kept = {name: value for name, value in os.environ.items() if "NGROK" not in name}
        return kept | {
            "HOME": str(self.home),
            "ANSIBLE_HOME": str(self.home / ".ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            **caches(),
            **self.exported,
        }

    def command(self, playbook: str | Path, *flags: str, **variables: object) -> list[str]:
        """Return an ansible-playbook command; variables travel by file, never by argument."""
        file = self.home.parent / f"variables-{uuid.uuid4().hex}.json"
        file.write_text(json.dumps(self.variables | variables))
        command = [f"{self.ansible}/ansible-playbook", str(playbook)]
        if "-i" not in flags:
            command += ["-i", "localhost,", "-c", "local"]
        return [*command, "-e", f"@{file}", *flags]

    def play(self, playbook: str | Path, *flags: str, **variables: object) -> Play:
        """Run a playbook, with the account's variables and the ones given."""
        command = self.command(playbook, *flags, **variables)
        return run(command, cwd=self.home, env=self.environment())

    def setup(self, *flags: str, **variables: object) -> Play:
        """Run ``setup``, which has to succeed."""
        return self._succeed(self.play("anywhere.notebook.setup", *flags, **variables))

    def reconnect(self, *flags: str, **variables: object) -> Play:
        """Run ``reconnect``, which has to succeed."""
        return self._succeed(self.play("anywhere.notebook.reconnect", *flags, **variables))

    def module(self, name: str, /, **arguments: object) -> dict[str, Any]:
        """Return the result of a module of the collection, which needs a tenth of a play's time."""
        done = subprocess.run(
            [sys.executable, "-c", MODULE, name],
            input=json.dumps(arguments),
            cwd=self.home,
            env=self.environment() | {"PYTHONPATH": str(CHECKOUT / ".venv/collections")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def look(self) -> dict[str, Any]:
        """What the module behind ``status`` says of the notebook."""
        found = self.module("notebook_info", tmux_socket_name=self.socket_name)
        assert "failed" not in found, found
        return found

    def url(self) -> str:
        """The public URL of a notebook that was set up; repaired first where it has no answer."""
        file = self.state / "ngrok/url"
        url = file.read_text().strip() if file.exists() else ""
        return url if url and fetch(url, "/api").status == 200 else self.reconnect().url

    def visitor(self) -> Visitor:
        """Somebody who has logged in at the notebook's present public URL."""
        visitor = Visitor(self.url())
        visitor.log_in(PASSWORD)
        return visitor

    def tmux(self, *words: str) -> str:
        """Ask the account's tmux server; empty when there is none, or it is suspended."""
        command = ["tmux", "-S", str(self.socket), *words]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=TMUX_SECONDS
            ).stdout
        except subprocess.TimeoutExpired:
            return ""

    def pids(self) -> dict[str, int]:
        """Process ids of the running commands by session."""
        rows = self.tmux("list-panes", "-a", "-F", "#{pane_dead} #{pane_pid} #{session_name}")
        panes = [row.split(" ", 2) for row in rows.splitlines()]
        return {name: int(pid) for dead, pid, name in panes if dead == "0"}

    def stop(self) -> None:
        """End what runs in the account's tmux server, and the server."""
        end_sessions(self.socket)
        # What a failed test has left without a socket.
        for role in ("jupyter", "ngrok"):
            for pid in _script.Script(str(self.state / role)).processes():
                servers = set(_script.above(pid)).intersection(_tmux.servers())
                for each in (pid, *servers):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(each, signal.SIGTERM)
        # Where kernels' sockets are, because a home of the tests has a long name.
        with contextlib.suppress(OSError):
            shutil.rmtree((self.state / "jupyter/sockets").readlink())

    @staticmethod
    def _succeed(play: Play) -> Play:
        assert play.status == 0, play.output
        return play
