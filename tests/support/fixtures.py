"""Accounts of this machine with a notebook, and the service that their agents connect to."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.support import PASSWORD
from tests.support.accounts import AGENT, Account
from tests.support.breakages import mend
from tests.support.edge.client import Edge
from tests.support.ports import free_port
from tests.support.visitors import Visitor


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """The stand-in for ngrok's service that all accounts use."""
    with Edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture
def edge(service: Edge) -> Iterator[Edge]:
    """The service, for a test that makes it fail; afterwards it works again."""
    yield service
    mend(service)


@pytest.fixture(scope="session")
def new_account(
    service: Edge, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Account]]:
    """Make accounts that nothing has been set up for; what they run ends with the tests."""
    accounts: list[Account] = []

    def make() -> Account:
        home = tmp_path_factory.mktemp("account") / "home"
        home.mkdir()
        account = Account(home)
        account.variables = {
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(home / ".ansible/tmp"),
            "tmux_package_managed": False,
            "tmux_linger_enabled": False,
            "tmux_socket_name": account.socket_name,
            "jupyter_port": free_port(),
            "jupyter_python": sys.executable,
            "jupyter_password": PASSWORD,
            "ngrok_authtoken": f"token_{uuid.uuid4().hex}",
            "ngrok_executable": str(AGENT),
            "ngrok_web_addr": f"127.0.0.1:{free_port()}",
            # Whether it were on by itself depends on who else can log in here.
            "ngrok_api": False,
            "ngrok_connect_url": service.agent,
            "ngrok_connect_cas": str(service.ca),
        }
        accounts.append(account)
        return account

    yield make
    for account in accounts:
        account.stop()


@pytest.fixture
def account(new_account: Callable[[], Account]) -> Iterator[Account]:
    """An account for one test."""
    made = new_account()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def notebook(new_account: Callable[[], Account]) -> Account:
    """An account with a notebook, shared by tests that leave it working."""
    made = new_account()
    made.setup()
    return made


@pytest.fixture
def neighbour(account: Account, notebook: Account) -> Account:
    """An account for one test that uses the shared notebook's Jupyter, and installs nothing."""
    account.variables["jupyter_executable"] = str(notebook.state / "jupyter/venv/bin/jupyter")
    return account


@pytest.fixture
def visitor(notebook: Account) -> Visitor:
    """Somebody who has logged in at the shared notebook's present public URL."""
    return notebook.visitor()
