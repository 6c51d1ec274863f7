"""What the module tmux_session promises. A real tmux on a socket of its own."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _boot, _login, _tmux
from ansible_collections.anywhere.notebook.plugins.module_utils._listener import split_range
from ansible_collections.anywhere.notebook.plugins.modules import tmux_session

from tests.support.accounts import disk
from tests.support.hosts.client import AS_ROOT
from tests.support.processes import frozen, runs
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.tmux import TmuxServer

Run = Callable[..., dict[str, Any]]

SLEEP = ["sleep", "600"]
# Listens on the port it is given, but not at once.
LATE = """
import socket, sys, time
time.sleep(0.3)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""
# tmux 3.3a may not read what a command prints in the instant it ends (seen twice in 700 times).
LINGER = "sleep 0.1"
# Writes its arguments to the file it is given first.
WRITE = """
import json, os, sys, time
with open(sys.argv[1] + ".part", "w") as part:
    json.dump(sys.argv[2:], part)
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""


@pytest.fixture
def session(run_module: Run, tmux: TmuxServer) -> Run:
    """Run the module on the private server; unless told otherwise it keeps ``sleep`` running."""

    def run(name: str = "lab", **args: object) -> dict[str, Any]:
        defaults = {"argv": SLEEP, "socket_name": tmux.socket_name, "timeout": 0}
        return run_module("tmux_session", name=name, **defaults | args)

    return run


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command end later than within half a second, which a busy machine may not manage."""
    monkeypatch.setattr(tmux_session, "SETTLED", 10)


def say(tmp_path: Path, text: str) -> list[str]:
    """A command that prints ``text`` and ends."""
    said = tmp_path / "said"
    said.write_text(text)
    return ["sh", "-c", f"cat '{said}'; {LINGER}"]


def test_a_session_is_started(session: Run, tmux: TmuxServer) -> None:
    result = session()

    assert (result["changed"], result["state"], tmux.sessions()) == (True, "present", ["lab"])


def test_it_says_whose_session_it_is(session: Run) -> None:
    assert session()["account"] == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize("check_mode", [False, True], ids=["run", "check-mode"])
@pytest.mark.parametrize("tmux_there", [True, False], ids=["tmux", "no tmux"])
@pytest.mark.parametrize(
    ("lacks", "first"),
    [("directory", ""), ("program", "There is no {place}/start. ")],
)
def test_what_was_never_made_is_said_in_the_caller_s_words(
    session: Run,
    tmux: TmuxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lacks: str,
    first: str,
    tmux_there: bool,
    check_mode: bool,
) -> None:
    place = tmp_path / "lab"
    if lacks == "program":
        place.mkdir()
    if not tmux_there:
        monkeypatch.setenv("PATH", str(tmp_path))
    account = pwd.getpwuid(os.getuid()).pw_name
    asked = {"argv": [f"{place}/start"], "chdir": str(place), "check_mode": check_mode}

    result = session(**asked, missing_msg="Nothing is there for {account}. Run setup.")

    said = first.format(place=place) + f"Nothing is there for {account}. Run setup."
    assert (result["failed"], result["msg"]) == (True, said)
    assert tmux.sessions() == []


def test_what_runs_is_left_alone_though_its_directory_is_gone(session: Run, tmp_path: Path) -> None:
    place = tmp_path / "lab"
    place.mkdir()
    before = session(chdir=str(place))
    place.rmdir()

    again = session(chdir=str(place), missing_msg="Nothing is there. Run setup.")

    assert (again["pid"], again["changed"]) == (before["pid"], False)


def test_nothing_is_said_of_a_program_that_is_looked_for_on_the_path(session: Run) -> None:
    assert session(missing_msg="Nothing is there. Run setup.")["changed"]


def test_a_second_run_changes_nothing(session: Run) -> None:
    first = session()

    assert session() == first | {"changed": False, "started": False, "diff": same("present")}


def test_a_session_is_ended(session: Run, tmux: TmuxServer) -> None:
    session()

    result = session(state="absent")

    assert (result["changed"], result["pid"], tmux.sessions()) == (True, 0, [])


def test_ending_it_again_changes_nothing(session: Run) -> None:
    session()
    session("other")
    session(state="absent")

    assert not session(state="absent")["changed"]


def test_without_a_server_there_is_nothing_to_end(session: Run, tmux: TmuxServer) -> None:
    assert not session(state="absent")["changed"]


def test_the_pid_is_the_command_s(session: Run) -> None:
    pid = session()["pid"]

    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00600\x00"


@pytest.mark.parametrize(
    ("argv", "ending"),
    [
        pytest.param(["sh", "-c", "exit 3"], "status 3", id="status"),
        pytest.param(["sh", "-c", "kill -KILL $$"], "signal 9", id="signal"),
    ],
)
def test_how_a_command_had_ended_is_told(session: Run, argv: list[str], ending: str) -> None:
    assert session(argv=argv)["ended"] == ""
    wait_until(lambda: session(check_mode=True)["changed"])

    assert (session()["ended"], session()["ended"]) == (ending, "")


