"""Every way in which tmux and the server break: what status says of it, and what reconnect does."""

from __future__ import annotations

import subprocess

from tests.support import PASSWORD
from tests.support.accounts import Account
from tests.support.breakages import (
    MUTE,
    PAGES,
    all_suspended,
    ended,
    hung,
    killed,
    notebooks_not_mounted,
    other_program,
    port_taken,
    socket_directory_deleted,
    socket_in_the_usual_place,
    tmux_killed,
    tmux_socket_is_left,
    tmux_suspended,
)
from tests.support.edge.client import Edge
from tests.support.states import BOTH, NOTHING, State, each_state, meet
from tests.support.visitors import Visitor

# tmux 3.3 at times knows of an exit status only later.
KILLED = State(
    killed("jupyter"),
    told=(r"The Jupyter server does not run( \(it ended with signal 9\))?\.",),
    repaired="server",
    kept=("ngrok",),
    says=("the kernels it had are lost", "Why: it was killed by signal 9"),
)
STATES = {
    "hung": State(
        hung("jupyter"),
        told=("The Jupyter server .*has no answer: ",),
        kept=BOTH,
        says=("with -e jupyter_restart=always",),
        variables={"jupyter_timeout": 5},
    ),
    "hung-and-given-up": State(
        hung("jupyter"),
        repaired="server",
        kept=("ngrok",),
        variables={"jupyter_restart": "always"},
    ),
    "port-taken": State(
        port_taken("jupyter"),
        says=("is taken by",),
        closed=True,
        repaired_later=("server", "server, agent"),
    ),
    "notebooks-not-mounted": State(
        notebooks_not_mounted,
        told=(r"The Jupyter server does not run\.",),
        kept=("ngrok",),
        says=("nothing is mounted there now. Mount it again, and run reconnect",),
        repaired_later="server",
    ),
    "tmux-socket-deleted": State(
        socket_directory_deleted,
        repaired="tmux",
        kept=BOTH,
    ),
    "tmux-suspended": State(
        tmux_suspended,
        told=(r"does not answer\. What runs in its sessions goes on\.",),
        repaired="tmux",
        kept=BOTH,
    ),
}
FURTHER_STATES = {
    "session-ended": State(
        ended("jupyter"),
        told=(r"The Jupyter server does not run\.",),
        repaired="server",
        kept=("ngrok",),
        says=("the kernels it had are lost",),
    ),
    "slow": State(hung("jupyter", 6), repaired=NOTHING, kept=BOTH),
    "of-another-kind": State(
        other_program("jupyter", PAGES),
        told=(r"is no Jupyter server\.",),
        kept=BOTH,
        says=("is no Jupyter server",),
        variables={"jupyter_timeout": 3},
        repaired_later="server",
    ),
    "mute": State(
        other_program("jupyter", MUTE),
        kept=BOTH,
        says=("has no answer",),
        variables={"jupyter_timeout": 3},
        repaired_later="server",
    ),
    "tmux-killed": State(
        tmux_killed,
        told=(r"The Jupyter server does not run\.", r"The ngrok agent does not run\."),
        repaired="server, agent",
    ),
    "all-suspended": State(all_suspended, repaired="tmux", kept=BOTH),
    "tmux-socket-left": State(tmux_socket_is_left, repaired="server, agent"),
}


@each_state(STATES, FURTHER_STATES)
def test_what_is_broken_is_told_and_repaired_and_nothing_else(
    state: State, notebook: Account, edge: Edge
) -> None:
    meet(state, notebook, edge)


def test_a_notebook_behind_the_socket_of_an_older_release_goes_on_being_used(
    notebook: Account,
) -> None:
    notebook.url()
    private, before = notebook.socket, notebook.pids()
    with socket_in_the_usual_place(notebook):
        found = notebook.look()
        play = notebook.reconnect()

        assert (found["problems"], found["server"]["pid"]) == ([], before["jupyter"])
        assert play.card("Repaired") == NOTHING
        assert f"tmux -S {notebook.socket} attach -t jupyter" in " ".join(play.output.split())
        assert notebook.pids() == before
        assert not private.exists()


def test_a_killed_server_comes_back_and_its_kernels_are_said_to_be_lost(
    notebook: Account, edge: Edge
) -> None:
    url = notebook.url()

    play = meet(KILLED, notebook, edge)

    assert play.card("Kernels alive") == "none"
    assert play.url == url
    assert "the same URL as before" in play.card("Notebook")
    log = notebook.state / "jupyter/server.log"
    assert log.read_text().count("Serving notebooks from local directory") >= 2
    assert log.stat().st_mode & 0o777 == 0o600
    visitor = Visitor(play.url)
    assert visitor.log_in(PASSWORD)
    assert visitor.run(visitor.kernel(), "print('back')") == "back\n"


def test_a_server_is_not_started_from_an_environment_that_is_not_complete(
    notebook: Account,
) -> None:
    complete = notebook.state / "jupyter/venv/complete"
    complete.unlink()

    # What tmux runs; the module for sessions repeats the last words of what ends at once.
    started = subprocess.run(
        [notebook.state / "jupyter/start"], capture_output=True, text=True, check=False
    )

    complete.touch()
    assert started.returncode == 1
    assert "The installation of Jupyter was interrupted. Run setup again" in started.stderr
