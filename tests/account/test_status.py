"""What status says of notebooks that work, and of hosts without one."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from tests.support import CHECKOUT, PASSWORD
from tests.support.accounts import Account
from tests.support.ports import free_port
from tests.support.visitors import Visitor

STATUS = "anywhere.notebook.status"
SCHEMA = json.loads((CHECKOUT / "playbooks/status.schema.json").read_text())


def read(text: str) -> list[dict[str, Any]]:
    """The hosts of a document that is as documented."""
    document = json.loads(text)
    jsonschema.validate(document, SCHEMA)
    age = datetime.now(UTC) - datetime.fromisoformat(document["checked"])
    assert timedelta(seconds=-1) < age < timedelta(minutes=10)
    hosts: list[dict[str, Any]] = document["hosts"]
    return hosts


@pytest.fixture(scope="module")
def fleet(notebook: Account, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An inventory: a host with a notebook, one that is off, and one that was never set up."""
    nowhere = notebook.home / "nowhere"
    inventory = tmp_path_factory.mktemp("fleet") / "inventory.ini"
    inventory.write_text(
        "[all]\nbox ansible_connection=local\n"
        f"off ansible_host=127.0.0.1 ansible_port={free_port()}\n"
        "new ansible_connection=local "
        f"jupyter_base_dir={nowhere}/jupyter ngrok_base_dir={nowhere}/ngrok\n"
    )
    return str(inventory)


@dataclass(frozen=True)
class Seen:
    """What status said while a cell ran."""

    document: str
    text: str
    table: str
    kernel: str
    url: str
    pids: dict[str, int]


