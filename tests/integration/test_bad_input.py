"""Bad input gives one clear sentence, a non-zero exit, and nothing half-done."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.edge.client import Edge, fetch
from tests.integration.conftest import AGENT, PASSWORD, Account, free_port, refused
from tests.integration.visitor import Visitor

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
NGROK_ALONE = """
- hosts: all
  gather_facts: false
  roles:
    - anywhere.notebook.ngrok
"""


@pytest.fixture
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


def test_no_authtoken(account: Account) -> None:
    play = account.play("anywhere.notebook.setup", ngrok_authtoken="")

    assert "There is no authtoken (ngrok would say ERR_NGROK_4018)" in refused(play)
    assert_untouched(account)


def test_a_password_that_is_too_short(account: Account) -> None:
    play = account.play("anywhere.notebook.setup", jupyter_password="s3cr-7x")

    sentence = refused(play)
    assert "jupyter_password is too short" in sentence
    assert "8 characters or more" in sentence
    assert "s3cr-7x" not in play.output
    assert_untouched(account)


def test_an_executable_that_is_no_agent(account: Account) -> None:
    play = account.play("anywhere.notebook.setup", ngrok_executable="/bin/true")

    assert "/bin/true on localhost is no ngrok agent" in refused(play)
    assert_untouched(account)


def test_an_executable_that_does_not_exist(account: Account) -> None:
    play = account.play("anywhere.notebook.setup", ngrok_executable="/nowhere/ngrok")

    assert "/nowhere/ngrok on localhost is no ngrok agent" in refused(play)
    assert_untouched(account)


def test_a_jupyter_that_is_none(account: Account) -> None:
    play = account.play("anywhere.notebook.setup", jupyter_executable="/bin/true")

    assert "/bin/true on localhost is no Jupyter with JupyterLab" in refused(play)
    assert_untouched(account)


def test_a_python_that_cannot_make_an_environment(account: Account) -> None:
    play = account.play("anywhere.notebook.setup", jupyter_python="/bin/false")

    assert "/bin/false on localhost cannot make an environment for Jupyter" in refused(play)
    assert_untouched(account)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of its own with room for 20 MB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size=20m,uid={os.getuid()}", "tmpfs"]
    mounted = subprocess.run([*AS_ROOT, *mount, directory], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root can make a disk")
    yield directory
    subprocess.run([*AS_ROOT, "umount", directory], check=True)


def test_a_disk_without_room_for_jupyter(account: Account, small_disk: Path) -> None:
    base = small_disk / "not yet/there"

    play = account.play("anywhere.notebook.setup", jupyter_base_dir=str(base))

    sentence = refused(play)
    assert f"The disk of localhost is full: 20 MB are left for {base}" in sentence
    assert "name another directory with jupyter_base_dir" in sentence
    assert list(small_disk.iterdir()) == []
    assert_untouched(account)


@pytest.mark.parametrize("variable", ["jupyter_port", "ngrok_web_addr"])
def test_a_port_that_is_taken(account: Account, taken: socket.socket, variable: str) -> None:
    port = taken.getsockname()[1]
    value = port if variable == "jupyter_port" else f"127.0.0.1:{port}"

    play = account.play("anywhere.notebook.setup", **{variable: value})

    program = Path("/proc/self/comm").read_text().strip()
    assert f"127.0.0.1:{port} is taken by {program} (process {os.getpid()}, " in refused(play)
    assert_untouched(account)


def test_a_range_of_ports_that_is_none(account: Account) -> None:
    play = account.play("anywhere.notebook.setup", jupyter_port="8987-8888")

    assert "'127.0.0.1:8987-8888' is not an address of the form host:port" in refused(play)
    assert_untouched(account)


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


def test_a_url_that_leads_nowhere_is_not_printed(notebook: Account) -> None:
    server = notebook.pids()["jupyter"]
    (notebook.home / "ngrok.yml").write_text(NGROK_ALONE)
    nowhere = f"http://127.0.0.1:{free_port()}"
    notebook.play(notebook.home / "ngrok.yml", ngrok_upstream_url=nowhere)

    play = notebook.play("anywhere.notebook.reconnect", ngrok_timeout=3)

    sentence = refused(play)
    assert "the notebook cannot be reached from here" in sentence
    assert "ERR_NGROK_8012" in sentence
    assert "Show the card" not in play.output
    assert notebook.pids()["jupyter"] == server
    there = f"http://127.0.0.1:{notebook.variables['jupyter_port']}"
    notebook.play(notebook.home / "ngrok.yml", ngrok_upstream_url=there)
    assert Visitor(notebook.reconnect().url).log_in(PASSWORD)