def test_a_tmux_server_that_was_suspended_goes_on(
    session: Run, tmux: TmuxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tmux, "SECONDS", 2)
    pid = session()["pid"]
    (server,) = tmux.ask("display-message", "-p", "#{pid}")
    os.kill(int(server), signal.SIGSTOP)

    try:
        result = session()
    finally:
        # Otherwise nobody could end it.
        os.kill(int(server), signal.SIGCONT)

    assert (result["changed"], result["resumed"], result["pid"]) == (True, True, pid)


def test_a_command_is_replaced_once(session: Run) -> None:
    old = session()["pid"]

    new = session(replaces=old)

    assert (new["changed"], new["resumed"]) == (True, False)
    assert new["pid"] != old
    assert not Path(f"/proc/{old}").exists()
    again = session(replaces=old)
    assert (again["changed"], again["pid"]) == (False, new["pid"])


def test_a_command_that_does_not_want_to_end_is_replaced_too(
    session: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tmux_session, "GRACE", 0.5)
    old = session(argv=["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])["pid"]

    assert session(replaces=old)["pid"] != old


def test_check_mode_replaces_nothing(session: Run) -> None:
    old = session()["pid"]

    assert session(replaces=old, check_mode=True)["changed"]
    assert not session()["changed"]


def same(state: str) -> dict[str, Any]:
    return {"before": {"state": state}, "after": {"state": state}}


@pytest.mark.parametrize(
    ("runs", "state", "changed"),
    [
        pytest.param(False, "present", True, id="start"),
        pytest.param(True, "present", False, id="keep"),
        pytest.param(True, "absent", True, id="end"),
        pytest.param(False, "absent", False, id="stay-away"),
    ],
)
def test_check_mode_predicts_and_does_nothing(
    session: Run, tmux: TmuxServer, runs: bool, state: str, changed: bool
) -> None:
    if runs:
        session()
    before = tmux.ask("list-panes", "-a", "-F", "#{session_id} #{pane_pid}")

    predicted = session(state=state, check_mode=True)

    assert tmux.ask("list-panes", "-a", "-F", "#{session_id} #{pane_pid}") == before
    assert predicted["changed"] is changed
    done = session(state=state)
    assert set(predicted) == set(done)
    assert {**predicted, "pid": 0, "invocation": 0} == {**done, "pid": 0, "invocation": 0}


@pytest.mark.parametrize(
    ("runs", "state"),
    [
        pytest.param(False, "present", id="start"),
        pytest.param(True, "absent", id="end"),
    ],
)
def test_the_diff_shows_the_state_before_and_after(session: Run, runs: bool, state: str) -> None:
    if runs:
        session()

    before = "present" if runs else "absent"
    assert session(state=state)["diff"] == {"before": {"state": before}, "after": {"state": state}}


@pytest.mark.parametrize(
    ("shorter", "longer"),
    [
        pytest.param("my", "myjob", id="my-myjob"),
        pytest.param("jupyter", "jupyter2", id="jupyter-jupyter2"),
    ],
)
def test_a_longer_name_is_another_session(
    session: Run, tmux: TmuxServer, shorter: str, longer: str
) -> None:
    session(longer)

    assert not session(shorter, state="absent")["changed"]
    assert session(shorter)["changed"]
    session(shorter, state="absent")
    assert tmux.sessions() == [longer]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("my lab", id="space"),
        pytest.param("Prüfung für Zoë", id="letters"),
        pytest.param("实验", id="script"),
        pytest.param("-x", id="dash"),
        pytest.param("=100%d*", id="signs"),
        pytest.param("a##b", id="hashes"),
        pytest.param("#{pid}", id="format"),
        pytest.param("lab;", id="semicolon"),
        pytest.param("~", id="tilde"),
        pytest.param('a"b', id="quote"),
    ],
)
def test_a_name_is_taken_literally(session: Run, tmux: TmuxServer, name: str) -> None:
    session(name)

    assert tmux.sessions() == [name]
    assert session(name, state="absent")["changed"]
    assert tmux.sessions() == []


def test_a_name_is_the_same_in_every_locale(
    session: Run, tmux: TmuxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    session("Prüfung")

    assert not session("Prüfung")["changed"]
    assert tmux.sessions() == ["Prüfung"]


def test_absent_means_that_the_command_has_come_to_its_own_end(
    session: Run, tmp_path: Path
) -> None:
    slow = f'trap "sleep 0.5; touch {tmp_path}/saved; exit" TERM; while :; do sleep 0.05; done'
    pid = session(argv=["sh", "-c", slow])["pid"]

    session(state="absent", timeout=10)

    assert not runs(pid)
    assert (tmp_path / "saved").exists()


def test_a_command_that_does_not_end_by_itself_is_ended_by_force(session: Run) -> None:
    stubborn = 'trap "" HUP TERM; while :; do sleep 0.05; done'
    pid = session(argv=["sh", "-c", stubborn])["pid"]

    assert session(state="absent", timeout=1)["changed"]

    assert not runs(pid)


def test_a_name_like_tmux_s_own_id_ends_no_other_session(session: Run, tmux: TmuxServer) -> None:
    session("lab")

    assert session("$0", state="absent")["failed"]

    assert tmux.sessions() == ["lab"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("a.b", id="point"),
        pytest.param("a:b", id="colon"),
        pytest.param("a\tb", id="tab"),
        pytest.param("$HOME", id="dollar"),
        pytest.param("a\\b", id="backslash"),
    ],
)
def test_a_name_that_tmux_would_rename_is_refused(
    session: Run, tmux: TmuxServer, name: str
) -> None:
    result = session(name)

    assert "tmux would rename" in result["msg"]
    assert tmux.sessions() == []


