"""The Makefile's first command, in a fresh clone and for an account that has never run it."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.edge.client import fetch
from tests.support.hosts.client import AS_ROOT
from tests.support.plays import Play, run
from tests.support.processes import descendants, runs
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

SOCKET = ".demo/home/.local/share/anywhere-notebook/tmux/notebook-demo"
PATH = "/usr/local/bin:/usr/bin:/bin"
# What the clients of the package indexes may need of the caller's environment, and no more.
PASSED_ON = re.compile(
    r"PIP_(?!CACHE)\w+|\w+_(CERTS?|CERT_FILE|CERT_DIR|CA_BUNDLE|CAINFO)|\w+_proxy", re.I
)


def may_become_root() -> bool:
    """Whether accounts can be made here."""
    if not AS_ROOT:
        return True
    return (
        bool(shutil.which("sudo"))
        and not subprocess.run([*AS_ROOT, "true"], capture_output=True, check=False).returncode
    )


pytestmark = pytest.mark.skipif(not may_become_root(), reason="only root can make an account")


def processes_of(account: str) -> set[int]:
    """Ids of everything an account runs."""
    uid = pwd.getpwnam(account).pw_uid
    pids = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if directory.stat().st_uid == uid and runs(int(directory.name)):
                pids.add(int(directory.name))
        except FileNotFoundError:
            continue
    return pids


def kill(pids: set[int]) -> None:
    """End processes as a crash does, and wait until they are gone."""
    if pids:
        subprocess.run([*AS_ROOT, "kill", "-KILL", *map(str, pids)], check=False)
    wait_until(lambda: not any(map(runs, pids)))


@dataclass(frozen=True)
class Clone:
    """A clone of the checkout in which nothing has been made yet, and the account it belongs to."""

    account: str
    directory: Path

    @property
    def home(self) -> Path:
        """The account's home."""
        return Path(pwd.getpwnam(self.account).pw_dir)

    def run(self, *command: str, path: str = PATH) -> Play:
        """Run a command in the clone as the account, without a terminal."""
        environment = {
            name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)
        }
        environment |= {"HOME": str(self.home), "PATH": path}
        settings = [f"{name}={value}" for name, value in environment.items()]
        as_account = [*AS_ROOT, "runuser", "-u", self.account, "--"]
        return run([*as_account, "env", "-i", f"--chdir={self.directory}", *settings, *command])

    def make(self, target: str) -> Play:
        """Run ``make``, which has to succeed."""
        play = self.run("make", target)
        assert play.status == 0, play.output
        return play

    def files(self) -> set[str]:
        """Everything in the clone."""
        return set(self.run("find", ".").output.splitlines())

    def files_outside(self) -> set[str]:
        """What is in the account's home."""
        return set(self.run("find", str(self.home)).output.splitlines())

    def tmux(self, *words: str) -> list[str]:
        """Ask the demonstration's tmux server; nothing when there is none."""
        play = self.run("tmux", "-S", SOCKET, *words)
        return [] if play.status else play.output.splitlines()

    def sessions(self) -> dict[str, int]:
        """Process ids by tmux session."""
        panes = [row.split() for row in self.tmux("list-panes", "-a", "-F", "#S #{pane_pid}")]
        return {name: int(pid) for name, pid in panes}

    def processes(self) -> set[int]:
        """Ids of the demonstration's tmux server and of everything below it."""
        servers = self.tmux("display-message", "-p", "#{pid}")
        return {pid for server in servers for pid in descendants(int(server))}


@contextmanager
def fresh_clone(account: str) -> Iterator[Clone]:
    """What git has or would take of the checkout, in a directory of the account's own."""
    directory = Path(tempfile.mkdtemp(prefix="clone-", dir="/var/tmp"))
    clone = Clone(account, directory)
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (CHECKOUT / name).is_file():
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, directory / name)
        subprocess.run([*AS_ROOT, "chown", "-R", f"{account}:", str(directory)], check=True)
        yield clone
    finally:
        if left := clone.processes():
            clone.run("make", "demo-stop")
            kill(left)
        subprocess.run([*AS_ROOT, "rm", "-rf", str(directory)], check=True)


@pytest.fixture(scope="module")
def owner() -> Iterator[str]:
    """An account made for the test, which may not become root."""
    name = f"demo-{uuid.uuid4().hex[:8]}"
    # Test hosts have accounts too, and what these run is seen from here, with the usual numbers.
    numbers = ["--key", "UID_MIN=30000", "--key", "UID_MAX=39999"]
    subprocess.run([*AS_ROOT, "useradd", "--create-home", *numbers, name], check=True)
    try:
        yield name
    finally:
        kill(processes_of(name))
        subprocess.run([*AS_ROOT, "userdel", "--remove", name], capture_output=True, check=True)