@pytest.fixture(scope="module")
def seen(notebook: Account, fleet: str) -> Seen:
    """Look at all hosts for a program, at one for a person, and at all for a person."""
    visitor = notebook.visitor()
    kernel = visitor.kernel()
    visitor.run(kernel, "x = b'1' * (200 << 20)")
    pids = notebook.pids()
    with visitor.computing(kernel):
        document = subprocess.run(
            notebook.command(STATUS, "-i", fleet, notebook_format="json"),
            env=notebook.environment() | {"ANSIBLE_STDOUT_CALLBACK": "anywhere.notebook.document"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        text = notebook.play(STATUS)
        table = notebook.play(STATUS, "-i", fleet, notebook_support="help.txt")
    assert notebook.pids() == pids
    visitor.end_kernels()
    assert [(play.status, play.changed) for play in (text, table)] == [(0, 0), (0, 0)]
    outputs = document.stdout, text.output, table.output
    assert PASSWORD not in "".join(outputs)
    return Seen(*outputs, kernel, visitor.url, pids)


def test_a_notebook_that_works_is_told_with_its_kernels(seen: Seen) -> None:
    host, pids = read(seen.document)[0], seen.pids
    assert (host["host"], host["state"], host["problems"]) == ("box", "working", [])
    assert host["url"] == seen.url
    server, tunnel, machine = host["server"], host["tunnel"], host["machine"]
    assert (server["pid"], tunnel["pid"]) == (pids["jupyter"], pids["ngrok"])
    assert server["running"]
    assert server["outputs_kept"]
    assert not server["restart_pending"]
    assert set(server["versions"]) == {"jupyterlab", "notebook", "jupyter_server"}
    assert tunnel["online"]
    assert (tunnel["version"], tunnel["supported_until"]) == ("2.3.41", "2020-02-04")
    said = " ".join(host["notices"])
    assert "supported the agent 2.3.41 until 2020-02-04, and may refuse it to a free" in said
    assert tunnel["connections"] > 0
    (found,) = (found for found in host["kernels"] if found["id"] == seen.kernel)
    assert (found["execution_state"], found["idle_seconds"]) == ("busy", 0)
    assert 200 < found["memory_mb"] < 500
    assert machine["memory_available_mb"] < machine["memory_mb"]
    assert 0 < machine["disk_free_mb"] < machine["disk_mb"]


def test_a_person_reads_the_same_as_text(seen: Seen) -> None:
    said = " ".join(seen.text.split())
    assert "localhost: working" in said
    # It was proven, and could be.
    assert "Nobody can tell whether the URL" not in said
    assert seen.url in said
    assert f"(process {seen.pids['jupyter']})" in said
    assert re.search(r"python3 busy - [2-4]\d\d MB", said)
    assert "Host State URL" not in said


def test_a_fleet_is_told_in_a_table(seen: Seen) -> None:
    said = " ".join(seen.table.split())
    assert "Host State URL Kernels Memory free Disk free" in said
    assert f"box working {seen.url} " in said
    assert "off unreachable - - - -" in said
    assert "new not set up - - " in said
    # ssh and Ansible each have a sentence for it.
    assert re.search(r'host "?127\.0\.0\.1', said)


def test_who_helps_gets_status_and_logs_without_secrets(seen: Seen, notebook: Account) -> None:
    # Relative to where the person stands, which is said.
    file = notebook.home / "help.txt"
    assert f"For somebody who helps: {file.resolve()}. " in " ".join(seen.table.split())
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    for part in ("box: status", "box: server.log", "box: agent.log", "off", "new: status"):
        assert f"\n==== {part}\n" in text
    assert "tunnel session started" in text
    jupyter = notebook.state / "jupyter"
    secrets = [(jupyter / name).read_text().strip() for name in ("token", "password_hash")]
    authtoken = str(notebook.variables["ngrok_authtoken"])
    urls = [urlsplit(seen.url).netloc, PASSWORD, authtoken]
    assert [secret for secret in (*secrets, *urls) if secret in text] == []


def test_programs_get_one_document_on_standard_output(seen: Seen) -> None:
    _, off, new = read(seen.document)

    assert (off["host"], off["state"], off["server"], off["machine"]) == (
        "off",
        "unreachable",
        None,
        None,
    )
    assert (new["host"], new["state"], new["problems"], new["url"]) == ("new", "not set up", [], "")
    assert new["machine"]["disk_free_mb"] > 0


@contextmanager
def guessing(notebook: Account) -> Iterator[None]:
    """Somebody tries passwords at the public URL, from the address of the owner's computer."""
    stranger, over = Visitor(notebook.url()), threading.Event()

    def guess() -> None:
        assert not stranger.log_in("a guess")

    def go_on() -> None:
        while not over.wait(0.2):
            guess()

    # Ten within a minute are an attack.
    for _ in range(12):
        guess()
    guesser = threading.Thread(target=go_on)
    guesser.start()
    try:
        yield
    finally:
        over.set()
        guesser.join()


@pytest.mark.acceptance
def test_strangers_who_try_passwords_are_told_and_nothing_is_restarted(notebook: Account) -> None:
    pids, log = notebook.pids(), notebook.state / "jupyter/server.log"
    with guessing(notebook):
        before = log.read_text().count(" logged in from ")
        play = notebook.reconnect()
        got_in = log.read_text().count(" logged in from ") > before
        status = notebook.play(STATUS)

    card, told = (" ".join(each.output.split()) for each in (play, status))
    assert (play.changed, play.card("Repaired")) == (0, "nothing, everything ran")
    assert re.search(r"Strangers: try passwords now; \d\d+ logins failed in the last day", card)
    assert "anywhere.notebook.stop -e notebook_tunnel_only=true" in card
    # Its own turn may have come between two guesses.
    assert ("it could not be tried: too many logins failed" in card) is not got_in
    assert re.search(r"Strangers try passwords now: \d\d+ logins failed in the last day", told)
    assert notebook.pids() == pids


@pytest.mark.parametrize(
    ("given", "callback", "says"),
    [
        (
            {"notebook_format": "xml"},
            "default",
            "notebook_format is another word, but has to be text, json or html: ",
        ),
        ({"notebook_format": "html"}, "default", "Name the file for the page with -e notebook_rep"),
        ({}, "anywhere.notebook.document", "Add -e notebook_format=json"),
        pytest.param(
            {"notebook_format": "text"},
            "anywhere.notebook.document",
            "Add -e notebook_format=json",
            marks=pytest.mark.acceptance,
        ),
        pytest.param(
            {"notebook_format": "html", "notebook_report": "st.html"},
            "anywhere.notebook.document",
            "Add -e notebook_format=json",
            marks=pytest.mark.acceptance,
        ),
    ],
)
def test_a_format_that_cannot_be_had(
    given: dict[str, object], callback: str, says: str, account: Account
) -> None:
    account.exported["ANSIBLE_STDOUT_CALLBACK"] = callback

    play = account.play(STATUS, **given)

    assert play.status != 0
    assert says in play.output
    assert "{}" not in play.output
