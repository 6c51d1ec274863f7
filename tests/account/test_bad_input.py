"""Bad input gives one clear sentence, a non-zero exit, and nothing half-done."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.accounts import Account, disk
from tests.support.plays import Play, errors, refused


@pytest.fixture(scope="module")
def taken() -> Iterator[socket.socket]:
    """A port of loopback on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


COMMON = "1qaz2wsx3edc"

# A Python of a machine whose index of packages is out of reach.
FAR = """\
#!/bin/sh
export PIP_CONFIG_FILE=/dev/null PIP_INDEX_URL={index}
export PIP_FIND_LINKS= PIP_EXTRA_INDEX_URL= PIP_NO_INDEX=
exec {python} "$@"
"""


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
def closed_address() -> str:
    """An address of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A directory on a disk of its own with room for 20 MB; None where only root can make one."""
    directory = tmp_path_factory.mktemp("disk")
    with disk(directory, 20) as mounted:
        yield directory if mounted else None


@pytest.fixture(scope="module")
def refusals(
    new_account: Callable[[], Account],
    taken: socket.socket,
    small_disk: Path | None,
    closed_address: str,
    request: pytest.FixtureRequest,
) -> Refusals:
    """One run for all: each host is this machine, and is named after what is bad about it.

    Only those that a chosen test looks at.
    """
    port = taken.getsockname()[1]
    account = new_account()
    weak, empty = account.home.parent / "weak", account.home.parent / "empty"
    weak.write_text(f"{COMMON}\n")
    empty.touch()
    far = account.home.parent / "python"
    far.write_text(FAR.format(index=f"http://{closed_address}/simple", python=sys.executable))
    far.chmod(0o700)
    theirs = account.home.parent / "theirs"
    theirs.mkdir()
    (theirs / "thesis.ipynb").touch()
    given: dict[str, dict[str, object]] = {
        "no-authtoken": {"ngrok_authtoken": ""},
        "short-password": {"jupyter_password": "s3cr-7x"},
        "common-password": {"jupyter_password": COMMON},
        "own-name": {"jupyter_password": "own-name"},
        "true-password": {"jupyter_password": True},
        "two-domains": {"ngrok_url": ["example.ngrok.app"]},
        "pasted-directory": {"jupyter_root_dir": "~/work\u200b"},
        "weak-file": {"notebook_password_file": str(weak)},
        "empty-file": {"notebook_password_file": str(empty)},
        "odd-hash": {"jupyter_password_hash": "nonsense:..."},
        "no-checksum": {"ngrok_executable": "", "ngrok_archive_checksum": ""},
        "other-checksum": {
            "ngrok_executable": "",
            "ngrok_archive_checksum": "md5:d41d8cd98f00b204e9800998ecf8427e",
        },
        "odd-policy": {"ngrok_traffic_policy": {"inbound": []}},
        "odd-email": {"ngrok_allowed_emails": ["me"]},
        "no-agent": {"ngrok_executable": "/bin/true"},
        "nothing-there": {"ngrok_executable": "/nowhere/ngrok"},
        "no-jupyter": {"jupyter_executable": "/bin/true"},
        "no-python": {"jupyter_python": "/bin/false"},
        "small-disk": {"jupyter_base_dir": f"{small_disk}/not yet/there"},
        "no-index": {"jupyter_python": str(far)},
        "no-way": {
            "ngrok_executable": "",
            "ngrok_archive_url": f"http://me:s3cr-7x@{closed_address}/ngrok.zip",
        },
        "no-name": {"ngrok_executable": "", "ngrok_archive_url": "https://ngrok.invalid/a.zip"},
        "no-file": {"ngrok_executable": "", "ngrok_archive_url": "file:///nowhere/a.zip"},
        "jupyter-port": {"jupyter_port": port},
        "odd-api": {"ngrok_api": "maybe"},
        "no-range": {"jupyter_port": "8987-8888"},
        "no-directory": {"jupyter_root_dir": "/etc/hostname"},
        "own-files": {"jupyter_root_dir": ".local/share/anywhere-notebook/jupyter/documents"},
        "their-files": {"jupyter_base_dir": str(theirs)},
        "no-variable": {"jupyter_root_dir": "$NOWHERE_AT_ALL/work"},
        "odd-kernel": {"jupyter_kernels": [{"name": "course"}, {"name": "../course"}]},
        "no-webhook": {"notebook_cell_minutes": 10},
        "odd-variable": {"jupyter_environment": {"JUPYTER_TOKEN": "s3cr-7x", "A": "s3cr-7x"}},
        "two-wishes": {"jupyter_executable": "/bin/true", "jupyter_packages": ["pandas"]},
    }
    if small_disk is None:
        del given["small-disk"]
    told = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = {spec.params.get("host") for spec in told if spec} | {"small-disk", "jupyter-port"}
    given = {host: bad for host, bad in given.items() if host in chosen}
    here = account.variables | {"ansible_connection": "local"}
    password = {"jupyter_password": here.pop("jupyter_password")}
    for host in given.keys() - {"weak-file", "empty-file", "odd-hash"}:
        given[host] = password | given[host]
    inventory, report = account.home.parent / "hosts.json", account.home.parent / "report.json"
    inventory.write_text(json.dumps({"all": {"vars": here, "hosts": given}}))
    # Given besides, they would outrank those of the hosts.
    account.variables = {"notebook_report": str(report)}
    play = account.play("anywhere.notebook.setup", "-i", str(inventory))
    return Refusals(
        account, play, {row["host"]: row["error"] for row in json.loads(report.read_text())}
    )


WAYS = ["Nothing was installed.", "https_proxy", "jupyter_executable"]
REMEDIES = ["Nothing was installed.", "https_proxy", "ngrok_archive_url", "ngrok_executable"]