@dataclass(frozen=True)
class Demo:
    """A running demonstration, what making it said, and what was outside the clone before."""

    clone: Clone
    play: Play
    files_outside: set[str]


@pytest.fixture(scope="module")
def demo(owner: str) -> Iterator[Demo]:
    """``make demo`` in a fresh clone."""
    with fresh_clone(owner) as clone:
        before = clone.files_outside()
        yield Demo(clone, clone.make("demo"), before)


def visit(demo: Demo, play: Play) -> Visitor:
    """Log in at the URL on a card, with the password in the file that the card names."""
    assert fetch(play.url, "/api").status == 200
    command = shlex.split(play.card("Password"))
    assert Path(command[1]).is_relative_to(demo.clone.directory)
    visitor = Visitor(play.url)
    assert visitor.log_in(demo.clone.run(*command).output.strip())
    return visitor


def lines_of(play: Play, heading: str) -> list[str]:
    """What a playbook has printed from its heading on.

    Without what it says of stages that take long here; on a terminal that is no line.
    """
    lines = [line for line in play.output.rstrip().splitlines() if " waits for " not in line]
    return lines[next(i for i, line in enumerate(lines) if line.startswith(heading)) :]


def test_make_demo_ends_with_a_card_that_leads_to_the_notebook(demo: Demo) -> None:
    lines = lines_of(demo.play, "Set up a notebook behind a tunnel: localhost")
    assert len(lines) <= 25, demo.play.output
    assert lines[-1].startswith("Without tunnel:")
    assert "WARNING" not in demo.play.output
    visitor = visit(demo, demo.play)

    assert visitor.page("/lab")[:2] == (200, "/lab")


@pytest.mark.acceptance
def test_make_demo_again_changes_nothing_and_restarts_nothing(demo: Demo) -> None:
    before = demo.clone.sessions()
    assert set(before) == {"edge", "jupyter", "ngrok"}

    play = demo.clone.make("demo")

    assert (play.card("Started"), play.url) == ("nothing, everything ran", demo.play.url)
    assert demo.clone.sessions() == before


@dataclass(frozen=True)
class Reconnected:
    """What ``make demo-reconnect`` said after the agent was killed, and the sessions around it."""

    play: Play
    before: dict[str, int]
    after: dict[str, int]


@pytest.fixture(scope="module")
def reconnected(demo: Demo) -> Reconnected:
    """``make demo-reconnect`` after a crash of the agent."""
    before = demo.clone.sessions()
    kill({before["ngrok"]})
    play = demo.clone.make("demo-reconnect")
    return Reconnected(play, before, demo.clone.sessions())


def test_make_demo_reconnect_replaces_a_killed_agent_only(
    demo: Demo, reconnected: Reconnected
) -> None:
    lines = lines_of(reconnected.play, "Repair what stopped")
    assert len(lines) <= 15, reconnected.play.output
    visit(demo, reconnected.play)
    before, after = reconnected.before, reconnected.after
    assert after["ngrok"] != before["ngrok"]
    assert after == before | {"ngrok": after["ngrok"]}


def test_nothing_outside_the_clone_was_touched(demo: Demo) -> None:
    assert demo.clone.files_outside() - demo.files_outside == set()


def test_make_demo_stop_ends_everything(demo: Demo, reconnected: Reconnected) -> None:
    visitor = visit(demo, reconnected.play)
    visitor.run(visitor.kernel(), "pass")
    pids = demo.clone.processes()
    assert pids > set(demo.clone.sessions().values())

    demo.clone.make("demo-stop")

    wait_until(lambda: not any(map(runs, pids)))
    assert processes_of(demo.clone.account) == set()


def test_a_missing_program_is_named_before_anything_is_made(owner: str) -> None:
    programs = {
        program.name: str(program)
        for directory in PATH.split(":")
        for program in Path(directory).iterdir()
        if program.name != "npm"
    }
    with fresh_clone(owner) as clone:
        clone.run("mkdir", "bin")
        clone.run("ln", "-s", "-t", "bin", *programs.values())
        before = clone.files()

        play = clone.run("make", "demo", path=f"{clone.directory}/bin")

        assert play.status != 0
        said = [line for line in play.output.splitlines() if not line.startswith("make: ")]
        assert len(said) == 1
        assert "lacks the packages: npm." in said[0]
        assert clone.files() == before
