"""What status says of notebooks that work, that are broken, and that are not there."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support import CHECKOUT
from tests.support.accounts import PASSWORD, Account
from tests.support.breakages import (
    PAGES,
    Break,
    ended,
    endpoint_dead,
    fault,
    hung,
    killed,
    other_program,
    tmux_killed,
    tmux_suspended,
)
from tests.support.edge.client import Edge
from tests.support.ports import free_port
from tests.support.visitors import Visitor

STATUS = "anywhere.notebook.status"
SCHEMA = json.loads((CHECKOUT / "playbooks/status.schema.json").read_text())


def read(text: str) -> list[dict[str, Any]]:
    """The hosts of a document that is as documented."""
    document = json.loads(text)
    jsonschema.validate(document, SCHEMA)
    age = datetime.now(UTC) - datetime.fromisoformat(document["checked"])
    assert timedelta(seconds=-1) < age < timedelta(minutes=1)
    hosts: list[dict[str, Any]] = document["hosts"]
    return hosts


def look(account: Account, *flags: str) -> list[dict[str, Any]]:
    """What status writes as JSON."""
    file = account.home / "status.json"
    play = account.play(STATUS, *flags, notebook_format="json", notebook_report=str(file))
    assert (play.status, play.changed) == (0, 0), play.output
    assert PASSWORD not in play.output
    return read(file.read_text())


@pytest.fixture
def fleet(notebook: Account, tmp_path: Path) -> str:
    """An inventory: a host with a notebook, one that is off, and one that was never set up."""
    nowhere = notebook.home / "nowhere"
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        "[all]\nbox ansible_connection=local\n"
        f"off ansible_host=127.0.0.1 ansible_port={free_port()}\n"
        "new ansible_connection=local "
        f"jupyter_base_dir={nowhere}/jupyter ngrok_base_dir={nowhere}/ngrok\n"
    )
    return str(inventory)


def test_a_notebook_that_works_is_told_with_its_kernels(
    notebook: Account, visitor: Visitor
) -> None:
    pids = notebook.pids()
    kernel = visitor.kernel()
    visitor.run(kernel, "x = b'1' * (200 << 20)")
    with visitor.computing(kernel):
        (host,) = look(notebook)
        text = notebook.play(STATUS).output
    visitor.end_kernels()

    assert (host["host"], host["state"], host["problems"]) == ("localhost", "working", [])
    assert host["url"] == visitor.url
    server, tunnel, machine = host["server"], host["tunnel"], host["machine"]
    assert (server["pid"], tunnel["pid"]) == (pids["jupyter"], pids["ngrok"])
    assert server["running"]
    assert server["outputs_kept"]
    assert not server["restart_pending"]
    assert set(server["versions"]) == {"jupyterlab", "notebook", "jupyter_server"}
    assert tunnel["online"]
    assert (tunnel["version"], tunnel["supported_until"]) == ("2.3.41", "2020-02-04")
    assert "ngrok supports the agent 2.3.41 only until 2020-02-04" in host["notices"][0]
    assert tunnel["connections"] > 0
    (found,) = (found for found in host["kernels"] if found["id"] == kernel)
    assert (found["execution_state"], found["idle_seconds"]) == ("busy", 0)
    assert 200 < found["memory_mb"] < 500
    assert machine["memory_available_mb"] < machine["memory_mb"]
    assert 0 < machine["disk_free_mb"] < machine["disk_mb"]
    assert notebook.pids() == pids
    said = " ".join(text.split())
    assert "localhost: working" in said
    assert f"(process {pids['jupyter']})" in said
    assert f"python3 busy - {found['memory_mb'] // 100}" in said
    assert "Host State URL" not in said


BY_SIGNAL = r"( \(it ended with signal 9\))?(\.|: )"
BROKEN: dict[str, tuple[Break, str]] = {
    # tmux 3.3 at times knows of an exit status only later.
    "server-killed": (killed("jupyter"), f"The Jupyter server does not run{BY_SIGNAL}"),
    "server-session-ended": (ended("jupyter"), r"The Jupyter server does not run\."),
    "server-hung": (hung("jupyter"), "has no answer: "),
    "server-of-another-kind": (other_program("jupyter", PAGES), r"is no Jupyter server\."),
    "tmux-killed": (tmux_killed, r"The ngrok agent does not run\."),
    "tmux-suspended": (tmux_suspended, r"does not answer\. What runs in its sessions goes on\."),
    "agent-killed": (killed("ngrok"), f"The ngrok agent does not run{BY_SIGNAL}"),
    "agent-hung": (hung("ngrok"), "has no answer: no ngrok agent answers on "),
    "service-unreachable": (
        fault(unreachable=True),
        "The ngrok agent runs, but is not connected: The agent cannot reach ngrok's service",
    ),
    "endpoint-dead": (endpoint_dead, "ERR_NGROK_3200"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_and_left_as_it_is(name: str, notebook: Account, edge: Edge) -> None:
    broken, says = BROKEN[name]
    url = notebook.url()
    with broken(notebook, edge):
        before = notebook.pids()

        (host,) = look(notebook)

        assert host["state"] == "broken"
        assert len([said for said in host["problems"] if re.search(says, said)]) == 1, host
        assert host["url"] == url
        assert notebook.pids() == before


def test_a_fleet_is_told_in_a_table(notebook: Account, fleet: str) -> None:
    notebook.url()

    play = notebook.play(STATUS, "-i", fleet)

    assert play.status == 0, play.output
    said = " ".join(play.output.split())
    assert "Host State URL Kernels Memory free Disk free" in said
    assert f"box working {notebook.url()} " in said
    assert "off unreachable - - - -" in said
    assert "new not set up - - " in said
    # ssh and Ansible each have a sentence for it.
    assert re.search(r'host "?127\.0\.0\.1', said)


def test_programs_get_one_document_on_standard_output(notebook: Account, fleet: str) -> None:
    url = notebook.url()
    command = notebook.command(STATUS, "-i", fleet, notebook_format="json")
    callback = {"ANSIBLE_STDOUT_CALLBACK": "anywhere.notebook.document"}

    done = subprocess.run(
        command,
        env=notebook.environment() | callback,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )

    box, off, new = read(done.stdout)
    assert (box["host"], box["state"], box["url"]) == ("box", "working", url)
    assert (off["host"], off["state"], off["server"], off["machine"]) == (
        "off",
        "unreachable",
        None,
        None,
    )
    assert (new["host"], new["state"], new["problems"], new["url"]) == ("new", "not set up", [], "")
    assert new["machine"]["disk_free_mb"] > 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"notebook_format": "xml"}, "notebook_format is text, json or html."),
        ({"notebook_format": "html"}, "Name the file for the page with -e notebook_report="),
    ],
)
def test_a_format_that_cannot_be_had(given: dict[str, object], says: str, account: Account) -> None:
    play = account.play(STATUS, **given)

    assert play.status != 0
    assert says in play.output
