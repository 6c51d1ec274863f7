"""Every way in which a notebook breaks: what reconnect repairs, and what it leaves alone."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.accounts import PASSWORD, Account, disk, pack_agent
from tests.support.breakages import (
    MUTE,
    PAGES,
    Break,
    all_suspended,
    ended,
    endpoint_dead,
    fault,
    hung,
    kill,
    killed,
    nothing,
    other_program,
    port_taken,
    service_away,
    session_lost_without_a_word,
    sessions_dropped,
    tmux_killed,
    tmux_socket_is_left,
    tmux_suspended,
)
from tests.support.edge.client import Edge, fetch
from tests.support.plays import errors, refused
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

RECONNECT = "anywhere.notebook.reconnect"
# Most take 7 to 24 s on two cores that do nothing else; one of them waits for 30 s.
LONGEST_SECONDS = 90


@dataclass(frozen=True)
class State:
    """A broken state, and what reconnect does about it.

    ``repaired`` is what the card may say; without it reconnect has to fail. The processes of the
    sessions in ``kept`` are the same afterwards.
    """

    broken: Break
    repaired: str | tuple[str, ...] | None = None
    kept: tuple[str, ...] = ()
    says: str = ""
    variables: dict[str, object] = field(default_factory=dict)


NOTHING = "nothing, everything ran"
BOTH = ("jupyter", "ngrok")
STATES = {
    "nothing": State(nothing(), NOTHING, BOTH),
    "server-killed": State(killed("jupyter"), "server", ("ngrok",), "it was killed by signal 9"),
    "server-session-ended": State(
        ended("jupyter"), "server", ("ngrok",), "kernels it had are lost"
    ),
    "server-hung": State(
        hung("jupyter"), None, BOTH, "with -e jupyter_restart=always", {"jupyter_timeout": 5}
    ),
    "server-slow": State(hung("jupyter", 6), NOTHING, BOTH),
    "server-hung-and-given-up": State(
        hung("jupyter"),
        "server",
        ("ngrok",),
        "",
        {"jupyter_timeout": 30, "jupyter_restart": "always"},
    ),
    "server-of-another-kind": State(
        other_program("jupyter", PAGES),
        None,
        BOTH,
        "is no Jupyter server",
        {"jupyter_timeout": 3},
    ),
    "server-mute": State(
        other_program("jupyter", MUTE), None, BOTH, "has no answer", {"jupyter_timeout": 3}
    ),
    "server-port-taken": State(port_taken("jupyter"), None, ("ngrok",), "is taken by"),
    "tmux-killed": State(tmux_killed, "server, agent"),
    "tmux-suspended": State(tmux_suspended, "tmux", BOTH),
    "all-suspended": State(all_suspended, "tmux", BOTH),
    "tmux-socket-left": State(tmux_socket_is_left, "server, agent"),
    "agent-killed": State(killed("ngrok"), "agent", ("jupyter",)),
    "agent-session-ended": State(ended("ngrok"), "agent", ("jupyter",)),
    "agent-hung": State(hung("ngrok"), "agent", ("jupyter",), "", {"ngrok_timeout": 10}),
    "agent-slow": State(hung("ngrok", 4), NOTHING, BOTH),
    "agent-of-another-kind": State(
        other_program("ngrok", PAGES), "agent", ("jupyter",), "", {"ngrok_timeout": 10}
    ),
    "agent-port-taken": State(port_taken("ngrok"), None, ("jupyter",), "is taken by"),
    "service-unreachable": State(
        fault(unreachable=True),
        None,
        ("jupyter",),
        "connect.ngrok-agent.com",
        {"ngrok_timeout": 3},
    ),
    "service-away-for-a-moment": State(service_away, NOTHING, BOTH),
    "sessions-dropped": State(sessions_dropped, NOTHING, BOTH),
    # The agent misses its heartbeats at some moment, and connects anew by itself.
    "session-lost-without-a-word": State(
        session_lost_without_a_word, ("agent", NOTHING), ("jupyter",)
    ),
    "endpoint-dead": State(endpoint_dead, "agent", ("jupyter",)),
    "interstitial": State(fault(interstitial=True), NOTHING, BOTH),
    "too-many-agents": State(
        fault("ngrok", auth_error="ERR_NGROK_108"),
        None,
        ("jupyter",),
        "Stop one that is not needed",
    ),
    "authtoken-revoked": State(
        fault("ngrok", auth_error="ERR_NGROK_107"), None, ("jupyter",), "copy the present one"
    ),
    "agent-too-old": State(
        fault("ngrok", auth_error="ERR_NGROK_121"), None, ("jupyter",), "It takes 3.20 or newer"
    ),
    "url-taken": State(
        fault("ngrok", bind_error="ERR_NGROK_334"),
        None,
        ("jupyter",),
        "Stop the agent that holds it",
    ),
    "password-changed-here": State(
        nothing(),
        NOTHING,
        BOTH,
        "the notebook does not take it",
        {"jupyter_password": "not this one"},
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_what_is_broken_is_repaired_and_nothing_else(
    name: str, notebook: Account, edge: Edge, visitor: Visitor
) -> None:
    state = STATES[name]
    kernel = visitor.kernel()
    visitor.run(kernel, "x = 1729")
    before = notebook.pids()
    with state.broken(notebook, edge):
        present = before | notebook.pids()
        kept = {session: present[session] for session in state.kept}
        started = time.monotonic()

        play = notebook.play(RECONNECT, **state.variables)

        took = time.monotonic() - started
        after = notebook.pids()
        said = " ".join(play.output.split())
        if state.repaired is None:
            assert play.status != 0
            assert [state.says in sentence for sentence in errors(play)] == [True], play.output
        else:
            assert play.status == 0, play.output
            either = (state.repaired,) if isinstance(state.repaired, str) else state.repaired
            assert play.card("Repaired") in either, play.output
            assert state.says in said
            assert fetch(play.url, "/api").status == 200
        assert {session: after.get(session) for session in state.kept} == kept
        assert took < LONGEST_SECONDS
        assert PASSWORD not in said
    edge.fault(
        auth_error=None, bind_error=None, heartbeats=True, interstitial=False, unreachable=False
    )
    visitor = notebook.visitor()
    if notebook.pids()["jupyter"] == before["jupyter"]:
        assert visitor.run(kernel, "print(x)") == "1729\n"
        visitor.api("DELETE", f"/api/kernels/{kernel}")


def test_the_endpoint_of_an_agent_that_crashed_is_waited_for(
    neighbour: Account, edge: Edge
) -> None:
    neighbour.variables["ngrok_url"] = f"http://lingering.localhost:{edge.visitor_port}"
    url = neighbour.setup().url
    server = neighbour.pids()["jupyter"]
    edge.fault(linger=True)
    kill(neighbour.pids()["ngrok"])
    gone = threading.Timer(6, edge.fault, kwargs={"linger": False})
    gone.start()

    play = neighbour.reconnect()

    gone.join()
    assert (play.card("Repaired"), play.url, neighbour.pids()["jupyter"]) == ("agent", url, server)


def test_an_agent_that_is_too_old_is_replaced_by_the_present_release(
    neighbour: Account, edge: Edge, tmp_path: Path
) -> None:
    neighbour.variables |= pack_agent(tmp_path / "old.tgz", 1)
    neighbour.setup()
    server = neighbour.pids()["jupyter"]
    edge.fault(auth_error="ERR_NGROK_121")
    kill(neighbour.pids()["ngrok"])
    play = neighbour.play(RECONNECT)
    assert "This collection knows none newer than" in refused(play)
    neighbour.variables |= pack_agent(tmp_path / "new.tgz", 2)
    digest = str(neighbour.variables["ngrok_archive_checksum"]).partition(":")[2][:12]
    new = neighbour.state / f"ngrok/ngrok-{digest}"

    def accept_the_new_one() -> None:
        wait_until(new.exists)
        edge.fault(auth_error=None)

    accepted = threading.Thread(target=accept_the_new_one)
    accepted.start()

    play = neighbour.reconnect()

    accepted.join()
    assert play.card("Repaired") == "agent"
    assert Path(f"/proc/{neighbour.pids()['ngrok']}/exe").readlink() == new
    assert neighbour.pids()["jupyter"] == server


@pytest.fixture
def full(neighbour: Account) -> Iterator[Callable[[], None]]:
    """Fill the disk that has everything of an account's notebook, which is one of its own."""
    neighbour.state.mkdir(parents=True)

    def fill() -> None:
        with suppress(OSError), (neighbour.state / "large").open("wb") as large:
            while True:
                large.write(bytes(1 << 20))
                large.flush()

    with disk(neighbour.state, 60) as mounted:
        if not mounted:
            pytest.skip("only root can make a disk")
        yield fill
        neighbour.stop()


