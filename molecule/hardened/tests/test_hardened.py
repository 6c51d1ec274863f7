"""What a person may rely on where the machine is locked down."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from tests.support.hosts.verify import Notebook, play
from tests.support.hosts.world import attach

HOSTS = [host.name for host in attach()[0].hosts]


@pytest.fixture
def notebook(host: Host) -> Notebook:
    return Notebook.of(host)


def test_the_host_is_as_strict_as_this_scenario_says(notebook: Notebook) -> None:
    assert notebook.account == "ada"
    assert " " in notebook.home
    options = notebook.root("findmnt", "--noheadings", "--output=OPTIONS", "/tmp").split(",")
    assert {"noexec", "nosuid", "nodev"} <= set(options)
    pid_one = notebook.machine.run(
        ["setpriv", "--reuid=ada", "--regid=ada", "--clear-groups", "ls", "/proc/1"], check=False
    )
    assert pid_one.returncode != 0
    assert notebook.kills()
    sudo = notebook.machine.run(["which", "sudo"], check=False)
    assert bool(sudo.returncode) is (notebook.machine.name == "bookworm")


def test_both_sessions_run_outside_of_the_login_and_end_with_none(notebook: Notebook) -> None:
    before = notebook.processes()
    assert set(before) == {"jupyter", "ngrok"}
    for pid in before.values():
        assert f"/user@{notebook.uid}.service/" in notebook.cgroup(pid)

    notebook.log_out()

    assert notebook.processes() == before
    assert notebook.answers()


def test_reconnect_finds_nothing_to_repair() -> None:
    done = play("reconnect")

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("nothing, everything ran") == len(HOSTS), done.stdout


def test_what_another_account_had_made_first_is_not_used(notebook: Notebook) -> None:
    taken = f"/tmp/tmux-{notebook.uid}"
    assert notebook.root("stat", "--format=%U", taken).strip() == "mallory"
    words = ["runuser", "-u", "mallory", "--", "tmux", "-S", f"{taken}/notebook", "list-sessions"]
    assert notebook.root(*words).splitlines()[0].startswith("jupyter: 1 windows")
    # As root sees them, behind the socket that is in the account's home.
    for pid in notebook.processes().values():
        assert notebook.root("stat", "--format=%U", f"/proc/{pid}").strip() == "ada"


def test_what_was_written_is_for_its_owner_only(notebook: Notebook) -> None:
    closed = ["-perm", "/077", "!", "-type", "l", "!", "-path", "*/venv*"]
    assert notebook.root("find", notebook.state, "-maxdepth", "2", *closed) == ""
    assert notebook.root("find", notebook.state, "!", "-user", "ada") == ""


def test_a_kernel_starts(notebook: Notebook) -> None:
    kernel = notebook.ask("kernels", "POST")
    assert kernel["id"] in [alive["id"] for alive in notebook.ask("kernels")]
    notebook.ask(f"kernels/{kernel['id']}", "DELETE")