# What is proven in tables; that they are wired, the others show.
MORE = pytest.mark.acceptance


@pytest.mark.parametrize(
    ("host", "sentences"),
    [
        ("no-authtoken", ["There is no authtoken (ngrok would say ERR_NGROK_4018)"]),
        ("short-password", ["jupyter_password is too short", "8 characters or more"]),
        ("common-password", ["jupyter_password is among the 20,000 most common ones"]),
        pytest.param("own-name", ["jupyter_password is the name of the host"], marks=MORE),
        (
            "true-password",
            ["jupyter_password is true or false, but has to be a text in quotation marks"],
        ),
        pytest.param(
            "two-domains",
            ["ngrok_url is a list, but has to be a text: Reserved or dev domain"],
            marks=MORE,
        ),
        pytest.param(
            "pasted-directory",
            ["jupyter_root_dir holds a sign that cannot be seen (U+200B)"],
            marks=MORE,
        ),
        ("weak-file", ["/weak is among the 20,000 most common ones", "or remove the file"]),
        pytest.param("empty-file", ["/empty is too short"], marks=MORE),
        ("odd-hash", ["jupyter_password_hash is no hash as Jupyter makes it"]),
        ("no-checksum", ["ngrok_archive_checksum is empty, but has to be a text, or left out"]),
        pytest.param(
            "other-checksum",
            ["ngrok_archive_checksum is not of the form sha256:DIGEST"],
            marks=MORE,
        ),
        ("odd-policy", ["ngrok_traffic_policy: inbound is no phase"]),
        pytest.param("odd-email", ["ngrok_allowed_emails: me is no e-mail address"], marks=MORE),
        ("no-agent", ["/bin/true on no-agent is no ngrok agent"]),
        ("nothing-there", ["/nowhere/ngrok on nothing-there is no ngrok agent"]),
        ("no-jupyter", ["/bin/true on no-jupyter is no Jupyter with JupyterLab"]),
        ("no-python", ["/bin/false on no-python cannot make an environment for Jupyter"]),
        ("no-index", ["Jupyter's packages cannot be fetched to no-index from 127.0.0.1:", *WAYS]),
        ("no-way", ["cannot be fetched to no-way from 127.0.0.1: Connection refused", *REMEDIES]),
        pytest.param(
            "no-name", ["cannot be fetched to no-name from ngrok.invalid: ", *REMEDIES], marks=MORE
        ),
        pytest.param(
            "no-file",
            ["from file:///nowhere/a.zip: No such file or directory", *REMEDIES],
            marks=MORE,
        ),
        ("odd-kernel", ["A name in jupyter_kernels is not made of letters", "../course"]),
        pytest.param(
            "no-webhook",
            ["With notebook_cell_minutes (jupyter_cell_minutes), a webhook has to be"],
            marks=MORE,
        ),
        ("odd-variable", ["In jupyter_environment JUPYTER_TOKEN would change what the server"]),
        ("two-wishes", ["Nothing is installed into the Jupyter that jupyter_executable names"]),
        ("no-directory", ["The notebooks' directory /etc/hostname is not a directory."]),
        ("own-files", ["/jupyter/documents is in ", "this collection keeps its own files"]),
        pytest.param("their-files", ["has something else already (thesis.ipynb)"], marks=MORE),
        pytest.param(
            "no-variable", ["there is no variable of this account $NOWHERE_AT_ALL."], marks=MORE
        ),
        ("odd-api", ["ngrok_api is auto, true or false."]),
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


def test_a_port_that_is_taken(refusals: Refusals, taken: socket.socket) -> None:
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    program = Path("/proc/self/comm").read_text().strip()
    assert (
        f"{address} is taken by {program} (process {os.getpid()}, "
        in refusals.errors["jupyter-port"]
    )


def test_nothing_was_done_no_secret_shown_and_each_host_has_its_one_sentence(
    refusals: Refusals,
) -> None:
    output = refusals.play.output
    assert refusals.play.status != 0
    # The same sentence for two hosts is printed once.
    assert len(errors(refusals.play)) == len(set(refusals.errors.values()))
    assert "Traceback" not in output
    assert [word for word in ("s3cr-7x", COMMON) if word in output] == []
    assert_untouched(refusals.account)


@pytest.mark.parametrize(
    ("playbook", "says"),
    [
        ("reconnect", "[ERROR]: Task failed: Module failed: {nothing} Run setup: {command}"),
        pytest.param("status", "{nothing} Run setup: {command}", marks=pytest.mark.acceptance),
        pytest.param("stop", "{nothing} There is nothing to stop.", marks=pytest.mark.acceptance),
        pytest.param("remove", "{nothing}", marks=pytest.mark.acceptance),
    ],
)
def test_where_nothing_was_set_up_it_is_said_so(account: Account, playbook: str, says: str) -> None:
    play = account.play(f"anywhere.notebook.{playbook}")

    nothing = f"Nothing is set up for {getpass.getuser()} on localhost."
    command = "ansible-playbook -i localhost, -c local anywhere.notebook.setup"
    assert says.format(nothing=nothing, command=command) in " ".join(play.output.split())
    assert (play.status != 0) is (playbook == "reconnect")
    assert_untouched(account)


@pytest.mark.acceptance
def test_nor_is_anything_started_in_a_dry_run(account: Account) -> None:
    assert "Nothing is set up for" in refused(
        account.play("anywhere.notebook.reconnect", "--check")
    )


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
    assert re.search(r"no pinned ngrok agent 3\S+ for the architecture riscv64", sentence)
    assert "ngrok_executable" in sentence
    assert_untouched(account)
