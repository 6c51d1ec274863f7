"""A setup in which all that can be chosen is chosen otherwise, and a second one."""

from __future__ import annotations

import stat
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.accounts import Account
from tests.support.leaks import environments, readable_by_others, watched_processes
from tests.support.plays import Play
from tests.support.ports import free_range
from tests.support.trees import tree
from tests.support.visitors import Visitor


@dataclass(frozen=True)
class Otherwise:
    """An account that was set up twice, and what was seen of it."""

    account: Account
    first: Play
    second: Play
    made_password: str
    password: str
    token: str
    on_command_lines: set[str]
    port: int
    environment: Path
    added: list[str]
    prefix: str
    keeper: tuple[int, str]
    # Somebody who was logged in with the first password, and has a kernel.
    visitor: Visitor


@pytest.fixture(scope="module")
def otherwise(new_account: Callable[[], Account], notebook: Account) -> Iterator[Otherwise]:
    """First without a password, then with one; the second time nobody says which ports."""
    account, environment = new_account(), notebook.state / "jupyter/venv"
    token = str(account.variables.pop("ngrok_authtoken"))
    # As ngrok's page has it for the clipboard.
    account.exported["NGROK_AUTHTOKEN"] = f"ngrok config add-authtoken {token}\n"
    for name in ("jupyter_password", "jupyter_port", "ngrok_web_addr"):
        del account.variables[name]
    account.variables["jupyter_executable"] = str(environment / "bin/jupyter")
    account.variables["jupyter_outputs_kept"] = False
    account.variables["jupyter_root_dir"] = "$HOME/../home/my documents"
    # In YAML without quotation marks it is a number.
    password = str(uuid.uuid4().int)
    before = tree(environment)
    with watched_processes([token, password]) as seen:
        with free_range(4) as (ports, port):
            first = account.setup("-vvv", "--diff", jupyter_port=ports)
        file = account.home / ".config/anywhere-notebook/localhost.password"
        made = file.read_text().strip()
        visitor = Visitor(first.url)
        assert visitor.log_in(made)
        prefix = visitor.run(visitor.kernel(), "import sys; print(sys.prefix)").strip()
        keeper = visitor.page("/api/notebook-keeper")[0], visitor.page("/lab")[2]
        # The first ports are free again. A diff could show the secret that changes.
        second = account.setup("-vvv", "--diff", jupyter_password=int(password))
    # Python compiles what it imports.
    added = [name for name in tree(environment) if name not in before and "__pycache__" not in name]
    yield Otherwise(
        account,
        first,
        second,
        made,
        password,
        token,
        seen,
        port[1],
        environment,
        added,
        prefix,
        keeper,
        visitor,
    )
    account.stop()


def test_a_jupyter_that_is_there_is_used_in_place(otherwise: Otherwise) -> None:
    assert not (otherwise.account.state / "jupyter/venv").exists()
    assert otherwise.prefix == str(otherwise.environment)
    assert otherwise.added == []


def test_notebooks_are_where_a_person_takes_them_to_be(otherwise: Otherwise) -> None:
    root = otherwise.account.home / "my documents"
    assert root.is_dir()
    log = (otherwise.account.state / "jupyter/server.log").read_text()
    assert f"Serving notebooks from local directory: {root}" in log


def test_a_password_is_made_when_none_is_given(otherwise: Otherwise) -> None:
    file = otherwise.account.home / ".config/anywhere-notebook/localhost.password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in otherwise.first.output
    assert len(otherwise.made_password) >= 20


def test_another_password_takes_its_place_at_once_and_the_kernel_lives(
    otherwise: Otherwise,
) -> None:
    assert otherwise.second.card("Started") == "nothing, everything ran"
    assert "Restart pending" not in otherwise.second.output
    assert "Whoever was logged in was logged out" in otherwise.second.output
    assert otherwise.visitor.page("/api/status")[0] == 403
    assert not Visitor(otherwise.second.url).log_in(otherwise.made_password)
    owner = Visitor(otherwise.second.url)
    assert owner.log_in(otherwise.password)
    assert len(owner.kernels()) == 1


def test_all_sessions_end_where_that_is_wanted(otherwise: Otherwise) -> None:
    owner = Visitor(otherwise.second.url)
    assert owner.log_in(otherwise.password)
    play = otherwise.account.reconnect(
        jupyter_password=otherwise.password, jupyter_end_sessions="true"
    )
    assert "Whoever was logged in was logged out" in play.output
    assert play.card("Repaired") == "nothing, everything ran"
    assert owner.page("/api/status")[0] == 403
    assert owner.log_in(otherwise.password)
    assert len(owner.kernels()) == 1


def test_the_next_port_is_taken_and_kept_where_others_have_the_first(
    otherwise: Otherwise,
) -> None:
    for play in (otherwise.first, otherwise.second):
        assert play.card("On the machine") == f"http://127.0.0.1:{otherwise.port}"
    assert otherwise.second.url == otherwise.first.url


def test_outputs_are_kept_unless_that_is_not_wanted(otherwise: Otherwise, visitor: Visitor) -> None:
    told = visitor.api("GET", "/api/notebook-keeper")
    # Another test may have wanted the machine to stay on.
    del told["kept_on"]
    assert told == {"problems": [], "deaths": {}, "sleeps_at": ""}
    assert '"disableRTC": false' in visitor.page("/lab")[2]

    status, page = otherwise.keeper
    assert status == 404
    assert '"disableRTC": true' in page
    assert '"notebookOutputLost": "jupyter_outputs_kept is false"' in page


def test_it_shows_no_secret(otherwise: Otherwise) -> None:
    account = otherwise.account
    server_token = (account.state / "jupyter/token").read_text()
    secrets = [otherwise.token, otherwise.password, otherwise.made_password, server_token]
    shown = otherwise.first.output + otherwise.second.output + environments(account)

    assert otherwise.on_command_lines == set()
    assert [secret for secret in secrets if secret in shown] == []
    assert readable_by_others(account, secrets) == []
