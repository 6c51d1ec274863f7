"""Bad input gives one clear sentence, a non-zero exit, and nothing half-done."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.accounts import AGENT, Account, disk
from tests.support.edge.client import Edge, fetch
from tests.support.plays import Play, errors, refused
from tests.support.ports import free_port

NGROK_ALONE = """
- hosts: all
  gather_facts: false
  roles:
    - anywhere.notebook.ngrok
"""


@pytest.fixture(scope="module")
def taken() -> Iterator[socket.socket]:
    """A port of loopback on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture(scope="module")
def agent_account(new_account: Callable[[], Account]) -> Account:
    """An account that uses the role ngrok alone, in a play of its own."""
    account = new_account()
    (account.home / "play.yml").write_text(NGROK_ALONE)
    return account


def assert_untouched(account: Account) -> None:
    """Nothing was installed, configured or started."""
    assert not account.state.exists()
    assert account.pids() == {}


@dataclass(frozen=True)
class Refusals:
    """What a setup of many hosts said, of which each was given something bad."""

    account: Account
    play: Play
    errors: dict[str, str]


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A directory on a disk of its own with room for 20 MB; None where only root can make one."""
    directory = tmp_path_factory.mktemp("disk")
    with disk(directory, 20) as mounted:
        yield directory if mounted else None


@pytest.fixture(scope="module")
def refusals(
    new_account: Callable[[], Account], taken: socket.socket, small_disk: Path | None
) -> Refusals:
    """One run for all: each host is this machine, and is named after what is bad about it."""
    port = taken.getsockname()[1]
    given = {
        "no-authtoken": {"ngrok_authtoken": ""},
        "short-password": {"jupyter_password": "s3cr-7x"},
        "no-agent": {"ngrok_executable": "/bin/true"},
        "nothing-there": {"ngrok_executable": "/nowhere/ngrok"},
        "no-jupyter": {"jupyter_executable": "/bin/true"},
        "no-python": {"jupyter_python": "/bin/false"},
        "small-disk": {"jupyter_base_dir": f"{small_disk}/not yet/there"},
        "jupyter-port": {"jupyter_port": port},
        "agent-port": {"ngrok_web_addr": f"127.0.0.1:{port}"},
        "no-range": {"jupyter_port": "8987-8888"},
        "odd-kernel": {"jupyter_kernels": [{"name": "course"}, {"name": "../course"}]},
        "two-wishes": {"jupyter_executable": "/bin/true", "jupyter_packages": ["pandas"]},
    }
    if small_disk is None:
        del given["small-disk"]
    account = new_account()
    here = account.variables | {"ansible_connection": "local"}
    inventory, report = account.home.parent / "hosts.json", account.home.parent / "report.json"
    inventory.write_text(json.dumps({"all": {"vars": here, "hosts": given}}))
    # Given besides, they would outrank those of the hosts.
    account.variables = {"notebook_report": str(report)}
    play = account.play("anywhere.notebook.setup", "-i", str(inventory))
    return Refusals(
        account, play, {row["host"]: row["error"] for row in json.loads(report.read_text())}
    )


@pytest.mark.parametrize(
    ("host", "sentences"),
    [
        ("no-authtoken", ["There is no authtoken (ngrok would say ERR_NGROK_4018)"]),
        ("short-password", ["jupyter_password is too short", "8 characters or more"]),
        ("no-agent", ["/bin/true on no-agent is no ngrok agent"]),
        ("nothing-there", ["/nowhere/ngrok on nothing-there is no ngrok agent"]),
        ("no-jupyter", ["/bin/true on no-jupyter is no Jupyter with JupyterLab"]),
        ("no-python", ["/bin/false on no-python cannot make an environment for Jupyter"]),
        ("odd-kernel", ["A name in jupyter_kernels is not made of letters", "../course"]),
        ("two-wishes", ["Nothing is installed into the Jupyter that jupyter_executable names"]),
        ("no-range", ["'127.0.0.1:8987-8888' is not an address of the form host:port"]),
    ],
)
def test_what_is_bad_is_told(refusals: Refusals, host: str, sentences: list[str]) -> None:
    assert [said for said in sentences if said not in refusals.errors[host]] == []


def test_a_disk_without_room_for_jupyter(refusals: Refusals, small_disk: Path | None) -> None:
    if small_disk is None:
        pytest.skip("only root can make a disk")
    sentence = refusals.errors["small-disk"]
    there = f"{small_disk}/not yet/there"
    assert f"The disk of small-disk is full: 20 MB are left for {there}" in sentence
    assert "name another directory with jupyter_base_dir" in sentence
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("host", ["jupyter-port", "agent-port"])
def test_a_port_that_is_taken(refusals: Refusals, taken: socket.socket, host: str) -> None:
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    program = Path("/proc/self/comm").read_text().strip()
    assert f"{address} is taken by {program} (process {os.getpid()}, " in refusals.errors[host]


def test_nothing_was_done_no_secret_shown_and_each_host_has_its_one_sentence(
    refusals: Refusals,
) -> None:
    output = refusals.play.output
    assert refusals.play.status != 0
    # The same sentence for two hosts is printed once.
    assert len(errors(refusals.play)) == len(set(refusals.errors.values()))
    assert "Traceback" not in output
    assert "s3cr-7x" not in output
    assert_untouched(refusals.account)


def test_the_same_domain_for_two_hosts(account: Account, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        "[all:vars]\nansible_connection=local\n"
        "[all]\none ngrok_url=https://example.ngrok.app\ntwo ngrok_url=example.ngrok.app/\nthree\n"
    )

    play = account.play("anywhere.notebook.setup", "-i", str(inventory))

    sentence = refused(play)
    assert "have the same ngrok_url (example.ngrok.app)" in sentence
    assert "Give each host a domain of its own" in sentence
    assert_untouched(account)


def test_an_architecture_without_an_archive(account: Account) -> None:
    playbook = account.home / "play.yml"
    playbook.write_text(
        """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact:
        architecture: riscv64
        cacheable: true
    - ansible.builtin.import_role:
        name: anywhere.notebook.ngrok
