"""What a Jupyter that was there before may rely on."""

from __future__ import annotations

from pathlib import Path

import pytest
from testinfra.host import Host

from tests.support.hosts.verify import Notebook

LISTING = (Path(__file__).parents[1] / "listing.sh").read_text()
OWN_CONFIGURATION = "c.ServerApp.port = 9999\n"


@pytest.fixture
def notebook(host: Host) -> Notebook:
    return Notebook.of(host)


def test_it_is_what_runs(notebook: Notebook) -> None:
    command = notebook.root("cat", f"/proc/{notebook.processes()['jupyter']}/cmdline").split("\0")
    scripts = {"dev": "/opt/conda/bin/jupyter-lab", "lab": "/usr/local/bin/jupyter-lab"}
    assert command[1] == scripts[notebook.account]
    assert notebook.answers()


def test_nothing_in_it_has_changed(notebook: Notebook) -> None:
    before = notebook.root("cat", "/root/before").splitlines()
    assert len(before) > 1000
    assert notebook.root("sh", "-c", LISTING).splitlines() == before


def test_nothing_was_installed_beside_it(notebook: Notebook) -> None:
    made = notebook.root("ls", f"{notebook.state}/jupyter").split()
    assert "start" in made
    assert "venv" not in made


def test_the_configuration_of_the_account_is_as_it_was(notebook: Notebook) -> None:
    configuration = f"{notebook.home}/.jupyter"
    assert notebook.root("ls", "--almost-all", configuration).split() == [
        "jupyter_server_config.py"
    ]
    file = f"{configuration}/jupyter_server_config.py"
    assert notebook.root("cat", file) == OWN_CONFIGURATION