def test_a_command_is_required(session: Run, tmux: TmuxServer) -> None:
    result = session(argv=[])

    assert result["failed"]
    assert "argv" in result["msg"]
    assert tmux.sessions() == []


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("script", "ending"),
    [
        pytest.param(f"echo last words; {LINGER}; exit 3", "status 3", id="status"),
        pytest.param(f"echo last words; {LINGER}; kill -9 $$", "signal 9", id="signal"),
    ],
)
def test_a_command_that_dies_at_once_fails_with_its_last_words(
    session: Run, tmux: TmuxServer, script: str, ending: str
) -> None:
    result = session(argv=["sh", "-c", script], timeout=10)

    assert result["failed"]
    assert result["msg"] == (
        f"the command of session lab ended at once ({ending}). It said: last words"
    )
    assert tmux.sessions() == []


@pytest.mark.usefixtures("patient")
def test_only_the_last_lines_are_repeated(session: Run) -> None:
    message = session(argv=["sh", "-c", f"seq 100; {LINGER}"], timeout=10)["msg"]

    assert message.splitlines()[1:] == [str(number) for number in range(86, 101)]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("words", "kept"),
    [
        pytest.param("Your authtoken: s3cr3t", "Your authtoken: (hidden)", id="sentence"),
        pytest.param("http://127.0.0.1:8888/lab?token=s3cr3t", "token=(hidden)", id="url"),
        pytest.param("PASSWORD = 's3cr3t'", "PASSWORD = '(hidden)'", id="setting"),
        pytest.param('{"api_key": "s3cr3t", "lvl": "eror"}', '"lvl": "eror"', id="json-key"),
        pytest.param(
            r'{"err":"Refused.\r\nYour authtoken: s3cr3t\r\n\r\nERR_NGROK_105\r\n"}',
            "ERR_NGROK_105",
            id="json-text",
        ),
    ],
)
def test_last_words_come_without_secrets(
    session: Run, tmp_path: Path, words: str, kept: str
) -> None:
    message = session(argv=say(tmp_path, words), timeout=10)["msg"]

    assert "s3cr3t" not in message
    assert kept in message


def test_long_last_words_are_read_also_when_tmux_is_late(
    session: Run, tmux: TmuxServer, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    # More than the 4096 bytes that tmux reads at once.
    argv = ["sh", "-c", f"until [ -e '{go}' ]; do sleep 0.02; done; seq 1200"]

    def last_line() -> str:
        go.unlink(missing_ok=True)
        pid = session(argv=argv)["pid"]
        (server,) = tmux.ask("display-message", "-p", "#{pid}")
        with frozen(int(server)):
            go.touch()
            wait_until(lambda: not runs(pid))
        wait_until(lambda: session(check_mode=True)["changed"])
        return str(session(state="absent")["last_lines"][-1])

    # A kernel that is late itself may still keep some from tmux.
    assert any(last_line() == "1200" for _ in range(5))


def test_a_running_session_is_not_replaced_by_another_command(session: Run) -> None:
    pid = session()["pid"]

    result = session(argv=["sleep", "300"])

    assert (result["changed"], result["pid"]) == (False, pid)


@pytest.fixture
def ended(session: Run, tmux: TmuxServer) -> str:
    """The id of a session whose command ended after a person had opened a window in it."""
    pid = session()["pid"]
    tmux.ask("new-window", "-d", "-t", "=lab:", "-n", "mine", *SLEEP)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "1" in tmux.ask("list-panes", "-s", "-t", "=lab:", "-F", "#{pane_dead}"))
    return tmux.ask("list-sessions", "-F", "#{session_id}")[0]


def test_an_ended_command_is_started_again_in_its_session(
    session: Run, tmux: TmuxServer, ended: str
) -> None:
    result = session()

    assert result["changed"]
    assert result["diff"]["before"] == {"state": "absent"}
    assert tmux.ask("list-sessions", "-F", "#{session_id}") == [ended]
    assert os.path.exists(f"/proc/{result['pid']}")


@pytest.mark.usefixtures("ended")
def test_a_window_that_somebody_opened_survives_the_new_start(
    session: Run, tmux: TmuxServer
) -> None:
    session()

    assert tmux.ask("list-windows", "-t", "=lab:", "-F", "#{window_name}") == ["lab", "mine"]


@pytest.mark.usefixtures("ended", "patient")
def test_a_window_that_somebody_opened_survives_a_new_start_that_fails(
    session: Run, tmux: TmuxServer
) -> None:
    assert session(argv=["sh", "-c", "exit 3"], timeout=10)["failed"]

    assert "mine" in tmux.ask("list-windows", "-t", "=lab:", "-F", "#{window_name}")


def test_it_returns_once_the_command_listens(session: Run, closed_address: str) -> None:
    host, port = closed_address.split(":")

    result = session(argv=[sys.executable, "-c", LATE, port], listens_on=closed_address, timeout=10)

    assert result["changed"]
    socket.create_connection((host, int(port))).close()


