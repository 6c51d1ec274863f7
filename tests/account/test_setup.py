"""What setup does to an account, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.accounts import PASSWORD, Account
from tests.support.breakages import end
from tests.support.plays import Play
from tests.support.ports import free_port
from tests.support.trees import tree
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

USERS_CONFIG = "c.ServerApp.port = 1234\nc.ServerApp.terminado_settings = {}\n"
ASKED = {
    "jupyter_packages": ["roman"],
    "jupyter_kernels": [{"name": "course", "packages": ["six==1.17.0", "idna<4"]}],
}


def test_a_dry_run_on_an_untouched_account_changes_nothing(account: Account) -> None:
    del account.variables["jupyter_password"]
    before = tree(account.home)

    play = account.setup("--check", "--diff")

    assert play.changed > 0
    assert tree(account.home) == before == {}
    assert account.pids() == {}


@pytest.mark.acceptance
def test_a_dry_run_after_setup_predicts_nothing(notebook: Account) -> None:
    before = tree(notebook.state)

    assert notebook.setup("--check", "--diff").changed == 0

    # The server notes that somebody without a login was refused, as it has to be.
    log = {"jupyter/server.log": ""}
    assert tree(notebook.state) | log == before | log


def test_a_wrong_password_is_refused_and_the_right_one_opens_jupyterlab(notebook: Account) -> None:
    visitor = Visitor(notebook.url())
    assert visitor.page("/")[1] == "/login"
    assert visitor.page("/lab")[1] == "/login"
    assert visitor.page("/api/kernels")[0] == 403

    assert not visitor.log_in("a wrong password")
    assert visitor.page("/lab")[1] == "/login"

    assert visitor.log_in(PASSWORD)
    status, path, page = visitor.page("/lab")
    assert (status, path) == (200, "/lab")
    assert "<title>JupyterLab</title>" in page


@pytest.fixture(scope="module")
def other_things(notebook: Account) -> Iterator[dict[str, Callable[[], object]]]:
    """What a person has besides: a configuration, tmux sessions, a second Jupyter."""
    config = notebook.home / ".jupyter/jupyter_server_config.py"
    config.parent.mkdir(exist_ok=True)
    config.write_text(USERS_CONFIG)
    for name in ("jupyter2", "my"):
        notebook.tmux("new-session", "-d", "-s", name, "--", "sleep", "600")
    port = free_port()
    with subprocess.Popen(
        [
            notebook.state / "jupyter/venv/bin/jupyter-server",
            f"--port={port}",
            "--no-browser",
            "--allow-root",
            f"--ServerApp.root_dir={notebook.home}",
            "--ServerApp.port_retries=0",
        ],
        env=notebook.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as second:
        runtime = notebook.home / ".local/share/jupyter/runtime"
        info = runtime / f"jpserver-{second.pid}.json"
        wait_until(info.exists)
        wait_until(lambda: {"jupyter2", "my"} <= notebook.pids().keys())
        yield {
            "config": lambda: config.read_text(),
            "sessions": lambda: {name: notebook.pids().get(name) for name in ("jupyter2", "my")},
            "second Jupyter": lambda: (second.poll(), json.loads(info.read_text())["port"]),
        }
        second.terminate()
    for name in ("jupyter2", "my"):
        notebook.tmux("kill-session", "-t", f"={name}")
    config.unlink()


@dataclass(frozen=True)
class Again:
    """Two more runs of setup, and what there was before and after each."""

    asked: Play
    nothing: Play
    pids: list[dict[str, int]]
    others: list[dict[str, object]]


@pytest.fixture(scope="module")
def again(notebook: Account, other_things: dict[str, Callable[[], object]]) -> Again:
    """Setup of a notebook without its agent and with more packages, then once more."""
    notebook.url()

    def others() -> dict[str, object]:
        return {name: look() for name, look in other_things.items()}

    pids, found = [notebook.pids()], [others()]
    end(notebook, "ngrok")
    asked = notebook.setup(**ASKED)
    pids.append(notebook.pids())
    found.append(others())
    nothing = notebook.setup(**ASKED)
    pids.append(notebook.pids())
    found.append(others())
    return Again(asked, nothing, pids, found)


def test_packages_and_kernels_asked_for_are_there(
    again: Again, notebook: Account, visitor: Visitor
) -> None:
    assert again.asked.card("Started") == "agent"
    assert again.pids[1]["jupyter"] == again.pids[0]["jupyter"]
    assert visitor.run(visitor.kernel(), "import roman; print(roman.toRoman(4))") == "IV\n"
    where = visitor.run(visitor.kernel("course"), "import six, sys; print(sys.prefix)")
    assert where == f"{notebook.state}/jupyter/kernels/course\n"
    visitor.end_kernels()


def test_setup_again_changes_nothing_and_restarts_nothing(again: Again) -> None:
    assert again.nothing.changed == 0, again.nothing.output
    assert again.nothing.card("Started") == "nothing, everything ran"
    assert again.pids[2] == again.pids[1]


def test_what_belongs_to_the_person_is_left_alone(again: Again) -> None:
    assert again.others[1] == again.others[0]
    assert again.others[2] == again.others[0]
