"""The script that makes Jupyter's environment, with the real uv and a list of one package."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.accounts import caches
from tests.support.waiting import wait_until

FILES = CHECKOUT / "roles/jupyter/files"
PACKAGES = (FILES / "requirements.txt").read_text()

# In the place of uv: plans as uv does, and stands still in the middle of its work.
STANDS_STILL = """#!/bin/sh
case " $* " in *" --dry-run "*) exec venv/bin/real-uv "$@" ;; esac
touch HALF
exec sleep 600
"""


def pinned(name: str) -> str:
    """The lines that pin a package, with its hashes."""
    found = re.search(rf"^{name}==(?:.*\\\n)+.*\n", PACKAGES, re.MULTILINE)
    assert found
    return found[0]


def start(directory: Path) -> subprocess.Popen[str]:
    """Start the script; its last process ends with its group."""
    return subprocess.Popen(
        ["sh", FILES / "install", sys.executable, directory],
        env=os.environ | caches(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(script: subprocess.Popen[str]) -> list[str]:
    """Wait for the script, which has to succeed; what it printed."""
    out, err = script.communicate(timeout=120)
    assert script.returncode == 0, err
    return out.split()


def has(directory: Path, name: str) -> bool:
    """Whether a package can be imported in the environment."""
    command = [str(directory / "venv/bin/python"), "-c", f"import {name}"]
    return not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """A directory in which the script was started twice at the same time, and what it printed."""
    directory = tmp_path_factory.mktemp("install") / "base"
    directory.mkdir()
    (directory / "requirements.txt").write_text(pinned("uv") + pinned("idna"))
    scripts = [start(directory), start(directory)]
    return directory, [finish(script) for script in scripts]


@pytest.fixture
def base(together: tuple[Path, list[list[str]]]) -> Path:
    """A directory with a complete environment."""
    return together[0]


def test_two_at_the_same_time_work_one_after_the_other(
    together: tuple[Path, list[list[str]]],
) -> None:
    directory, printed = together

    assert sorted(map(set, printed), key=len) == [set(), {"changed"}]
    assert has(directory, "idna")


def test_again_it_changes_nothing_and_prints_nothing(base: Path) -> None:
    before = (base / "venv/bin/uv").stat()

    assert finish(start(base)) == []

    assert (base / "venv/bin/uv").stat() == before


def test_a_list_that_cannot_be_had_leaves_a_complete_environment_as_it_is(base: Path) -> None:
    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna").replace("==", "==9999."))

    script = start(base)
    _, err = script.communicate(timeout=60)

    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna"))
    assert script.returncode != 0
    assert "idna==9999." in err
    assert finish(start(base)) == []


def test_what_a_killed_one_left_half_done_is_begun_anew(base: Path) -> None:
    uv = base / "venv/bin/uv"
    uv.rename(base / "venv/bin/real-uv")
    uv.write_text(STANDS_STILL.replace("HALF", str(base / "half")))
    uv.chmod(0o700)
    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna") + pinned("six"))
    script = start(base)
    wait_until((base / "half").exists)

    os.killpg(script.pid, signal.SIGKILL)

    assert script.wait() == -signal.SIGKILL
    assert not (base / "venv/complete").exists()
    assert set(finish(start(base))) == {"changed"}
    assert not (base / "venv/bin/real-uv").exists()
    assert has(base, "six")
    assert finish(start(base)) == []