def test_a_child_of_the_command_may_be_the_one_that_listens(
    session: Run, closed_address: str
) -> None:
    command = [sys.executable, "-c", LATE, closed_address.split(":")[1]]

    result = session(
        argv=["sh", "-c", '"$@"; true', "sh", *command], listens_on=closed_address, timeout=10
    )

    assert result.get("msg") is None


def test_a_session_that_listens_already_is_left_alone(session: Run, closed_address: str) -> None:
    command = [sys.executable, "-c", LATE, closed_address.split(":")[1]]
    pid = session(argv=command, listens_on=closed_address, timeout=10)["pid"]

    result = session(argv=command, listens_on=closed_address, timeout=10)

    assert (result["changed"], result["pid"]) == (False, pid)


def test_a_command_that_ends_is_not_waited_for(session: Run, closed_address: str) -> None:
    started = time.monotonic()

    result = session(argv=["false"], listens_on=closed_address, timeout=20)

    assert "ended at once" in result["msg"]
    assert time.monotonic() - started < 10


def test_the_end_of_the_wait_is_told_with_the_last_words(session: Run, closed_address: str) -> None:
    result = session(
        argv=["sh", "-c", "echo still thinking; exec sleep 600"],
        listens_on=closed_address,
        timeout=1,
    )

    assert result["msg"] == (
        f"session lab runs, but does not listen on {closed_address} after 1 s. "
        "It said: still thinking"
    )


@pytest.mark.parametrize("check_mode", [False, True], ids=["run", "check-mode"])
def test_a_foreign_listener_is_named_and_nothing_starts(
    session: Run, tmux: TmuxServer, check_mode: bool
) -> None:
    program = Path("/proc/self/comm").read_text().strip()
    with socket.create_server(("127.0.0.1", 0)) as mine:
        address = f"127.0.0.1:{mine.getsockname()[1]}"

        result = session(listens_on=address, check_mode=check_mode)

    assert result["msg"].startswith(
        f"{address} is taken by {program} (process {os.getpid()}, account {getpass.getuser()})."
    )
    assert tmux.sessions() == []


def test_a_foreign_listener_beside_a_running_session_is_refused(session: Run) -> None:
    session()
    with socket.create_server(("127.0.0.1", 0)) as mine:
        result = session(listens_on=f"127.0.0.1:{mine.getsockname()[1]}")

    assert "is taken by" in result["msg"]


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("8888", id="port-only"),
        pytest.param("localhost", id="host-only"),
        pytest.param("127.0.0.1:99999", id="no-such-port"),
        pytest.param("127.0.0.1:8900-8800", id="range-upside-down"),
    ],
)
def test_a_malformed_address_is_refused(session: Run, tmux: TmuxServer, address: str) -> None:
    result = session(listens_on=address)

    assert (
        result["msg"]
        == f"'{address}' is not an address of the form host:port, or host:lowest-highest"
    )
    assert tmux.sessions() == []


class Ports:
    """A few ports in a row, in the order in which this account tries them."""

    def __init__(self, sockets: ExitStack, low: int, count: int) -> None:
        self._sockets = sockets
        self.range = f"127.0.0.1:{low}-{low + count - 1}"
        self.order = list(split_range(self.range).candidates())
        self.addresses = [f"127.0.0.1:{port}" for port in self.order]

    def take(self, *ports: int) -> None:
        """Listen there, as another program, until the test ends."""
        for port in ports:
            self._sockets.enter_context(socket.create_server(("127.0.0.1", port)))


@pytest.fixture
def ports() -> Iterator[Ports]:
    """Three ports in a row where nobody listens."""
    for low in range(20000 + os.getpid() % 10000, 32000, 3):
        try:
            with ExitStack() as sockets:
                for port in range(low, low + 3):
                    sockets.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        with ExitStack() as sockets:
            yield Ports(sockets, low, 3)
        return


@pytest.mark.parametrize("count", [0, 1, 2])
def test_of_a_range_the_first_free_port_is_taken(session: Run, ports: Ports, count: int) -> None:
    ports.take(*ports.order[:count])

    result = session(listens_on=ports.range, check_mode=True)

    assert result["listens_on"] == ports.addresses[count]


def test_a_range_without_a_free_port_is_an_error(
    session: Run, tmux: TmuxServer, ports: Ports
) -> None:
    ports.take(*ports.order)

    result = session(listens_on=ports.range)

    assert result["msg"].startswith(f"every port of {ports.range} is taken.")
    assert tmux.sessions() == []


def test_a_port_of_the_range_that_the_session_has_is_kept(session: Run, ports: Ports) -> None:
    command = [sys.executable, "-c", LATE, str(ports.order[1])]
    ports.take(ports.order[0])
    session(argv=command, listens_on=ports.range, timeout=10)

    result = session(argv=command, listens_on=ports.range, timeout=10)

    assert (result["changed"], result["listens_on"]) == (False, ports.addresses[1])


@pytest.mark.parametrize("text", ["{}", "{}\n"], ids=["bare", "line"])
def test_a_remembered_port_is_the_one(
    session: Run, ports: Ports, tmp_path: Path, text: str
) -> None:
    (tmp_path / "port").write_text(text.format(ports.order[2]))

    result = session(listens_on=ports.range, port_file=str(tmp_path / "port"), check_mode=True)

    assert result["listens_on"] == ports.addresses[2]


