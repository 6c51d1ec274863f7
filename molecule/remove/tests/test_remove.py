"""What is left of a notebook that was removed."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from testinfra.host import Host

from tests.support.hosts.ready import BEFORE, LISTING
from tests.support.hosts.verify import Notebook, play
from tests.support.hosts.world import attach

# Notebooks, and what Jupyter and IPython keep of a person: history, and what is trusted.
OWN = re.compile(
    r"^home/dev/((mine\.ipynb|\.ipynb_checkpoints|\.ipython|\.local/share/jupyter)[ /]"
    r"|\.local(/share)? )"
)
# What a server's second start leaves there, whoever runs it.
SECOND_START = re.compile(r"^home/dev/\.jupyter(/migrated)? ")

HOSTS = len(attach()[0].hosts)

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def removed() -> Done:
    """The first run for all hosts."""
    return play("remove")


@pytest.fixture(scope="module")
def again(removed: Done) -> Done:
    """The second one."""
    return play("remove")


@pytest.fixture
def notebook(host: Host) -> Notebook:
    return Notebook.of(host)


def test_what_was_removed_is_told(notebook: Notebook, removed: Done) -> None:
    assert removed.returncode == 0, removed.stdout
    # Long lines were broken.
    said = " ".join(removed.stdout.split())
    for thing in (
        "Removed: the tunnel",
        "the running Jupyter",
        "lingering of the account dev",
    ):
        assert said.count(thing) == HOSTS
    assert said.count(f"{notebook.state}/jupyter") == HOSTS


def test_nothing_runs_any_more(notebook: Notebook, removed: Done) -> None:
    processes = notebook.root("ps", "-o", "args=", "-u", notebook.account, "--no-headers")
    assert re.findall(r".*(?:jupyter|ipykernel|ngrok|tmux).*", processes) == []


def test_all_is_as_it_was_before_but_for_what_a_person_has_made(
    notebook: Notebook, removed: Done
) -> None:
    before = notebook.root("cat", BEFORE).splitlines()
    now = notebook.root("sh", "-c", LISTING).splitlines()
    assert len(before) > 1000
    now = [line for line in now if not SECOND_START.match(line)]
    own = [line for line in now if OWN.match(line)]
    assert [line for line in now if line not in own] == before
    if notebook.machine.name == "bookworm":
        content = json.loads(notebook.root("cat", f"{notebook.home}/mine.ipynb"))
        assert content["nbformat"] == 4
        assert any("history.sqlite" in line for line in own)
    else:
        assert own == []


def test_a_second_run_finds_nothing(again: Done) -> None:
    assert again.returncode == 0, again.stdout
    assert again.stdout.count(" changed=0 ") == HOSTS
    assert again.stdout.count("nothing, there was nothing") == HOSTS
