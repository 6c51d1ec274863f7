"""One run over many hosts: the sound ones work, and of the others one table says why not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.edge.client import fetch
from tests.support.hosts.verify import play
from tests.support.hosts.world import attach

SOUND = ["box1", "box2", "box3", "box4", "box5"]
# Those that were there before; the others are new.
EARLIER = ["box1", "box2"]
REASONS = {
    "off": "It cannot be reached by SSH.",
    "full": "The disk of full is full: ",
    "refused": "ERR_NGROK_",
}

Done = subprocess.CompletedProcess[str]


def table(done: Done) -> list[str]:
    """The lines of the table, as a person reads them."""
    shown = done.stdout.partition("TASK [Show all hosts]")[2].partition("TASK [")[0]
    lines = (line.strip().removeprefix("- ").strip("'\"") for line in shown.splitlines())
    return [line.strip().replace("''", "'") for line in lines if line.strip()]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the run below writes."""
    return tmp_path_factory.mktemp("report") / "hosts.json"


@pytest.fixture(scope="module")
def setup(report: Path) -> Iterator[Done]:
    """A run over all hosts, three of which are broken."""
    run, edge = attach()
    hosts = {host.name: host for host in run.hosts}
    hosts["off"].off()
    hosts["full"].run("mount -t tmpfs -o size=64m,mode=755,uid=1000,gid=1000 tmpfs /home/dev")
    edge.fault(auth_error="Your account is suspended. ERR_NGROK_127", auth_token="suspended")
    try:
        yield play("setup", "-e", f"notebook_report={report}")
    finally:
        edge.fault(auth_error=None)


@pytest.fixture(scope="module")
def rows(setup: Done, report: Path) -> dict[str, Any]:
    """What the report says of each host."""
    assert setup.returncode != 0, setup.stdout
    return {row["host"]: row for row in json.loads(report.read_text())}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_host_has_a_url_that_answers(rows: dict[str, Any], name: str) -> None:
    row = rows[name]

    started = [] if name in EARLIER else ["server", "agent"]
    assert (row["error"], row["kernels"], row["repaired"]) == (None, 0, started)
    assert "version" in json.loads(fetch(row["url"], "/api").body)


@pytest.mark.parametrize("name", REASONS)
def test_of_a_broken_host_the_reason_is_told(rows: dict[str, Any], name: str) -> None:
    assert rows[name]["url"] is None
    assert REASONS[name] in rows[name]["error"]


def test_the_run_ends_with_a_table_of_all(setup: Done, rows: dict[str, Any]) -> None:
    lines = table(setup)

    for name, row in rows.items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert (row["url"] or "see below") in line
        assert row["error"] is None or " ".join(row["error"].split()) in " ".join(lines)


def test_every_host_keeps_what_it_was_told(rows: dict[str, Any]) -> None:
    hosts = {host.name: host for host in attach()[0].hosts}
    port = hosts["box3"].run("cat .local/share/anywhere-notebook/jupyter/port", "dev")

    assert port.stdout == "9000"
    assert rows["box4"]["url"].startswith("http://box4.localhost")


def test_reconnect_works_on_the_same_hosts(setup: Done) -> None:
    done = play("reconnect")

    lines = table(done)
    recap = done.stdout.partition("PLAY RECAP")[2].splitlines()
    assert done.returncode != 0
    assert {line.split()[0] for line in lines} >= {*SOUND, *REASONS}
    assert all("changed=0" in line for line in recap if line.startswith("box"))


def test_one_domain_for_many_hosts_is_refused_before_anything_starts(setup: Done) -> None:
    done = play("setup", "-e", "ngrok_url=example.ngrok.app")

    assert done.returncode != 0
    assert "the same ngrok_url (example.ngrok.app)" in " ".join(done.stderr.split())
    assert "changed=0" in done.stdout.partition("PLAY RECAP")[2]
    assert done.stdout.count("TASK [") == 1
