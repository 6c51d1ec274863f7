"""A tmux server for one test."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path


class TmuxServer:
    """A tmux server of its own, which starts with its first session.

    Its socket is in ``socket_dir``, or without one in tmux's usual place.
    """

    def __init__(self, socket_dir: str = "", socket_name: str = "") -> None:
        self.socket_name = socket_name or f"unit-{uuid.uuid4().hex[:8]}"
        self.socket_dir = socket_dir
        # A test may take tmux out of PATH; the server still has to end.
        self._binary = shutil.which("tmux") or "tmux"

    @property
    def socket(self) -> str:
        """Path of the socket in ``socket_dir``."""
        return f"{self.socket_dir}/{self.socket_name}"

    def ask(self, *words: str) -> list[str]:
        """The lines that tmux answers; none when there is no server."""
        if self.socket_dir and not Path(self.socket_dir).is_dir():
            return []
        # From within the directory, because the path of a socket must not be long.
        place = ["-S", self.socket_name] if self.socket_dir else ["-L", self.socket_name]
        argv = [self._binary, "-u", *place, *words]
        done = subprocess.run(
            argv, cwd=self.socket_dir or None, capture_output=True, encoding="utf-8", check=False
        )
        return done.stdout.splitlines()

    def sessions(self) -> list[str]:
        """Names of the sessions."""
        return self.ask("list-sessions", "-F", "#{session_name}")