def test_a_disk_that_is_full_while_the_configuration_is_written(
    neighbour: Account, full: Callable[[], None]
) -> None:
    url = neighbour.setup().url
    before = neighbour.pids()
    configuration = (neighbour.state / "jupyter/jupyter_server_config.py").read_bytes()
    full()
    neighbour.variables["jupyter_settings"] = {"LabApp": {"default_url": "/tree"}}

    play = neighbour.play("anywhere.notebook.setup")

    assert "No space left on device" in refused(play)
    assert "The disk is full: free some room on it" in " ".join(play.output.split())
    assert neighbour.pids() == before
    assert (neighbour.state / "jupyter/jupyter_server_config.py").read_bytes() == configuration
    assert fetch(url, "/api").status == 200
    # What is broken is repaired all the same.
    kill(before["ngrok"])
    assert fetch(neighbour.reconnect().url, "/api").status == 200
    assert neighbour.pids()["jupyter"] == before["jupyter"]
    (neighbour.state / "large").unlink()
    neighbour.setup()
    assert neighbour.visitor().page("/")[1] == "/tree"


def test_two_at_the_same_time_do_not_fight(notebook: Account) -> None:
    notebook.url()
    kill(notebook.pids()["ngrok"])
    kill(notebook.pids()["jupyter"])

    both = [
        subprocess.Popen(
            notebook.command(RECONNECT),
            cwd=notebook.home,
            env=notebook.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]

    said = [child.communicate()[0] for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    url = notebook.url()
    assert all(url in output for output in said)
    pids = notebook.pids()
    assert notebook.reconnect().changed == 0
    assert notebook.pids() == pids


QUICK = [
    nothing(),
    killed("jupyter"),
    killed("ngrok"),
    ended("jupyter"),
    ended("ngrok"),
    tmux_killed,
    sessions_dropped,
    endpoint_dead,
    fault(keep_host=False),
    fault(interstitial=True),
]


@settings(
    deadline=None,
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sequence=st.lists(st.lists(st.sampled_from(QUICK), max_size=2), min_size=2, max_size=3))
def test_a_healthy_server_is_never_restarted_and_the_url_always_works_afterwards(
    notebook: Account, edge: Edge, sequence: list[list[Break]]
) -> None:
    notebook.url()
    for breaks in sequence:
        for broken in breaks:
            with broken(notebook, edge):
                pass
        healthy = notebook.pids().get("jupyter")

        play = notebook.reconnect()

        assert fetch(play.url, "/api").status == 200
        assert healthy in (None, notebook.pids()["jupyter"])
