"""What two accounts of one host may rely on."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

from tests.support.edge.client import fetch
from tests.support.hosts.verify import Notebook


@pytest.fixture
def notebook(host: Host) -> Notebook:
    return Notebook.of(host)


@pytest.fixture
def other(notebook: Notebook) -> Notebook:
    return Notebook(notebook.machine, {"dev": "lab", "lab": "dev"}[notebook.account])


def test_each_has_both_sessions(notebook: Notebook) -> None:
    assert set(notebook.processes()) == {"jupyter", "ngrok"}


@pytest.mark.parametrize("part", ["jupyter", "ngrok"])
def test_each_has_ports_of_its_own(notebook: Notebook, other: Notebook, part: str) -> None:
    assert notebook.read(f"{part}/port") != other.read(f"{part}/port")


def test_each_processes_belong_to_its_account(notebook: Notebook) -> None:
    for pid in notebook.processes().values():
        assert notebook.root("stat", "--format=%U", f"/proc/{pid}").strip() == notebook.account


def test_each_url_leads_to_its_own_server(notebook: Notebook, other: Notebook) -> None:
    own = {"Authorization": f"token {notebook.read('jupyter/token')}"}

    seen = fetch(notebook.url, "/api/status", own)

    assert seen.status == 200
    assert json.loads(seen.body)["started"] == notebook.ask("status")["started"]
    assert fetch(other.url, "/api/status", own).status == 403
