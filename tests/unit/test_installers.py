"""Who else installs packages, and what is done about it. Files of a machine; real locks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roles.tmux.files import installers
from tests.support import CHECKOUT

LOCKED = """
import fcntl, sys
file = open(sys.argv[1], "w")
getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def held(file: Path, how: str = "lockf") -> Iterator[int]:
    """Another process has locked a file; its process id."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", LOCKED, file, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A machine on which nobody installs anything."""
    for name in (*installers.LOCKS, f"{installers.UPDATES}/tmp.i"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return f"{tmp_path}/"


def test_where_nobody_installs_packages_nobody_waits(root: str) -> None:
    assert installers.wait(60, root) == (0, "")
    assert installers.wait(60, f"{root}absent/") == (0, "")


@pytest.mark.parametrize("name", installers.LOCKS)
def test_who_has_a_lock_is_named(root: str, name: str) -> None:
    with held(Path(root) / name) as pid:
        program = Path(f"/proc/{pid}/comm").read_text().strip()
        said = f"{program} (process {pid}) has {root}{name}"
        assert installers.wait(0, root) == (installers.BUSY, said)
    assert installers.wait(0, root) == (0, "")


@pytest.mark.parametrize("name", installers.PID_FILES)
def test_who_has_a_file_with_its_number_is_named(root: str, name: str) -> None:
    file = Path(root) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{os.getpid()}\n")
    status, said = installers.wait(0, root)
    assert status == installers.BUSY
    assert f"(process {os.getpid()}) has {file}" in said

    with subprocess.Popen(["true"]) as ended:
        pass
    for left in (str(ended.pid), "", "nonsense"):
        file.write_text(left)
        assert installers.wait(0, root) == (0, "")


def test_a_lock_that_apt_does_not_heed_is_none(root: str) -> None:
    with held(Path(root) / installers.LOCKS[0], "flock"):
        assert installers.wait(0, root) == (0, "")


def test_the_end_is_waited_for(root: str) -> None:
    file = Path(root) / installers.LOCKS[0]
    ends = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{ends}; print(flush=True); time.sleep(0.5)", file],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert installers.wait(60, root) == (0, "")


def test_a_machine_that_is_being_set_up_is_waited_for_but_not_for_ever(root: str) -> None:
    began, ended = (Path(root) / name for name in installers.CLOUD_INIT)
    began.parent.mkdir(parents=True)
    began.touch()
    said = "cloud-init has not set the machine up to its end"
    assert installers.wait(0, root) == (installers.BUSY, said)
    assert installers.wait(0.1, root) == (0, "")
    with held(Path(root) / installers.LOCKS[2]):
        assert installers.wait(0.1, root)[0] == installers.BUSY
    ended.touch()
    assert installers.wait(0, root) == (0, "")


def test_an_installation_that_ended_halfway_is_told_from_one_that_goes_on(root: str) -> None:
    (Path(root) / installers.UPDATES / "0001").touch()
    assert installers.wait(60, root) == (installers.BROKEN, "")
    with held(Path(root) / "var/lib/dpkg/lock"):
        assert installers.wait(0, root)[0] == installers.BUSY


def test_it_runs_on_a_host_by_itself() -> None:
    """As the role runs it, and on this machine, whoever installs packages here now."""
    done = subprocess.run(
        [sys.executable, "-I", "-", "0"],
        stdin=(CHECKOUT / "roles/tmux/files/installers.py").open(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode in (0, installers.BUSY, installers.BROKEN)
    assert bool(done.stdout.strip()) is (done.returncode == installers.BUSY)
