"""A notebook that is met by another name of its host, by delegation, and after another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import Account
from tests.support.breakages import end
from tests.support.plays import Play, refused
from tests.support.ports import free_port

DELEGATED = """
- hosts: laptop
  gather_facts: false
  tasks:
    - delegate_to: box
      block:
        - ansible.builtin.import_role:
            name: anywhere.notebook.jupyter
        - ansible.builtin.import_role:
            name: anywhere.notebook.ngrok
    - ansible.builtin.copy:
        content: "{{ notebook | to_json }}"
        dest: "{{ said }}"
        mode: "0600"
      changed_when: false
"""
LOOP = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_tasks: one.yml
      loop: "{{ notebooks }}"
      loop_control:
        loop_var: one
    - ansible.builtin.copy:
        content: "{{ facts | to_json }}"
        dest: "{{ said }}"
        mode: "0600"
"""
ONE = """
- ansible.builtin.include_role:
    name: "anywhere.notebook.{{ role }}"
    tasks_from: session
  loop: [jupyter, ngrok]
  loop_control:
    loop_var: role
  vars:
    jupyter_base_dir: "{{ one.state }}/jupyter"
    ngrok_base_dir: "{{ one.state }}/ngrok"
    tmux_socket_dir: "{{ one.state }}/tmux"
    tmux_socket_name: "{{ one.socket_name }}"
    jupyter_port: "{{ one.port }}"
- ansible.builtin.set_fact:
    facts: "{{ facts | default([]) + [notebook] }}"
"""


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """A file for the facts of a play."""
    return tmp_path / "said.json"


@pytest.mark.acceptance
def test_a_host_that_work_is_delegated_to_has_the_notebook_that_it_had(
    notebook: Account, said: Path, tmp_path: Path
) -> None:
    url, before = notebook.url(), notebook.pids()
    hashed = (notebook.state / "jupyter/password_hash").read_bytes()
    playbook, hosts = tmp_path / "delegated.yml", tmp_path / "hosts.ini"
    playbook.write_text(DELEGATED)
    hosts.write_text("laptop ansible_connection=local\nbox ansible_connection=local\n")

    play = notebook.play(playbook, "-i", str(hosts), said=str(said))

    assert (play.status, play.changed) == (0, 0), play.output
    assert notebook.pids() == before
    assert (notebook.state / "jupyter/password_hash").read_bytes() == hashed
    facts = json.loads(said.read_text())
    assert (facts["url"], facts["url_changed"], facts["repaired"]) == (url, False, [])
    assert not facts["restart_pending"]


@pytest.mark.acceptance
def test_each_pass_of_a_loop_has_facts_of_its_own(
    notebook: Account, neighbour: Account, said: Path, tmp_path: Path
) -> None:
    neighbour.setup()
    urls = [account.url() for account in (neighbour, notebook)]
    end(neighbour, "jupyter")
    # It has another URL than it had.
    (neighbour.state / "ngrok/url").write_text("https://earlier.example.org\n")
    kept = notebook.pids()
    (tmp_path / "loop.yml").write_text(LOOP)
    (tmp_path / "one.yml").write_text(ONE)
    told = [
        {
            "state": str(account.state),
            "socket_name": account.socket_name,
            "port": account.variables["jupyter_port"],
        }
        for account in (neighbour, notebook)
    ]
    variables = dict(notebook.variables)
    for name in ("jupyter_port", "tmux_socket_name"):
        notebook.variables.pop(name)
    try:
        play = notebook.play(tmp_path / "loop.yml", said=str(said), notebooks=told)
    finally:
        notebook.variables = variables

    assert play.status == 0, play.output
    first, second = json.loads(said.read_text())
    assert (first["url"], second["url"]) == (urls[0], urls[1])
    assert ("server" in first["repaired"], first["url_changed"]) == (True, True)
    assert (second["repaired"], second["url_changed"]) == ([], False)
    assert notebook.pids() == kept


@pytest.fixture
def made(neighbour: Account) -> Account:
    """An account with a notebook whose password setup has made."""
    del neighbour.variables["jupyter_password"]
    neighbour.setup()
    return neighbour


def passwords(account: Account) -> dict[str, str]:
    """The files with passwords that a computer has, and what they say."""
    directory = account.home / ".config/anywhere-notebook"
    return {file.name: file.read_text() for file in directory.glob("*.password")}


@pytest.mark.acceptance
def test_a_password_is_found_again_by_another_name_of_the_host(made: Account) -> None:
    before, ((_, password),) = made.pids(), passwords(made).items()
    hashed = (made.state / "jupyter/password_hash").read_bytes()

    def meet(run: Callable[..., Play]) -> Play:
        return run("-i", "other,", "-c", "local")

    set_up, again, reconnected = meet(made.setup), meet(made.setup), meet(made.reconnect)

    assert passwords(made) == {"localhost.password": password, "other.password": password}
    assert (made.state / "jupyter/password_hash").read_bytes() == hashed
    assert (again.changed, reconnected.changed) == (0, 0)
    for play in (set_up, again, reconnected):
        assert "localhost.password" in play.output
        assert "does not take the one" not in play.output
    assert made.pids() == before


@pytest.mark.acceptance
def test_another_password_is_made_only_where_that_is_wanted(made: Account) -> None:
    file = made.home / ".config/anywhere-notebook/localhost.password"
    password = file.read_text()
    file.unlink()
    hashed = (made.state / "jupyter/password_hash").read_bytes()

    kept = made.setup()

    assert "which this computer does not know" in kept.output
    assert "would be made" not in kept.output
    assert (passwords(made), (made.state / "jupyter/password_hash").read_bytes()) == ({}, hashed)

    anew = made.setup(jupyter_password_new=True)

    assert str(file) in anew.output
    assert file.read_text() != password
    assert (made.state / "jupyter/password_hash").read_bytes() != hashed


@pytest.mark.acceptance
@pytest.mark.parametrize("given", ["pw.txt", "secrets of mine/pw", "~/pw.txt"])
def test_a_password_is_kept_where_the_person_stands(neighbour: Account, given: str) -> None:
    del neighbour.variables["jupyter_password"]
    neighbour.variables["notebook_password_file"] = given
    file = neighbour.home / given.removeprefix("~/")

    set_up, reconnected = neighbour.setup(), neighbour.reconnect()

    assert len(file.read_text().strip()) == 24
    assert file.stat().st_mode & 0o777 == 0o600
    for play in (set_up, reconnected):
        assert str(file) in play.output
        assert "does not take the one" not in play.output
        assert "would be made" not in play.output


@pytest.mark.acceptance
def test_an_index_that_is_out_of_reach_later_is_named(notebook: Account, tmp_path: Path) -> None:
    """A second setup asks nobody, unless something new is wanted."""
    before, closed_address = notebook.pids(), f"127.0.0.1:{free_port()}"
    index = f"http://{closed_address}/simple"
    far = {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index}
    far |= dict.fromkeys(("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_FIND_LINKS"), "")
    notebook.exported = far | {"UV_CACHE_DIR": str(tmp_path / "uv"), "UV_HTTP_RETRIES": "0"}
    try:
        nothing = notebook.setup()
        asked = notebook.play("anywhere.notebook.setup", jupyter_packages=["inflection"])
    finally:
        notebook.exported = {}

    assert nothing.changed == 0
    sentence = refused(asked)
    assert "a package or kernel that was asked for, could not be installed on localhost" in sentence
    assert closed_address in sentence
    assert "Jupyter runs there all the same" in " ".join(asked.output.split())
    assert notebook.pids() == before