"""
    )

    play = account.play(playbook, ngrok_executable="")

    sentence = refused(play)
    assert "no pinned ngrok agent 3.39.9 for the architecture riscv64" in sentence
    assert "ngrok_executable" in sentence
    assert_untouched(account)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of the agent as ngrok packs it: a .zip with the file ngrok."""
    path = tmp_path_factory.mktemp("release") / "ngrok-v2.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.write(AGENT, "ngrok")
    return path


def test_a_checksum_that_does_not_match(agent_account: Account, archive: Path) -> None:
    play = agent_account.play(
        agent_account.home / "play.yml",
        ngrok_executable="",
        ngrok_archive_url=archive.as_uri(),
        ngrok_archive_checksum=f"sha256:{'0' * 64}",
    )

    assert "checksum" in refused(play)
    assert [path.name for path in (agent_account.state / "ngrok").iterdir()] == []
    assert agent_account.pids() == {}


def test_an_archive_with_the_right_checksum_is_installed(account: Account, archive: Path) -> None:
    (account.home / "play.yml").write_text(NGROK_ALONE)
    given = {
        "ngrok_executable": "",
        "ngrok_archive_url": archive.as_uri(),
        "ngrok_archive_checksum": "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest(),
    }

    assert account.play(account.home / "play.yml", **given).status == 0

    again = account.play(account.home / "play.yml", **given)
    assert (again.status, again.changed) == (0, 0)
    command = Path(f"/proc/{account.pids()['ngrok']}/exe").resolve()
    assert command.is_relative_to(account.state / "ngrok")


@pytest.mark.parametrize(
    ("code", "meaning", "remedy"),
    [
        pytest.param("107", "not valid (any more)", "copy the present one", id="107"),
        pytest.param("108", "as many agents as its plan allows", "Stop one", id="108"),
    ],
)
def test_the_service_refuses_the_account(
    agent_account: Account, edge: Edge, code: str, meaning: str, remedy: str
) -> None:
    edge.fault(auth_error=f"ERR_NGROK_{code}")

    play = agent_account.play(agent_account.home / "play.yml", "-vvv")

    sentence = refused(play)
    assert f"ngrok refused with ERR_NGROK_{code}" in sentence
    assert meaning in sentence
    assert remedy in sentence
    assert str(agent_account.variables["ngrok_authtoken"]) not in play.output
    assert "ngrok" not in agent_account.pids()


def test_the_service_refuses_the_endpoint(agent_account: Account, edge: Edge) -> None:
    edge.fault(bind_error="ERR_NGROK_334")

    play = agent_account.play(agent_account.home / "play.yml")

    sentence = refused(play)
    assert "ERR_NGROK_334: an endpoint with this URL is already online" in sentence
    assert "Stop the agent that holds it" in sentence


def test_once_the_service_accepts_the_same_command_succeeds(agent_account: Account) -> None:
    assert agent_account.play(agent_account.home / "play.yml").status == 0


def test_a_service_that_cannot_be_reached_leaves_jupyter_running(
    notebook: Account, edge: Edge
) -> None:
    server = notebook.pids()["jupyter"]
    notebook.tmux("kill-session", "-t", "=ngrok")
    edge.fault(unreachable=True)

    play = notebook.play("anywhere.notebook.reconnect", ngrok_timeout=3)

    sentence = refused(play)
    assert "not online after 3 s" in sentence
    assert "cannot reach ngrok's service" in sentence
    assert notebook.pids()["jupyter"] == server
    port = notebook.variables["jupyter_port"]
    assert fetch(f"http://localhost:{port}", "/api").status == 200


@pytest.fixture
def nowhere(notebook: Account) -> Iterator[str]:
    """Where nobody listens, and where the agent forwards to until the test has ended."""
    play = notebook.home / "ngrok.yml"
    play.write_text(NGROK_ALONE)
    url = f"http://127.0.0.1:{free_port()}"
    notebook.play(play, ngrok_upstream_url=url)
    yield url
    there = f"http://127.0.0.1:{notebook.variables['jupyter_port']}"
    assert notebook.play(play, ngrok_upstream_url=there).status == 0
    # The role knows nothing of what the playbooks keep on the controller.
    notebook.reconnect()


def test_a_url_that_leads_nowhere_is_not_printed(notebook: Account, nowhere: str) -> None:
    server = notebook.pids()["jupyter"]

    play = notebook.play("anywhere.notebook.reconnect", ngrok_timeout=3)

    sentence = refused(play)
    assert "the notebook cannot be reached" in sentence
    assert f"The agent forwards to {nowhere}: run setup." in sentence
    assert "ERR_NGROK_8012" in sentence
    assert "Show the card" not in play.output
    assert notebook.pids()["jupyter"] == server
