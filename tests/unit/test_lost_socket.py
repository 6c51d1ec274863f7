"""What runs is found, goes on and is ended, whatever becomes of the socket of its tmux server."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _boot, _script, _tmux
from ansible_collections.anywhere.notebook.plugins.module_utils._script import Script

from tests.support.modules import run_module
from tests.support.processes import runs
from tests.support.waiting import wait_until

# As the scripts of our roles: it becomes a program that is told its configuration.
START = f"""#!/bin/sh
rm -f {{directory}}/stopped
exec {sys.executable} -S -c 'import signal; signal.pause()' --config={{directory}}/ngrok.yml
"""


class Notebook:
    """A directory with a script, and a tmux server for it; all of it ends with the test."""

    def __init__(self, root: Path, name: str = "nb") -> None:
        self.base = root / name
        self.base.mkdir(parents=True)
        self.start = self.base / "start"
        self.start.write_text(START.format(directory=self.base))
        self.start.chmod(0o700)
        self.sockets = root / "tmux"
        self.told: dict[str, Any] = {
            "name": "ngrok",
            "argv": [str(self.start)],
            "socket_name": "notebook",
            "socket_dir": str(self.sockets),
            "timeout": 20,
        }

    def ask(self, **args: object) -> dict[str, Any]:
        """Run the module."""
        result = run_module("tmux_session", **self.told | args)
        assert "failed" not in result, result
        return result

    def run(self, **args: object) -> int:
        """Start it; the process once it is what the script becomes."""
        pid = int(self.ask(timeout=0, **args)["pid"])
        wait_until(lambda: Script(str(self.base)).processes() == [pid])
        return pid


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory with a short name; what was started from there ends with the test."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as directory:
        yield Path(directory).resolve()
        left = {each for each in _tmux.servers() if _tmux.bound(each)[0].startswith(directory)}
        for server in left:
            os.kill(server, signal.SIGTERM)
        wait_until(lambda: not left.intersection(_tmux.servers()))
        for pid in _script.pids():
            if any(word.startswith(f"--config={directory}/") for word in _script.words_of(pid)):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def notebook(root: Path) -> Notebook:
    return Notebook(root)


def server_of(pid: int) -> int:
    """The tmux server that keeps a process."""
    return next(each for each in _script.above(pid) if each in _tmux.servers())


def nothing(_notebook: Notebook) -> None:
    """All is as it was."""


def file_deleted(notebook: Notebook) -> None:
    (notebook.sockets / "notebook").unlink()


def directory_deleted(notebook: Notebook) -> None:
    shutil.rmtree(notebook.sockets)


def moved(notebook: Notebook) -> None:
    notebook.sockets.rename(notebook.base / "moved")


def something_else_there(notebook: Notebook) -> None:
    (notebook.sockets / "notebook").unlink()
    (notebook.sockets / "notebook").touch()


def name_changed(notebook: Notebook) -> None:
    notebook.told["socket_name"] = "other"


def directory_changed(notebook: Notebook) -> None:
    notebook.told["socket_dir"] = str(notebook.base / "other")


def session_renamed(notebook: Notebook) -> None:
    socket = str(notebook.sockets / "notebook")
    subprocess.run(["tmux", "-S", socket, "rename-session", "-t", "=ngrok", "mine"], check=True)


def session_name_changed(notebook: Notebook) -> None:
    notebook.told["name"] = "tunnel"


def another_server_there(notebook: Notebook) -> None:
    file_deleted(notebook)
    socket = str(notebook.sockets / "notebook")
    subprocess.run(["tmux", "-S", socket, "new-session", "-d", "-s", "mine", "cat"], check=True)


WAYS = [
    pytest.param(nothing, True, id="there"),
    pytest.param(file_deleted, True, id="file-deleted"),
    pytest.param(directory_deleted, True, id="directory-deleted"),
    pytest.param(moved, True, id="moved"),
    pytest.param(something_else_there, True, id="something-else-there"),
    pytest.param(name_changed, True, id="name-changed"),
    pytest.param(directory_changed, True, id="directory-changed"),
    pytest.param(session_renamed, True, id="session-renamed"),
    pytest.param(session_name_changed, True, id="session-name-changed"),
    pytest.param(another_server_there, False, id="another-server-there"),
]


@pytest.mark.parametrize(("lose", "shown"), WAYS)
def test_it_goes_on_and_is_shown_again(
    lose: Callable[[Notebook], None], shown: bool, notebook: Notebook
) -> None:
    pid = notebook.run()
    lose(notebook)

    found = notebook.ask()

    assert (found["pid"], found["started"], runs(pid)) == (pid, False, True)
    if shown:
        words = [*shlex.split(found["attach"])[:-3], "list-panes", "-a", "-F", "#{pane_pid}"]
        panes = subprocess.run(words, cwd=Path.home(), capture_output=True, text=True, check=True)
        assert str(pid) in panes.stdout.split()
    again = notebook.ask()
    assert (again["changed"], again["pid"]) == (False, pid)


@pytest.mark.parametrize(("lose", "shown"), WAYS)
def test_it_is_ended_and_nothing_of_it_is_left(
    lose: Callable[[Notebook], None], shown: bool, notebook: Notebook
) -> None:
    pid = notebook.run()
    server = server_of(pid)
    lose(notebook)
    assert notebook.ask(state="absent", check_mode=True)["changed"]
    assert runs(pid)

    assert notebook.ask(state="absent")["changed"]

    assert not runs(pid)
    wait_until(lambda: not runs(server))
    assert not notebook.ask(state="absent")["changed"]


def test_one_in_tmux_s_usual_place_is_found_when_that_is_another_one(
    notebook: Notebook, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, usual = root / "a", root / "b"
    elsewhere.mkdir()
    usual.mkdir()
    monkeypatch.setenv("TMUX_TMPDIR", str(elsewhere))
    pid = notebook.run(socket_dir=None)
    monkeypatch.setenv("TMUX_TMPDIR", str(usual))

    assert notebook.ask()["pid"] == pid
    assert notebook.ask(state="absent")["changed"]
    assert not runs(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file system of its own")
def test_one_in_a_tmp_of_its_own_is_found(notebook: Notebook, root: Path) -> None:
    """As with pam_namespace(8): the path is there, and something else than the server means."""
    (root / "tmux").mkdir(mode=0o700)
    socket, session = f"{root}/tmux/notebook", "new-session -d -s ngrok"
    script = (
        f"mount -t tmpfs -o mode=700 none {root}/tmux && "
        f"tmux -S {socket} {session} env {notebook.start}"
    )
    subprocess.run(["unshare", "--mount", "sh", "-c", script], check=True)
    wait_until(Script(str(notebook.base)).processes)
    (pid,) = Script(str(notebook.base)).processes()

    found = notebook.ask()

    assert (found["pid"], found["started"]) == (pid, False)
    assert f"/proc/{server_of(pid)}/root{root}/tmux/notebook" in found["attach"]
    assert notebook.ask(state="absent")["changed"]
    assert not runs(pid)


def test_check_mode_leaves_the_socket_as_it_is(notebook: Notebook) -> None:
    pid = notebook.run()
    directory_deleted(notebook)

    found = notebook.ask(check_mode=True)

    assert (found["changed"], found["pid"]) == (False, pid)
    assert not notebook.sockets.exists()


def test_why_it_ended_is_told_also_when_the_socket_is_gone_since(notebook: Notebook) -> None:
    pid = notebook.run()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(pid))
    directory_deleted(notebook)

    found = notebook.ask(timeout=0)

    assert (found["started"], found["ended"]) == (True, "signal 9")
    # In the session that was there.
    wait_until(lambda: len(Script(str(notebook.base)).processes()) == 1)


def test_one_that_runs_without_tmux_is_found_and_ended(notebook: Notebook) -> None:
    with subprocess.Popen([str(notebook.start)]) as running:
        wait_until(lambda: Script(str(notebook.base)).processes() == [running.pid])

        assert notebook.ask()["pid"] == running.pid
        assert notebook.ask(state="absent")["changed"]

        assert running.wait(10) == -signal.SIGTERM


def test_it_is_ended_where_tmux_was_taken_off_the_machine(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = notebook.run()
    server = server_of(pid)
    monkeypatch.setattr("ansible.module_utils.basic.get_bin_path", no_program)

    assert notebook.ask(state="absent")["changed"]

    assert not runs(pid)
    assert not runs(server)


def no_program(*_args: object, **_options: object) -> str:
    """As where it is not installed."""
    raise ValueError("not found")


def test_of_several_each_is_ended(notebook: Notebook) -> None:
    first = notebook.run()
    with subprocess.Popen([str(notebook.start)]) as second:
        wait_until(lambda: len(Script(str(notebook.base)).processes()) == 2)

        notebook.ask(state="absent")

        assert second.wait(10) == -signal.SIGTERM
    assert not runs(first)


def test_a_session_of_another_notebook_is_left_alone(notebook: Notebook, root: Path) -> None:
    pid = notebook.run()
    other = Notebook(root, "other")

    assert not other.ask(state="absent")["changed"]
    nowhere = run_module(
        "tmux_session", **notebook.told | {"argv": ["/nowhere/start"]}, state="absent"
    )
    assert nowhere["msg"].startswith("There is nothing in /nowhere; the session ngrok is of a ")
    assert f"in {notebook.base}, and was left alone." in nowhere["msg"]
    refused = run_module("tmux_session", **other.told)

    assert refused["msg"].startswith("Another notebook of this account has the session ngrok.")
    assert runs(pid)
    assert notebook.ask()["pid"] == pid


def test_a_stop_on_purpose_is_remembered_until_the_next_start(notebook: Notebook) -> None:
    mark = notebook.base / "stopped"
    notebook.run()
    notebook.ask(state="absent")
    assert not mark.exists()

    stop = {"state": "absent", "on_purpose": True}
    assert notebook.ask(**stop, check_mode=True)["changed"]
    assert not mark.exists()
    assert notebook.ask(**stop)["changed"]
    assert mark.stat().st_mode & 0o777 == 0o600
    assert not notebook.ask(**stop)["changed"]

    assert notebook.ask(check_mode=True)["was_stopped"]
    assert mark.exists()
    # A script of an older release does not know the mark.
    notebook.start.write_text(notebook.start.read_text().replace("rm -f", "true"))
    assert notebook.ask()["was_stopped"]
    assert not mark.exists()
    assert not notebook.ask()["was_stopped"]


def test_what_was_to_start_it_at_boot_goes_whatever_the_socket_s_name_was(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(notebook.base))
    words = ["tmux", "new-session", "--", "sh", "-c", 'exec "$@"', "sh"]
    for name, script in (("old", notebook.start), ("other", "/elsewhere/start")):
        _boot.ensure(f"tmux-{name}.service", "", [*words, str(script), ";"], check_mode=False)
    units = notebook.base / ".config/systemd/user"
    assert sorted(path.name for path in units.glob("*.service")) == [
        "tmux-old.service",
        "tmux-other.service",
    ]

    assert notebook.ask(state="absent")["changed"]

    assert [path.name for path in units.glob("*.service")] == ["tmux-other.service"]
    assert not (units / "default.target.wants/tmux-old.service").is_symlink()


PAUSE = ["-S", "-c", "import signal; signal.pause()"]


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        pytest.param(["python", *PAUSE, "--config={nb}/ngrok.yml"], True, id="agent"),
        pytest.param(
            ["python", *PAUSE, "--ServerApp.config_file={nb}/jupyter_server_config.py"],
            True,
            id="server",
        ),
        pytest.param(["python", *PAUSE, "--config=/{nb}/./ngrok.yml"], True, id="other-spelling"),
        pytest.param(["python", *PAUSE, "--config={link}/ngrok.yml"], True, id="through-a-link"),
        pytest.param(["python", *PAUSE, "--config=../nb/ngrok.yml"], True, id="relative"),
        pytest.param(["jupyter-lab", *PAUSE], True, id="older-release"),
        pytest.param(
            ["python", *PAUSE, "--config={other}/ngrok.yml"], False, id="another-notebook"
        ),
        pytest.param(["python", *PAUSE, "{nb}/ngrok.yml"], False, id="an-editor"),
        pytest.param(["python", *PAUSE, "--config={nb}/more/ngrok.yml"], False, id="deeper"),
        pytest.param(["python", *PAUSE, "--log={nb}/server.log"], False, id="another-file"),
        pytest.param(["python", *PAUSE], False, id="in-its-directory"),
    ],
)
def test_processes_are_known_by_what_they_are_told(
    words: list[str], ours: bool, root: Path
) -> None:
    base = root / "nb"
    base.mkdir()
    (root / "link").symlink_to(base)
    names = {"nb": base, "link": root / "link", "other": root / "other"}
    told = [word.format(**names) for word in words]
    with subprocess.Popen(told, executable=sys.executable, cwd=base) as running:
        try:
            wait_until(lambda: _script.words_of(running.pid)[:1] == told[:1])
            assert Script(f"{base}/").processes() == ([running.pid] if ours else [])
        finally:
            running.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have another root directory")
def test_what_runs_in_a_container_is_another_one_s(root: Path) -> None:
    # What it takes to run a shell, in another place.
    inside = (
        "for each in usr bin lib lib64; do [ ! -e /$each ] || { mkdir -p all/$each && "
        'mount --rbind /$each all/$each; } || exit; done; exec chroot all "$@"'
    )
    told = f"--config={root}/ngrok.yml"
    words = ["unshare", "--mount", "sh", "-c", inside, "sh", "/bin/sh", "-c", "read x", "sh", told]
    with subprocess.Popen(words, cwd=root, stdin=subprocess.PIPE) as running:
        wait_until(lambda: _script.words_of(running.pid)[:3] == ["/bin/sh", "-c", "read x"])

        assert Script.directory_of(running.pid) == str(root)
        assert Script(str(root)).processes() == []
