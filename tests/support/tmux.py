"""A tmux server for one test."""

from __future__ import annotations

import shutil
import subprocess
import uuid


class TmuxServer:
    """A tmux server of its own, which starts with its first session."""

    def __init__(self) -> None:
        self.socket_name = f"unit-{uuid.uuid4().hex[:8]}"
        # A test may take tmux out of PATH; the server still has to end.
        self._binary = shutil.which("tmux") or "tmux"

    def ask(self, *words: str) -> list[str]:
        """The lines that tmux answers; none when there is no server."""
        argv = [self._binary, "-u", "-L", self.socket_name, *words]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", check=False)
        return done.stdout.splitlines()

    def sessions(self) -> list[str]:
        """Names of the sessions."""
        return self.ask("list-sessions", "-F", "#{session_name}")