def test_a_remembered_port_is_the_one_whatever_the_range(
    session: Run, ports: Ports, tmp_path: Path
) -> None:
    (tmp_path / "port").write_text(str(ports.order[0]))

    result = session(
        listens_on="127.0.0.1:8888-8987", port_file=str(tmp_path / "port"), check_mode=True
    )

    assert result["listens_on"] == ports.addresses[0]


def test_a_remembered_port_that_another_program_took_is_not_exchanged(
    session: Run, tmux: TmuxServer, ports: Ports, tmp_path: Path
) -> None:
    (tmp_path / "port").write_text(str(ports.order[0]))
    ports.take(ports.order[0])

    result = session(listens_on=ports.range, port_file=str(tmp_path / "port"))

    assert f"{ports.addresses[0]} is taken by" in result["msg"]
    assert tmux.sessions() == []


def test_a_port_that_was_given_is_the_one_whatever_is_remembered(
    session: Run, ports: Ports, tmp_path: Path
) -> None:
    (tmp_path / "port").write_text(str(ports.order[0]))

    result = session(
        listens_on=ports.addresses[2], port_file=str(tmp_path / "port"), check_mode=True
    )

    assert result["listens_on"] == ports.addresses[2]


def test_without_the_file_a_port_is_chosen(session: Run, ports: Ports, tmp_path: Path) -> None:
    result = session(listens_on=ports.range, port_file=str(tmp_path / "port"), check_mode=True)

    assert result["listens_on"] == ports.addresses[0]


@pytest.mark.parametrize(
    "rubbish",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"http", id="word"),
        pytest.param(b"8888 8889", id="two"),
        pytest.param("٨٨٨٨".encode(), id="other-digits"),
        pytest.param(b"\xff\xfe\x00", id="bytes"),
        pytest.param(b"0", id="port-0"),
        pytest.param(b"-8888", id="negative"),
        pytest.param(b"88888", id="port-too-high"),
    ],
)
def test_a_file_with_rubbish_instead_of_a_port_is_named(
    session: Run, tmux: TmuxServer, tmp_path: Path, rubbish: bytes
) -> None:
    file = tmp_path / "port"
    file.write_bytes(rubbish)

    result = session(listens_on="127.0.0.1:8888-8987", port_file=str(file))

    assert result["msg"] == f"{file} holds no port. Remove it to have one chosen again."
    assert tmux.sessions() == []


@pytest.mark.parametrize("timeout", [0, 20])
def test_the_port_is_kept_once_the_command_runs(
    session: Run, ports: Ports, tmp_path: Path, timeout: int
) -> None:
    file = tmp_path / "port"
    argv = [sys.executable, "-c", LATE, str(ports.order[0])]
    asked = {"listens_on": ports.range, "port_file": str(file), "argv": argv, "timeout": timeout}

    assert session(**asked, check_mode=True)["changed"]
    assert not file.exists()

    assert session(**asked)["changed"]
    assert file.read_text() == str(ports.order[0])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    file.unlink()
    assert not session(**asked)["changed"]
    assert file.read_text() == str(ports.order[0])


def test_the_port_of_a_command_that_did_not_start_is_not_kept(
    session: Run, ports: Ports, tmp_path: Path
) -> None:
    file = tmp_path / "port"

    result = session(listens_on=ports.range, port_file=str(file), argv=["false"], timeout=20)

    assert "ended at once" in result["msg"]
    assert not file.exists()


@pytest.fixture
def faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else who starts the same thing in the instant before the module does."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "tmux"
    program.write_text(
        "#!/bin/sh\n"
        f"real={shutil.which('tmux')}\n"
        'case " $* " in *" new-session "* | *" respawn-pane "*) "$real" "$@" ;; esac\n'
        'exec "$real" "$@"\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


@pytest.mark.usefixtures("faster")
def test_a_session_that_somebody_starts_at_the_same_time_is_taken_as_it_is(
    session: Run, tmux: TmuxServer
) -> None:
    result = session(timeout=10)

    assert (result.get("msg"), result["changed"], result["state"]) == (None, False, "present")
    assert tmux.ask("list-panes", "-a", "-F", "#{pane_pid}") == [str(result["pid"])]


@pytest.mark.usefixtures("ended", "faster")
def test_a_command_that_somebody_starts_again_at_the_same_time_is_taken_as_it_is(
    session: Run, tmux: TmuxServer
) -> None:
    result = session(timeout=10)

    assert (result.get("msg"), result["changed"], result["state"]) == (None, False, "present")
    panes = tmux.ask("list-panes", "-t", "=lab:=lab", "-F", "#{pane_dead} #{pane_pid}")
    assert panes == [f"0 {result['pid']}"]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["two words", "", "it's", 'a "quote"', "`so`", "back\\slash"], id="quotes"),
        pytest.param(["--", "-v", "a=b", "a~/b", "*", "Zoë 实验"], id="signs"),
        pytest.param([";", "end;", "\\;", ";;", "a;b", "last;"], id="semicolons"),
        pytest.param([";\n", "last;\n"], id="semicolon-before-a-newline"),
        pytest.param(["#{pid}", "#", "##", "100%d", "%H:%M"], id="formats"),
        pytest.param(["$HOME", "${HOME}"], id="variables"),
    ],
)
def test_arguments_arrive_as_given(session: Run, tmp_path: Path, words: list[str]) -> None:
    arrived = tmp_path / "arrived"

    session(argv=[sys.executable, "-c", WRITE, str(arrived), *words])

    wait_until(arrived.exists)
    assert json.loads(arrived.read_text()) == words


