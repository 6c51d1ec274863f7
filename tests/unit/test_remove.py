"""What the script of the playbook remove does with tmux's sockets, the old one and the new one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _tmux

from tests.support import CHECKOUT
from tests.support.tmux import TmuxServer


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the directory of a notebook whose sessions have ended."""
    (tmp_path / ".local/share/anywhere-notebook").mkdir(parents=True)
    return tmp_path


def remove(home: Path, name: str) -> list[str]:
    """Run the script; the lines it has printed."""
    base = home / ".local/share/anywhere-notebook"
    words = [*(base / part for part in ("jupyter", "ngrok", "added", "tmux")), name]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        ["/bin/sh", str(CHECKOUT / "playbooks/files/remove"), *map(str, words)],
        env=os.environ | {"HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def leave(path: Path) -> None:
    """Leave a socket behind whose server is gone."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    opened = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        # The path itself may be too long.
        server.bind(f"/proc/self/fd/{opened}/{path.name}")
    os.close(opened)


def test_both_sockets_are_taken_away(home: Path, tmux: TmuxServer) -> None:
    leave(home / ".local/share/anywhere-notebook/tmux" / tmux.socket_name)
    leave(Path(_tmux.usual_directory(), tmux.socket_name))

    assert remove(home, tmux.socket_name) == []

    assert list(home.iterdir()) == []
    assert not Path(_tmux.usual_directory()).exists()


def test_a_server_that_has_sessions_of_the_person_keeps_its_socket(
    home: Path, tmux: TmuxServer
) -> None:
    (server,) = tmux.ask("new-session", "-d", "-P", "-F", "#{pid}", "-s", "mine", "sleep 600")
    try:
        said = remove(home, tmux.socket_name)

        assert said == [f"kept {_tmux.usual_directory()}/{tmux.socket_name}"]
        assert tmux.sessions() == ["mine"]
    finally:
        # Without its socket nothing else would reach it.
        os.kill(int(server), signal.SIGTERM)
