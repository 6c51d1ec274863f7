"""When an unused machine goes to sleep: the decisions, with a time that the tests drive.

What there is to see of a real server is in tests/e2e/test_idle.py, and of a real machine that goes
to sleep in tests/hosts/test_idle.py.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.modules import notebook_info

from roles.jupyter.files import idle
from tests.support import CHECKOUT
from tests.support.sites import Site
from tests.support.tmux import TmuxServer
from tests.support.waiting import wait_until

MINUTES, GRACE = 60, 5
KERNEL = {"kernel 1": "idle 2026-11-23T09:00:00Z"}


@dataclass
class Machine:
    """What there is to see on a machine at a minute, and the clock on its wall."""

    busy: Callable[[int], str] = lambda minute: ""
    stamps: Callable[[int], dict[str, str] | None] = lambda minute: KERNEL
    wall: Callable[[int], float] = lambda minute: minute * 60
    boot: Callable[[int], str] = lambda minute: "boot"
    # The minutes at which the timer comes; what is missing in between was slept through.
    looks: Iterable[int] = range(200)
    # Of the server, in minutes.
    started: int = 0
    state: idle.State | None = None
    said: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    # The command fails.
    sleepless: bool = False

    def live(self) -> str:
        """Let the time pass until it goes to sleep; when each decision was made first."""
        before = ""
        for minute in self.looks:
            # Never on the second.
            now = 1000 + minute * 60 + minute % 3 / 10
            facts = idle.Facts(
                self.boot(minute),
                now,
                1000 + self.started * 60,
                self.busy(minute),
                self.stamps(minute),
            )
            decision, why, self.state = idle.decide(
                facts, self.state, MINUTES, GRACE, self.wall(minute)
            )
            if decision != before:
                self.said.append(f"{minute} {decision}")
            before = decision
            self.why.append(why)
            if decision == "sleep" and not self.sleepless:
                break
        return ", ".join(self.said)


def until(end: int, text: str) -> Callable[[int], str]:
    """What is so for some minutes."""
    return lambda minute: text if minute < end else ""


def printing(end: int, every: int = 1) -> Callable[[int], dict[str, str]]:
    """The stamps of a terminal that prints every few minutes until a minute."""
    return lambda minute: {"terminal /dev/pts/3": str(min(minute, end) // every)}


def used_at(*minutes: int) -> Callable[[int], dict[str, str]]:
    """The stamps of a kernel that is used at these minutes."""
    return lambda minute: {"kernel 1": str(sum(minute >= used for used in minutes))}


SLEPT = "0 idle, 60 warn, 65 sleep"
TABLE = {
    "a cell that is busy for hours without output": (
        Machine(busy=until(180, "kernel 1 is busy"), looks=range(300)),
        "0 busy, 180 idle, 239 warn, 244 sleep",
    ),
    # It polls, which is no use: see tests/e2e/test_idle.py.
    "only an open tab": (Machine(stamps=lambda _: {}), SLEPT),
    "a finished cell and an open tab": (
        Machine(stamps=used_at(30)),
        "0 idle, 30 busy, 31 idle, 90 warn, 95 sleep",
    ),
    "a cell is run every 50 minutes": (
        Machine(stamps=used_at(50, 100, 150), looks=range(190)),
        "0 idle, 50 busy, 51 idle, 100 busy, 101 idle, 150 busy, 151 idle",
    ),
    "a terminal that prints": (
        Machine(stamps=printing(120)),
        "0 idle, 1 busy, 121 idle, 180 warn, 185 sleep",
    ),
    "a terminal that prints every 50 minutes": (
        Machine(stamps=printing(10**6, every=50), looks=range(190)),
        "0 idle, 50 busy, 51 idle, 100 busy, 101 idle, 150 busy, 151 idle",
    ),
    "an attached tmux client": (
        Machine(busy=until(100, "a client of tmux is attached")),
        "0 busy, 100 idle, 159 warn, 164 sleep",
    ),
    "a login shell": (
        Machine(busy=until(100, "bash has a terminal")),
        "0 busy, 100 idle, 159 warn, 164 sleep",
    ),
    "no kernel at all, since the server's start": (Machine(stamps=lambda _: {}), SLEPT),
    "no kernel at all, and a server that has long run": (
        Machine(stamps=lambda _: {}, started=-50),
        "0 idle, 10 warn, 15 sleep",
    ),
    "a kernel, and nobody knows when it was used last": (Machine(started=-50), SLEPT),
    "a kernel is started late": (
        Machine(stamps=lambda minute: {} if minute < 50 else KERNEL),
        "0 idle, 50 busy, 51 idle, 110 warn, 115 sleep",
    ),
    "the server does not answer": (
        Machine(busy=until(10**6, "refused"), stamps=lambda _: None),
        "0 busy",
    ),
    "the server does not answer for a while": (
        Machine(
            busy=lambda minute: "refused" if 40 <= minute < 50 else "",
            stamps=lambda minute: None if 40 <= minute < 50 else KERNEL,
        ),
        "0 idle, 40 busy, 50 idle, 109 warn, 114 sleep",
    ),
    "the clock is set forward by a day": (
        Machine(wall=lambda minute: minute * 60 + 86400 * (minute > 30)),
        SLEPT,
    ),
    "the clock is set back by a day": (
        Machine(wall=lambda minute: minute * 60 - 86400 * (minute > 62)),
        SLEPT,
    ),
    "somebody runs a cell before it sleeps": (
        Machine(stamps=used_at(63)),
        "0 idle, 60 warn, 63 awake, 64 idle, 123 warn, 128 sleep",
    ),
    "somebody logs in before it sleeps": (
        Machine(busy=lambda minute: "bash has a terminal" if 64 <= minute < 70 else ""),
        "0 idle, 60 warn, 64 awake, 65 busy, 70 idle, 129 warn, 134 sleep",
    ),
    "the machine was suspended, and is used by nobody": (
        Machine(looks=[*range(30), *range(500, 600)]),
        "0 idle, 500 warn, 505 sleep",
    ),
    "the machine was suspended in its last minutes": (
        Machine(looks=[*range(63), *range(500, 600)]),
        "0 idle, 60 warn, 505 sleep",
    ),
    "the command fails": (
        Machine(looks=range(76), sleepless=True),
        "0 idle, 60 warn, 65 sleep, 66 warn, 70 sleep, 71 warn, 75 sleep",
    ),
    "the machine was rebooted": (
        Machine(boot=lambda minute: "first" if minute < 50 else "second"),
        "0 idle, 110 warn, 115 sleep",
    ),
}


@pytest.mark.parametrize("situation", TABLE)
def test_decisions(situation: str) -> None:
    machine, decisions = TABLE[situation]

    assert machine.live() == decisions


def test_the_time_that_is_shown_is_that_of_the_clock_on_the_wall() -> None:
    machine = Machine(wall=lambda minute: 1_795_000_000 + minute * 60 + 3600 * (minute >= 62))
    machine.live()

    assert machine.why[60] == (
        "nobody has used it for 60 minutes, it goes to sleep at 2026-11-18T12:11:40Z"
    )
    assert machine.why[62].endswith("2026-11-18T13:11:40Z")


def test_a_reason_names_what_was_used_and_what_is_new() -> None:
    before = {"kernel 1": "idle 9:00", "kernel 2": "idle 9:00", "kernel 3": "idle 9:00"}
    after = {"kernel 1": "idle 9:01", "kernel 3": "idle 9:00", "terminal /dev/pts/1": "9:01"}

    assert (
        idle.difference(before, after) == "there was use of kernel 1, kernel 2, terminal /dev/pts/1"
    )


@contextmanager
def in_terminal(*words: str) -> Iterator[tuple[int, str]]:
    """A command that somebody has started who is logged in; its process and its terminal.

    It has no parent that these tests have, which may run below tmux themselves.
    """
    end, terminal = pty.openpty()
    program = ["setsid", "--fork", "--ctty", "sh", "-c", 'echo $$; exec "$@"', "sh", *words]
    subprocess.run(
        program,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm"},
        check=True,
    )
    pid = int(os.read(end, 100).split()[0])
    try:
        yield pid, os.ttyname(terminal)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.close(end)


def test_a_shell_in_a_terminal_is_a_login() -> None:
    with in_terminal("sleep", "60") as (pid, _):
        assert f"(process {pid}) has a terminal" in " ".join(idle.logins(idle.processes()))
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as daemon:
        assert f"(process {daemon.pid})" not in " ".join(idle.logins(idle.processes()))
        daemon.kill()


def test_what_waits_for_somebody_who_logs_in_is_none() -> None:
    wait = (
        "import pathlib, time; pathlib.Path('/proc/self/comm').write_text('agetty'); time.sleep(60)"
    )
    with in_terminal(sys.executable, "-c", wait) as (pid, _):
        wait_until(lambda: idle.processes()[pid].name == "agetty")
        assert f"(process {pid})" not in " ".join(idle.logins(idle.processes()))


def test_what_runs_in_tmux_is_no_login_until_somebody_attaches(private_tmux: TmuxServer) -> None:
    private_tmux.ask("new-session", "-d", "-s", "work", "sleep", "60")
    (pane,) = idle.panes(private_tmux.socket)
    alive = idle.processes()
    assert (pane.session, pane.dead) == ("work", False)
    assert alive[pane.pid].terminal
    assert f"(process {pane.pid})" not in " ".join(idle.logins(alive))

    with in_terminal("tmux", "-S", private_tmux.socket, "attach", "-t", "work") as (pid, _):
        said = f"a client of tmux (process {pid}) is attached"
        wait_until(lambda: said in idle.attached(idle.processes()))
    wait_until(lambda: said not in idle.attached(idle.processes()))


def test_what_an_older_release_has_started_is_seen_as_well(
    tmux: TmuxServer, private_tmux: TmuxServer
) -> None:
    tmux.ask("new-session", "-d", "-s", "jupyter", "sleep 60")
    assert [pane.session for pane in idle.panes(private_tmux.socket)] == ["jupyter"]

    private_tmux.ask("new-session", "-d", "-s", "ngrok", "sleep 60")
    seen = {pane.session for pane in idle.panes(private_tmux.socket)}
    assert seen == {"jupyter", "ngrok"}


def test_a_terminal_that_prints_is_seen_unless_it_is_ours() -> None:
    with in_terminal("sh", "-c", "while sleep 0.2; do echo line; done") as (_, terminal):
        name = f"terminal {terminal}"
        before = idle.terminals(set())[name]
        wait_until(lambda: idle.terminals(set())[name] != before)

        assert name not in idle.terminals({terminal})
    assert name not in idle.terminals(set())


# The second one as Visual Studio Code has it.
@pytest.mark.parametrize("kind", ["", "v3"])
def test_kernels_of_other_servers_are_found(kind: str) -> None:
    name = f"{kind}{uuid.uuid4()}"
    words = [sys.executable, "-c", "input()", f"--f=/run/kernel-{name}.json"]
    with subprocess.Popen(words, stdin=subprocess.PIPE):
        wait_until(lambda: name in idle.kernels(idle.processes()))


@pytest.fixture(name="private_tmux")
def _private_tmux(private_tmux: TmuxServer) -> TmuxServer:
    """The same, with its directory."""
    Path(private_tmux.socket_dir).mkdir(mode=0o700)
    return private_tmux


@pytest.fixture
def base(tmp_path: Path, closed_address: str) -> Path:
    """The directory of a server that does not run."""
    (tmp_path / "port").write_text(closed_address.partition(":")[2])
    (tmp_path / "token").write_text("secret")
    return tmp_path


def test_what_cannot_be_seen_is_use(base: Path, private_tmux: TmuxServer) -> None:
    def why() -> str:
        facts = idle.look(str(base), private_tmux.socket, "jupyter", "ngrok")
        assert facts.stamps is None
        return facts.busy

    assert why().startswith("tmux does not tell its panes: ")
    private_tmux.ask("new-session", "-d", "-s", "another")
    assert why() == "the Jupyter server does not run"
    private_tmux.ask("new-session", "-d", "-s", "jupyter", "sleep 60")
    assert why().startswith("the Jupyter server does not tell its kernels: ")
    assert "refused" in why()
    (base / "port").unlink()
    assert "No such file" in why()


def test_a_look_is_a_line_in_a_log_and_remembered(base: Path, private_tmux: TmuxServer) -> None:
    words = ["60", "5", str(base), private_tmux.socket, "jupyter", "ngrok", "false"]
    for _ in range(2):
        subprocess.run([sys.executable, idle.__file__, *words], check=True)

    lines = (base / "idle.log").read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line[10:].startswith("T")
        assert line[19:].startswith("Z busy: tmux does not tell its panes: ")
    state = json.loads((base / "idle.json").read_text())
    assert (state["since"], state["sleeps_at"]) == (state["looked"], "")
    for name in ("idle.log", "idle.json"):
        assert (base / name).stat().st_mode & 0o777 == 0o600


def test_a_command_that_fails_says_why() -> None:
    assert idle.run(["true"]) == ""
    assert (
        idle.run(["sh", "-c", "echo not; echo allowed; exit 3"]) == "sh ended with 3: not allowed"
    )
    assert "No such file" in idle.run(["/no/such/program"])


def test_status_reads_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def status(ago: int) -> dict[str, Any]:
        """What is told when nobody has used it for two hours before a last look."""
        now = idle.clock() - ago
        last = idle.Facts(idle.boot_id(), now - 60, now - 7200, "", {})
        _, _, state = idle.decide(last, None, MINUTES, GRACE, 0)
        _, _, state = idle.decide(last._replace(now=now), state, MINUTES, GRACE, 0)
        idle.write(f"{tmp_path}/idle.json", state)
        result = {"idle": {"on": False, "seconds": 0, "sleeps_at": ""}, "notices": []}
        notebook_info.add_idle(result, str(tmp_path))
        return result

    assert status(0) == {"idle": {"on": False, "seconds": 0, "sleeps_at": ""}, "notices": []}
    units = tmp_path / ".config/systemd/user"
    units.mkdir(parents=True)
    (units / "anywhere-notebook-idle.timer").touch()
    told = status(0)
    assert told["idle"] == {"on": True, "seconds": 7200, "sleeps_at": "1970-01-01T00:04:00Z"}
    assert told["notices"] == [
        "Nobody uses it: the machine goes to sleep at 1970-01-01T00:04:00Z, "
        "unless somebody runs a cell."
    ]
    told = status(600)
    assert told["idle"] == {"on": True, "seconds": 0, "sleeps_at": ""}
    assert ["nothing looks whether somebody does" in text for text in told["notices"]] == [True]


def test_the_clock_goes_on_while_the_machine_is_suspended() -> None:
    later = 100_000
    words = ["unshare", "--user", "--map-root-user", "--time", "--fork", f"--boottime={later}"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine has no namespaces for time")
    say = "from roles.jupyter.files import idle; print(idle.clock())"

    done = subprocess.run(
        [*words, sys.executable, "-c", say], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True
    )

    assert float(done.stdout) > idle.clock() + later / 2


def test_a_kernel_that_only_starts_is_no_use(
    site: Site, private_tmux: TmuxServer, tmp_path: Path
) -> None:
    (tmp_path / "port").write_text(site.address.partition(":")[2])
    (tmp_path / "token").write_text("secret")
    kernel = {"id": "1", "execution_state": "starting", "last_activity": "2026-11-23T09:00:00Z"}
    site.answer("/api/kernels?no_track_activity=1", [kernel])
    private_tmux.ask("new-session", "-d", "-s", "jupyter", "sleep 60")

    facts = idle.look(str(tmp_path), private_tmux.socket, "jupyter", "ngrok")

    assert facts.stamps
    assert facts.stamps["kernel 1"] == "starting 2026-11-23T09:00:00Z"
    assert "kernel 1 is" not in facts.busy