def test_a_tilde_at_the_start_is_the_home_directory(session: Run, tmp_path: Path) -> None:
    arrived = tmp_path / "arrived"

    session(argv=[sys.executable, "-c", WRITE, str(arrived), "~/notes"])

    wait_until(arrived.exists)
    assert json.loads(arrived.read_text()) == [os.path.expanduser("~/notes")]


def test_a_lone_program_is_not_given_to_a_shell(session: Run, tmp_path: Path) -> None:
    program = tmp_path / "my program; exit 1"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)

    pid = session(argv=[str(program)], timeout=10)["pid"]

    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00600\x00"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("my lab", id="space"),
        pytest.param("100%d", id="percent"),
        pytest.param("a#{pid}", id="format"),
    ],
)
def test_the_command_starts_in_its_directory(session: Run, tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()

    pid = session(chdir=str(directory))["pid"]

    # The module does not wait here, and tmux's child changes to the directory by itself.
    wait_until(lambda: os.readlink(f"/proc/{pid}/cwd") == str(directory))


def test_a_directory_that_is_missing_is_an_error(
    session: Run, tmux: TmuxServer, tmp_path: Path
) -> None:
    result = session(chdir=str(tmp_path / "missing"))

    assert result.get("failed")
    assert tmux.sessions() == []


@pytest.fixture
def environments(session: Run, tmux: TmuxServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """What tmux and the command got of a caller's environment with secrets in it."""
    monkeypatch.setenv("NGROK_AUTHTOKEN", "s3cr3t-token")
    monkeypatch.setenv("NGROK_API_KEY", "s3cr3t-key")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/s3cr3t")
    monkeypatch.setenv("ANSIBLE_BECOME_PASSWORD", "s3cr3t")
    monkeypatch.setenv("LAB_COLOUR", "blue")
    pid = session()["pid"]
    everyone = tmux.ask("show-environment", "-g")
    own = tmux.ask("show-environment", "-t", "=lab:")
    command = Path(f"/proc/{pid}/environ").read_text().split("\0")
    assert everyone
    assert command
    return "\n".join([*everyone, *own, *command])


@pytest.mark.parametrize(
    "variable",
    [
        pytest.param("NGROK_AUTHTOKEN", id="token"),
        pytest.param("NGROK_API_KEY", id="key"),
        pytest.param("SSH_AUTH_SOCK", id="agent-of-the-login"),
        pytest.param("ANSIBLE_BECOME_PASSWORD", id="password-of-ansible"),
    ],
)
def test_secrets_of_the_environment_stay_out_of_tmux(environments: str, variable: str) -> None:
    assert f"{variable}=" not in environments
    assert "s3cr3t" not in environments


def test_other_variables_reach_tmux_and_the_command(environments: str) -> None:
    assert environments.splitlines().count("LAB_COLOUR=blue") == 2


@pytest.mark.parametrize(
    ("file", "line"),
    [
        pytest.param(".tmux.conf", "set -g destroy-unattached on", id="ends-sessions"),
        pytest.param(".tmux.conf", "set -s exit-unattached on", id="ends-the-server"),
        pytest.param(".tmux.conf", "new-session -s lab", id="has-a-session-of-our-name"),
        pytest.param(".config/tmux/tmux.conf", "kill-server", id="in-another-place"),
    ],
)
def test_no_setting_of_the_account_counts_for_a_tmux_server_of_our_own(
    file: str,
    line: str,
    session: Run,
    private_tmux: TmuxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"{line}\n")

    result = session(timeout=20, socket_dir=private_tmux.socket_dir)

    assert "failed" not in result, result
    assert Path(f"/proc/{result['pid']}/cmdline").read_bytes() == b"sleep\x00600\x00"


def test_a_person_s_own_tmux_server_is_started_as_the_person_does_it(
    session: Run, tmux: TmuxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".tmux.conf").write_text("set -g @colour blue\n")
    tmux.socket_name = "default"

    session(socket_name="default")

    assert tmux.ask("show-options", "-gv", "@colour") == ["blue"]


def test_what_a_command_starts_does_not_take_itself_for_a_part_of_its_session(
    session: Run, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    again = f"env > {told}.part; mv {told}.part {told}; exec sleep 600"
    pid = session(argv=["sh", "-c", again])["pid"]
    wait_until(told.exists)

    os.kill(pid, signal.SIGKILL)
    first = told.read_text()
    told.unlink()
    wait_until(lambda: session(argv=["sh", "-c", again])["started"])
    wait_until(told.exists)

    for environment in (first, told.read_text()):
        names = {line.partition("=")[0] for line in environment.splitlines()}
        assert "PATH" in names
        assert not names & {"TMUX", "TMUX_PANE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION"}


def test_without_tmux_a_dry_run_predicts_the_start(
    session: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert session(check_mode=True)["changed"]


def test_without_tmux_a_run_says_so(
    session: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    result = session()

    assert result["failed"]
    assert 'Failed to find required executable "tmux"' in result["msg"]


def test_where_no_manager_outlives_logins_nothing_starts_on_boot(
    session: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(_login, "LINGER_DIR", str(tmp_path))

    result = session(on_boot=True)

    assert (result["started"], result["starts_on_boot"]) == (True, False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("running", [True, False])
def test_an_absent_session_does_not_come_back_with_a_boot(
    session: Run,
    tmux: TmuxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    running: bool,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if running:
        session()
    unit = _boot.unit_name("tmux", tmux.socket_name, "lab")
    _boot.ensure(unit, "as a run with on_boot makes it", ["true"], check_mode=False)

    assert session(state="absent")["changed"]

    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_the_file_with_the_port_is_never_half_written(
    session: Run, closed_address: str, tmp_path: Path
) -> None:
    file, earlier = tmp_path / "port", tmp_path / "earlier"
    file.write_text("1")
    earlier.hardlink_to(file)

    session(listens_on=closed_address, port_file=str(file))

    assert file.read_text() == closed_address.partition(":")[2]
    # The one that somebody may be reading was not opened again.
    assert earlier.read_text() == "1"


def test_a_logout_ends_a_command_where_it_ends_the_tmux_server(
    session: Run, tmux: TmuxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_login, "PROC_DIR", str(tmp_path))
    monkeypatch.setattr(_login, "LINGER_DIR", str(tmp_path))
    pid = session()["pid"]
    (server,) = tmux.ask("display-message", "-p", "#{pid}")
    for process, cgroup in ((pid, "/user.slice"), (server, "/user@1000.service/app.slice")):
        (tmp_path / f"{process}").mkdir()
        (tmp_path / f"{process}/cgroup").write_text(f"0::{cgroup}\n")

    assert session()["ends_with_login"]
    (tmp_path / getpass.getuser()).touch()
    assert not session()["ends_with_login"]


# Another account: on every Linux, with nothing of its own.
NOBODY = 65534
AS_NOBODY = [*AS_ROOT, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]


@pytest.fixture
def private(session: Run, private_tmux: TmuxServer) -> Run:
    """Run the module with a private directory for the socket, which is not there yet."""

    def run(name: str = "lab", **args: object) -> dict[str, Any]:
        return session(name, **{"socket_dir": private_tmux.socket_dir} | args)

    return run


def test_a_socket_is_for_its_owner_only_in_a_directory_of_its_own(
    private: Run, private_tmux: TmuxServer
) -> None:
    made = Path(private_tmux.socket_dir)
    private_tmux.socket_dir = f"{made}/tmux"
    before = os.umask(0)
    try:
        first = private()
    finally:
        os.umask(before)

    assert (first["changed"], private_tmux.sessions()) == (True, ["lab"])
    for path in (Path(private_tmux.socket), made / "tmux", made):
        assert path.stat().st_mode & 0o077 == 0, path
    assert private() == first | {"changed": False, "started": False, "diff": same("present")}


def test_a_dry_run_makes_no_directory(private: Run, private_tmux: TmuxServer) -> None:
    assert private(check_mode=True)["changed"]
    assert not Path(private_tmux.socket_dir).exists()


def live_in(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    """Have the list of accounts say where this one's home is."""
    entry = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd((*entry[:5], home, entry[6])))


def test_a_path_may_be_longer_than_a_socket_s(
    private: Run, private_tmux: TmuxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(private_tmux.socket_dir) / ("long" * 30)
    private_tmux.socket_dir = f"{home}/tmux"
    home.mkdir(parents=True)
    live_in(monkeypatch, str(home))

    private()
    result = private()

    assert (result["changed"], private_tmux.sessions()) == (False, ["lab"])
    assert result["attach"] == f"tmux -S tmux/{private_tmux.socket_name} attach -t lab"
    assert private(state="absent")["changed"]
    assert private_tmux.sessions() == []


def test_the_command_line_that_shows_a_session_to_a_person(
    session: Run, private_tmux: TmuxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attach(home: str = "/home/me", **args: object) -> str:
        live_in(monkeypatch, home)
        told: str = session("my lab", check_mode=True, **args)["attach"]
        return told

    there = private_tmux.socket_dir
    assert attach(socket_name="work") == "tmux -L work attach -t 'my lab'"
    assert (
        attach(socket_name="work", socket_dir=there) == f"tmux -S {there}/work attach -t 'my lab'"
    )
    assert (
        attach("/", socket_name="w", socket_dir=there)
        == f"tmux -S {there[1:]}/w attach -t 'my lab'"
    )
    far = f"/nowhere/{'far' * 40}"
    assert attach(socket_name="w", socket_dir=far) == f"env -C {far} tmux -S w attach -t 'my lab'"


def test_what_an_older_release_has_started_is_used_and_ended_where_it_is(
    private: Run, session: Run, tmux: TmuxServer, private_tmux: TmuxServer
) -> None:
    pid = session()["pid"]
    session("work")

    assert (private()["changed"], private()["pid"]) == (False, pid)
    assert not Path(private_tmux.socket_dir).exists()
    assert private("lab", state="absent")["changed"]
    assert tmux.sessions() == ["work"]
    # What is new is in the private directory, also while there is another server.
    assert private()["changed"]
    assert (tmux.sessions(), private_tmux.sessions()) == (["work"], ["lab"])


def test_of_both_places_the_one_is_used_where_the_command_runs(
    private: Run, session: Run, tmux: TmuxServer
) -> None:
    private(argv=["false"], timeout=0)
    wait_until(lambda: private(check_mode=True)["changed"])
    pid = session()["pid"]

    assert (private()["changed"], private()["pid"]) == (False, pid)


def test_a_session_of_an_older_release_comes_back_in_the_private_directory(
    private: Run,
    tmux: TmuxServer,
    private_tmux: TmuxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(_login, "LINGER_DIR", str(tmp_path))
    monkeypatch.setattr(_login, "RUNTIME_DIRS", str(tmp_path))
    (tmp_path / getpass.getuser()).touch()
    (tmp_path / f"{os.getuid()}/systemd/private").mkdir(parents=True)
    tmux.ask("new-session", "-d", "-s", "lab", "sleep", "600")

    assert private(on_boot=True)["starts_on_boot"]

    (unit,) = (tmp_path / ".config/systemd/user").glob("*.service")
    assert f'"-S" "{private_tmux.socket}"' in unit.read_text()


def test_a_directory_that_others_may_write_to_is_refused_with_the_remedy(
    private: Run, private_tmux: TmuxServer
) -> None:
    directory = Path(private_tmux.socket_dir)
    directory.mkdir()
    directory.chmod(0o770)

    said = private()["msg"]

    assert said == (
        f"Other accounts may write to {directory}, where tmux's socket is to be. Close it to them: "
        f"chmod 700 {directory}"
    )
    subprocess.run(said.rpartition(": ")[2].split(), check=True)
    assert private()["changed"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_directory_is_refused(
    private: Run, private_tmux: TmuxServer, tmp_path: Path, kind: str
) -> None:
    place = Path(private_tmux.socket_dir)
    if kind == "file":
        place.touch()
    else:
        place.symlink_to(tmp_path)

    assert "is no directory. Remove it, or choose another place (socket_dir" in private()["msg"]


def test_a_disk_that_holds_no_socket_is_named(private: Run, private_tmux: TmuxServer) -> None:
    # A directory in its place makes bind(2) fail as well.
    Path(private_tmux.socket).mkdir(parents=True)

    said = private()["msg"]

    assert said.startswith("tmux new-session: error ")
    assert "network file systems. Choose a directory of this account on a disk of" in said


def as_nobody(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command as another account."""
    return subprocess.run([*AS_NOBODY, *words], capture_output=True, check=False)


@pytest.fixture
def mallory(tmux: TmuxServer) -> Iterator[str]:
    """A directory of another account, and behind a socket in it a server with a session ``lab``."""
    Path(os.environ["TMUX_TMPDIR"]).chmod(0o1777)
    taken = _tmux.usual_directory()
    made = as_nobody("mkdir", "-m", "755", taken)
    if made.returncode:
        pytest.skip("only root can be another account")
    socket_path = f"{taken}/{tmux.socket_name}"
    try:
        words = ["new-session", "-d", "-s", "lab", "sleep", "600"]
        assert as_nobody("tmux", "-S", socket_path, *words).returncode == 0
        yield taken
    finally:
        as_nobody("tmux", "-S", socket_path, "kill-server")
        subprocess.run([*AS_ROOT, "rm", "-rf", taken], check=True)


def test_what_another_account_puts_into_the_usual_place_blocks_nothing_and_is_not_asked(
    private: Run, private_tmux: TmuxServer, mallory: str
) -> None:
    # Without the private directory it would.
    assert private(socket_dir=None)["failed"]

    assert private()["changed"]

    assert private_tmux.sessions() == ["lab"]
    seen = as_nobody("tmux", "-S", f"{mallory}/{private_tmux.socket_name}", "list-clients")
    assert seen.stdout == b""


def test_a_directory_of_another_account_is_refused(private: Run, mallory: str) -> None:
    assert private(socket_dir=mallory)["msg"] == (
        f"{mallory}, where tmux's socket is to be, belongs to another account ({NOBODY}). Remove "
        "it, or choose another place (socket_dir; in the roles tmux_socket_dir)."
    )


def test_a_server_of_another_account_is_refused_wherever_its_socket_is(
    private: Run, private_tmux: TmuxServer, mallory: str
) -> None:
    directory = Path(private_tmux.socket_dir)
    directory.mkdir(mode=0o700)
    planted = f"{mallory}/{private_tmux.socket_name}"
    subprocess.run([*AS_ROOT, "chmod", "777", planted], check=True)
    subprocess.run([*AS_ROOT, "mv", planted, directory], check=True)
    try:
        assert private()["msg"] == (
            f"{private_tmux.socket}, tmux's socket, belongs to another account ({NOBODY})."
        )
    finally:
        subprocess.run([*AS_ROOT, "mv", private_tmux.socket, planted], check=True)


def test_a_program_on_a_disk_without_execution_is_refused_before_anything_starts(
    private: Run, private_tmux: TmuxServer, tmp_path: Path
) -> None:
    with disk(tmp_path, 1, "noexec") as mounted:
        if not mounted:
            pytest.skip("only root can mount a disk")
        for check_mode in (True, False):
            said = private(argv=[f"{tmp_path}/not/yet"], check_mode=check_mode)["msg"]
            assert said.startswith(
                f"{tmp_path}/not/yet cannot be run, because {tmp_path} is mounted with noexec."
            )
        assert private_tmux.sessions() == []
