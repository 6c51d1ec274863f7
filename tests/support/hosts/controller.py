"""The computer from which somebody runs the playbooks, for tests of several or of broken hosts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from tests.support import CHECKOUT
from tests.support.plays import Play, run
from tests.support.processes import descendants

SETUP = "anywhere.notebook.setup"
RECONNECT = "anywhere.notebook.reconnect"


def environment(home: Path) -> dict[str, str]:
    """What a program of somebody with this home is told; nothing of the caller's own accounts."""
    kept = {name: value for name, value in os.environ.items() if not re.search("NGROK|AWS", name)}
    return kept | {
        "HOME": str(home),
        "ANSIBLE_HOME": str(home / ".ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
        "PYTHONUNBUFFERED": "1",
    }


class Controller:
    """A home and an inventory; ``variables`` hold for all hosts."""

    def __init__(self, home: Path, inventory: dict[str, Any], **variables: object) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        inventory["all"]["vars"] |= variables
        self._inventory = home / "inventory.json"
        self._inventory.write_text(json.dumps(inventory, indent=2))

    def play(self, playbook: str, *flags: str) -> Play:
        """Run a playbook to its end."""
        return run(self._command(playbook, *flags), cwd=self.home, env=environment(self.home))

    def begin(self, playbook: str, *flags: str) -> Running:
        """Start a playbook that a test is going to interrupt."""
        return Running(self._command(playbook, *flags), self.home, environment(self.home))

    def _command(self, playbook: str, *flags: str) -> list[str]:
        program = f"{Path(sys.executable).parent}/ansible-playbook"
        return [program, "-i", str(self._inventory), playbook, *flags]


class Running(AbstractContextManager["Running"]):
    """A playbook on its way; killed at the end of the ``with`` block at the latest."""

    def __init__(self, command: list[str], cwd: Path, env: dict[str, str]) -> None:
        self.output = ""
        self._child = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __exit__(self, *_: object) -> None:
        self.kill()

    def reach(self, task: str) -> None:
        """Return when a task with this in its name begins; fail when the playbook ends before."""
        assert self._child.stdout
        for line in self._child.stdout:
            self.output += line
            if line.startswith("TASK [") and task in line:
                return
        raise AssertionError(f"no task {task!r}:\n{self.output}")

    def finish(self) -> Play:
        """Wait for its end; what it said from its beginning on."""
        assert self._child.stdout
        self.output += self._child.stdout.read()
        return Play(self._child.wait(), self.output)

    def kill(self) -> None:
        """SIGKILL it with all below it, as a crash of the computer would.

        Ansible's workers have sessions of their own, and one whose link is cut would never end.
        """
        if self._child.poll() is None:
            for pid in descendants(self._child.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._child.wait()
        if self._child.stdout:
            self._child.stdout.close()
