"""What the module notebook_remove takes away, what it keeps, and when it does nothing."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _script, _tmux

from tests.support.modules import run_module
from tests.support.tmux import TmuxServer
from tests.support.waiting import wait_until

OURS = [
    *("boot", "server.log", "server.log.1", "start", "stopped", "token", "venv/bin/jupyter"),
    *("venv/lib/python3.11/site-packages/a/demo.ipynb", "venv/pyvenv.cfg", "venv/complete"),
    *("documents/history.db", "documents/history.db-wal", "documents/sessions.json"),
    *(
        "kernels/course/kernel.json",
        "kernels/course/pyvenv.cfg",
        "kernels/course/bin/python",
        "kernels/course/lib/x.ipynb",
    ),
    *(
        "cache/uv/a/b",
        "k/kernel-1-ipc-1",
        "runtime/jpserver-1.json",
        "guard/notebook_guard/a.py",
        "guard/labextensions/notebook-guard/static/remoteEntry.js",
    ),
    *(
        "keeper/src/notebook_keeper/a.py",
        "workspaces/default-37a8.jupyterlab-workspace",
        "notebooks",
    ),
]
THEIRS = ["thesis.ipynb", "mine/deep/set.csv", ".hidden"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the directory of a notebook whose sessions have ended."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".local/share/anywhere-notebook").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def base(home: Path) -> Path:
    """The directory of the server, with what setup, Jupyter and the agent leave there."""
    own = home / ".local/share/anywhere-notebook"
    make(own / "jupyter", *OURS)
    make(
        own / "ngrok", "agent.log", "ngrok-0123456789ab", "ngrok-0123456789ab.zip", "agent/api.yml"
    )
    make(own, "added")
    return own / "jupyter"


def make(directory: Path, *names: str) -> None:
    """Make files."""
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)


def remove(name: str = "notebook", *, check_mode: bool = False) -> dict[str, Any]:
    return run_module("notebook_remove", check_mode=check_mode, tmux_socket_name=name)


def leave(path: Path) -> None:
    """Leave a socket behind whose server is gone."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    opened = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        # The path itself may be too long.
        server.bind(f"/proc/self/fd/{opened}/{path.name}")
    os.close(opened)


def test_what_is_ours_is_taken_away_and_a_second_run_finds_nothing(home: Path, base: Path) -> None:
    expected = {"changed": True, "removed": [str(base), f"{base.parent}/ngrok"], "kept": []}
    assert expected.items() <= remove(check_mode=True).items()
    assert all((base / name).exists() for name in OURS)

    assert expected.items() <= remove().items()
    assert list(home.iterdir()) == []
    assert {"changed": False, "removed": [], "kept": []}.items() <= remove().items()


@pytest.mark.parametrize(
    "place",
    [
        *("", "documents", "kernels", "kernels/mine", "cache", "runtime", "workspaces"),
        *(
            "keeper",
            "keeper/data",
            "keeper/src/notebook_keeper",
            "venv",
            "k",
            "guard",
            "../ngrok",
            "../ngrok/agent",
            "..",
            "../tmux",
            "port",
            "sockets",
        ),
    ],
)
def test_what_is_not_ours_is_kept_and_named(place: str, base: Path) -> None:
    make(base / place, *THEIRS)

    found = remove(check_mode=True)
    done = remove()

    left = Path(os.path.normpath(base / place))
    # In a directory that has one of our names, where we have none, all of it is theirs.
    named = (
        [left]
        if place in ("port", "sockets", "kernels/mine")
        else [left / name.split("/")[0] for name in THEIRS]
    )
    assert sorted(done["kept"]) == found["kept"] == sorted(map(str, named))
    assert [name for name in THEIRS if (left / name).read_text() != name] == []
    assert not (base / "venv/bin").exists()
    again = remove()
    assert (again["changed"], sorted(again["kept"])) == (False, found["kept"])


@pytest.mark.parametrize("root", ["documents", "venv/lib", "kernels/course/lib/deep", "guard"])
def test_what_the_server_showed_is_kept_whatever_it_is_called(root: str, base: Path) -> None:
    (base / "notebooks").write_text(json.dumps({"path": f"{base}/{root}", "mount": "/"}))
    make(base / root, *OURS, *THEIRS)

    done = remove()

    assert done["kept"] == [str(base / root.split("/")[0])] or "kernels" in root
    assert [name for name in (*OURS, *THEIRS) if not (base / root / name).exists()] == []


def test_a_link_is_kept_and_so_is_what_it_leads_to(home: Path, base: Path) -> None:
    make(home / "mine", *THEIRS)
    (base / "mine").symlink_to(home / "mine")
    (base / "runtime/more").symlink_to(home / "mine")
    for path in base.glob("workspaces/*"):
        path.unlink()
    (base / "workspaces").rmdir()
    (base / "workspaces").symlink_to(home / "mine")

    kept = remove()["kept"]

    assert kept == [f"{base}/{name}" for name in ("mine", "runtime/more", "workspaces")]
    assert sorted(path.name for path in (home / "mine").iterdir()) == [".hidden", "mine", THEIRS[0]]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--ServerApp.config_file={base}/jupyter_server_config.py", "The Jupyter server runs ("),
        ("--config={base}/../ngrok/ngrok.yml", "The ngrok agent runs ("),
        ("{base}/k/kernel-1.json", "A kernel of the notebook still runs ("),
    ],
)
def test_nothing_is_taken_away_below_what_runs(
    words: str, says: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "ansible_collections.anywhere.notebook.plugins.modules.notebook_remove.PATIENCE"
    monkeypatch.setattr(module, 0.5)
    told = words.format(base=base)
    argv = [sys.executable, "-S", "-c", "import signal; signal.pause()", told]
    with subprocess.Popen(argv) as running:
        try:
            wait_until(lambda: told in _script.words_of(running.pid))
            said = remove()["msg"]
        finally:
            running.kill()

    assert said.startswith(says)
    assert f"(process {running.pid})" in said
    assert all((base / name).exists() for name in OURS)


def test_nothing_is_taken_away_below_a_setup(base: Path) -> None:
    with (base / "install.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove()["msg"].startswith("A setup is at work in ")
    assert all((base / name).exists() for name in OURS)

    assert remove()["changed"]


@pytest.mark.usefixtures("home")
def test_both_sockets_are_taken_away(home: Path, tmux: TmuxServer) -> None:
    leave(home / ".local/share/anywhere-notebook/tmux" / tmux.socket_name)
    leave(Path(_tmux.usual_directory(), tmux.socket_name))

    assert remove(tmux.socket_name)["changed"]

    assert list(home.iterdir()) == []
    assert not Path(_tmux.usual_directory()).exists()


@pytest.mark.usefixtures("home")
def test_a_server_that_has_sessions_of_the_person_keeps_its_socket(tmux: TmuxServer) -> None:
    (server,) = tmux.ask("new-session", "-d", "-P", "-F", "#{pid}", "-s", "mine", "sleep 600")
    try:
        assert remove(tmux.socket_name)["kept"] == [f"{_tmux.usual_directory()}/{tmux.socket_name}"]
        assert tmux.sessions() == ["mine"]
    finally:
        # Without its socket nothing else would reach it.
        os.kill(int(server), signal.SIGTERM)
