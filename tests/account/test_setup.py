"""What setup does to an account, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.accounts import PASSWORD, Account
from tests.support.edge.client import fetch
from tests.support.ports import free_port, free_range
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

USERS_CONFIG = "c.ServerApp.port = 1234\nc.ServerApp.terminado_settings = {}\n"


def tree(directory: Path) -> dict[str, str]:
    """Every file below a directory with a digest; without Ansible's own and the agent's log."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "directory"
        for path in sorted(directory.rglob("*"))
        if ".ansible" not in path.relative_to(directory).parts and path.name != "agent.log"
    }


def test_a_dry_run_on_an_untouched_account_changes_nothing(account: Account) -> None:
    del account.variables["jupyter_password"]
    before = tree(account.home)

    play = account.setup("--check", "--diff")

    assert play.changed > 0
    assert tree(account.home) == before == {}
    assert account.pids() == {}


def test_setup_again_changes_nothing_and_restarts_nothing(notebook: Account) -> None:
    before = notebook.pids()

    play = notebook.setup()

    assert play.changed == 0, play.output
    assert notebook.pids() == before
    assert play.card("Started") == "nothing, everything ran"


def test_a_dry_run_after_setup_predicts_nothing(notebook: Account) -> None:
    before = tree(notebook.state)

    assert notebook.setup("--check", "--diff").changed == 0

    assert tree(notebook.state) == before


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


def test_outputs_are_kept_unless_that_is_not_wanted(
    notebook: Account, visitor: Visitor, neighbour: Account
) -> None:
    told = visitor.api("GET", "/api/notebook-keeper")
    # Another test may have wanted the machine to stay on.
    del told["kept_on"]
    assert told == {"problems": [], "deaths": {}, "sleeps_at": ""}
    assert '"disableRTC": false' in visitor.page("/lab")[2]

    plain = Visitor(neighbour.setup("-e", "jupyter_outputs_kept=false").url)

    plain.log_in(PASSWORD)
    assert plain.page("/api/notebook-keeper")[0] == 404
    assert '"disableRTC": true' in plain.page("/lab")[2]


def test_a_cell_is_executed_through_edge_and_agent(visitor: Visitor) -> None:
    assert visitor.run(visitor.kernel(), "print(6 * 7)") == "42\n"


def test_the_card_says_all_a_person_needs(notebook: Account, visitor: Visitor) -> None:
    kernel = visitor.kernel()
    visitor.run(kernel, "pass")

    play = notebook.reconnect()

    port = notebook.variables["jupyter_port"]
    assert play.card("On the machine") == f"http://127.0.0.1:{port}"
    assert play.card("Password") == "the one in jupyter_password"
    assert int(play.card("Kernels alive")) == len(visitor.kernels())
    assert ".ipynb: python3, idle" in play.output
    assert play.card("Repaired") == "nothing, everything ran"
    assert "the same URL as before" in play.card("Notebook")
    socket = notebook.variables["tmux_socket_name"]
    assert f"tmux -L {socket} attach -t jupyter" in play.output
    assert play.card("Without tunnel").startswith(f"ssh -N -L {port}:127.0.0.1:{port} ")


def test_a_password_is_made_when_none_is_given(neighbour: Account) -> None:
    account = neighbour
    del account.variables["jupyter_password"]

    play = account.setup()

    file = account.home / ".config/anywhere-notebook/localhost.password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in play.output
    password = file.read_text().strip()
    assert len(password) >= 20
    assert password not in play.output
    assert Visitor(play.url).log_in(password)
    assert account.setup().changed == 0


def test_an_inventory_and_notebook_hosts_choose_the_machine(
    notebook: Account, tmp_path: Path
) -> None:
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        "[lab]\nchosen ansible_connection=local ansible_user=ada\n"
        "[other]\nelsewhere ansible_host=192.0.2.1\n"
    )

    play = notebook.reconnect("-i", str(inventory), notebook_hosts="lab")

    # Only the page for a bookmark of this name is new.
    assert play.changed == 1, play.output
    assert "chosen.html" in play.output
    assert "ada@" in play.card("Without tunnel")
    assert "elsewhere" not in play.output


def test_packages_and_kernels_asked_for_are_there(notebook: Account, visitor: Visitor) -> None:
    server = notebook.pids()["jupyter"]
    course = {"name": "course", "packages": ["six==1.17.0", "idna<4"]}
    asked = {"jupyter_packages": ["roman"], "jupyter_kernels": [course]}

    assert notebook.setup(**asked).changed == 1

    assert visitor.run(visitor.kernel(), "import roman; print(roman.toRoman(4))") == "IV\n"
    where = visitor.run(visitor.kernel("course"), "import six, sys; print(sys.prefix)")
    assert where == f"{notebook.state}/jupyter/kernels/course\n"
    assert notebook.setup(**asked).changed == 0
    assert notebook.pids()["jupyter"] == server


def test_a_jupyter_that_is_there_is_used_in_place(notebook: Account, account: Account) -> None:
    environment = notebook.state / "jupyter/venv"
    before = tree(environment)

    url = account.setup(jupyter_executable=str(environment / "bin/jupyter")).url

    assert not (account.state / "jupyter/venv").exists()
    visitor = Visitor(url)
    assert visitor.log_in(PASSWORD)
    assert visitor.run(visitor.kernel(), "import sys; print(sys.prefix)") == f"{environment}\n"
    # Python compiles what it imports; nothing else appears in somebody's environment.
    assert [
        name for name in tree(environment) if name not in before and "__pycache__" not in name
    ] == []


def test_the_next_ports_are_taken_and_kept_where_others_have_the_first(neighbour: Account) -> None:
    account = neighbour
    with free_range(4) as (jupyter_ports, first), free_range(4) as (agent_ports, second):
        given = {"jupyter_port": jupyter_ports, "ngrok_web_addr": f"127.0.0.1:{agent_ports}"}
        account.variables |= given

        url = account.setup().url
    # The first ones are free again, and nobody says which ones were taken.
    assert account.setup().changed == 0
    del account.variables["jupyter_port"], account.variables["ngrok_web_addr"]
    play = account.reconnect()
    assert (play.changed, play.url) == (0, url)
    assert play.card("On the machine") == f"http://127.0.0.1:{first[1]}"
    assert fetch(f"http://127.0.0.1:{second[1]}", "/api/tunnels").status == 200


@pytest.fixture
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


def test_what_belongs_to_the_person_is_left_alone(
    notebook: Account, other_things: dict[str, Callable[[], object]]
) -> None:
    before = {name: look() for name, look in other_things.items()}

    notebook.tmux("kill-session", "-t", "=ngrok")
    notebook.reconnect()
    notebook.setup()

    assert {name: look() for name, look in other_things.items()} == before
