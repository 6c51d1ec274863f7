"""What setup does to an account, and what it leaves alone."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support import PASSWORD
from tests.support.accounts import Account
from tests.support.breakages import end
from tests.support.plays import Play
from tests.support.ports import free_port
from tests.support.processes import debuggers
from tests.support.trees import tree
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

USERS_CONFIG = "c.ServerApp.port = 1234\nc.ServerApp.terminado_settings = {}\n"
ASKED = {
    "jupyter_packages": ["roman"],
    "jupyter_kernels": [{"name": "course", "packages": ["six==1.17.0", "idna<4"]}],
    "notebook_cell_minutes": 600,
    "notebook_cell_webhook": "https://hooks.example.org/s3cret",
}


def test_a_dry_run_on_an_untouched_account_changes_nothing(account: Account) -> None:
    del account.variables["jupyter_password"]
    before = tree(account.home)

    play = account.setup("--check", "--diff")

    assert play.changed > 0
    assert play.card("Would start") == "Jupyter server, ngrok agent"
    assert "Started:" not in play.output
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
    # What the page needs to say which machine this is: account, host, and whether output is kept.
    found = re.search(r'<script id="jupyter-config-data" type="application/json">\s*(.+)', page)
    assert found
    told = json.JSONDecoder().raw_decode(found[1])[0]
    account = pwd.getpwuid(os.geteuid()).pw_name
    assert told["notebookMachine"] == f"{account}@{socket.gethostname()}"
    assert told["notebookOutputLost"] == ""
    assert "notebook-guard" in [extension["name"] for extension in told["federated_extensions"]]
    status, _, script = visitor.page("/lab/extensions/notebook-guard/static/remoteEntry.js")
    assert (status, "notebookMachine" in script) == (200, True)


@pytest.fixture
def own_choice(notebook: Account) -> Iterator[None]:
    """What a person chooses is gone afterwards."""
    yield
    shutil.rmtree(notebook.home / ".jupyter/lab/user-settings/@jupyterlab", ignore_errors=True)


@pytest.mark.usefixtures("own_choice")
def test_jupyterlab_fetches_no_news_until_the_person_wants_it(notebook: Account) -> None:
    visitor = notebook.visitor()
    path = "/lab/api/settings/@jupyterlab/apputils-extension:notification"

    found = visitor.api("GET", path)
    options = found["schema"]["properties"]
    # "none" would ask.
    assert options["fetchNews"]["default"] == "false"
    assert options["checkForUpdates"]["default"] is False
    assert found["settings"] == {}

    # JupyterLab gives what is chosen the precedence over what is the default.
    chosen = {"fetchNews": "true", "checkForUpdates": True}
    visitor.api("PUT", path, {"raw": json.dumps(chosen)})
    assert visitor.api("GET", path)["settings"] == chosen


def test_no_page_has_a_debugger_and_no_front_end_gets_one(notebook: Account) -> None:
    visitor = Visitor(notebook.url())
    assert visitor.log_in(PASSWORD)
    kernel = visitor.kernel()

    for page in ("/lab", "/tree"):
        assert "@jupyterlab/debugger-extension" in visitor.disabled_extensions(page)
    assert not visitor.debug(kernel)
    assert debuggers(notebook.home) == []
    visitor.end_kernels()


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
    hashes: list[bytes]


@pytest.fixture(scope="module")
def again(notebook: Account, other_things: dict[str, Callable[[], object]]) -> Again:
    """Setup of a notebook without its agent and with more packages, then once more.

    First from a computer that calls the host otherwise, and has not the password but settings of
    its own.
    """
    notebook.url()
    file, settings = notebook.state / "jupyter/password_hash", notebook.home / "ansible.cfg"
    hashes = [file.read_bytes()]
    password = notebook.variables.pop("jupyter_password")
    settings.write_text("[defaults]\nansible_managed = By {uid} of {host}, from {file}\n")

    def others() -> dict[str, object]:
        return {name: look() for name, look in other_things.items()}

    pids, found = [notebook.pids()], [others()]
    end(notebook, "ngrok")
    try:
        asked = notebook.setup("-vvv", "--diff", "-i", "elsewhere,", "-c", "local", **ASKED)
    finally:
        notebook.variables["jupyter_password"] = password
        settings.unlink()
    pids.append(notebook.pids())
    found.append(others())
    hashes.append(file.read_bytes())
    nothing = notebook.setup("-i", "elsewhere,", "-c", "local", **ASKED)
    pids.append(notebook.pids())
    found.append(others())
    hashes.append(file.read_bytes())
    return Again(asked, nothing, pids, found, hashes)


def test_packages_and_kernels_asked_for_are_there(
    again: Again, notebook: Account, visitor: Visitor
) -> None:
    assert again.asked.card("Started") == "ngrok agent"
    assert again.pids[1]["jupyter"] == again.pids[0]["jupyter"]
    assert visitor.run(visitor.kernel(), "import roman; print(roman.toRoman(4))") == "IV\n"
    where = visitor.run(visitor.kernel("course"), "import six, sys; print(sys.prefix)")
    assert where == f"{notebook.state}/jupyter/kernels/course\n"
    visitor.end_kernels()


def test_a_webhook_for_long_cells_is_in_a_file_for_its_owner_and_takes_no_restart(
    again: Again, notebook: Account
) -> None:
    file = notebook.state / "jupyter/cell_webhook.json"
    assert json.loads(file.read_text()) == {
        "url": ASKED["notebook_cell_webhook"],
        "minutes": 600,
        "host": "elsewhere",
        "public_url_file": "~/.local/share/anywhere-notebook/ngrok/url",
    }
    assert file.stat().st_mode & 0o777 == 0o600
    config = (notebook.state / "jupyter/jupyter_server_config.py").read_text()
    assert 'webhook_file = str(base / "cell_webhook.json")' in config
    assert "s3cret" not in config + again.asked.output + again.nothing.output
    assert "Restart pending" not in again.asked.output


def test_another_computer_and_another_name_change_no_password(
    again: Again, notebook: Account
) -> None:
    assert len(set(again.hashes)) == 1
    assert [*notebook.home.rglob("*.password")] == []
    assert "the one given at setup, which this computer does not know" in again.asked.output
    assert "Restart pending" not in again.asked.output


def test_setup_again_changes_nothing_and_restarts_nothing(again: Again) -> None:
    assert again.nothing.changed == 0, again.nothing.output
    assert again.nothing.card("Started") == "nothing, everything ran"
    assert again.pids[2] == again.pids[1]


def test_what_belongs_to_the_person_is_left_alone(again: Again) -> None:
    assert again.others[1] == again.others[0]
    assert again.others[2] == again.others[0]
