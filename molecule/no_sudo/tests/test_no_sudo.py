"""What an account gets that may not become root."""

from __future__ import annotations

from testinfra.host import Host

from tests.hosts.verify import Notebook, play

AFTER_LOGOUT = "Jupyter ends, because this machine ends what a login leaves behind."


def test_sudo_was_only_asked_whether_it_would_work(host: Host) -> None:
    calls = Notebook.of(host).root("cat", "/var/log/sudo-calls").splitlines()
    assert set(calls) == {"lab: -n true"}


def test_it_has_a_notebook_and_the_card_says_where_a_logout_ends_it(host: Host) -> None:
    notebook = Notebook.of(host)
    kills = notebook.machine.name == "bookworm"
    assert notebook.kills() is kills

    # Where logind kills, the last login has taken the notebook along.
    again = play("reconnect", "--limit", notebook.machine.name)

    assert again.returncode == 0, again.stdout
    assert (AFTER_LOGOUT in again.stdout) is kills
    assert set(notebook.processes()) == {"jupyter", "ngrok"}
    assert notebook.answers()


def test_what_the_card_says_of_a_logout_is_true(host: Host) -> None:
    notebook = Notebook.of(host)
    before = notebook.processes()

    notebook.log_out()

    assert notebook.processes() == ({} if notebook.kills() else before)


def test_without_tmux_it_fails_and_names_the_package(host: Host) -> None:
    notebook = Notebook.of(host)
    notebook.machine.run(["pkill", "-KILL", "-u", notebook.account], check=False)
    notebook.root("mv", "/usr/bin/tmux", "/usr/bin/tmux.away")
    try:
        tried = play("setup", "--limit", notebook.machine.name)
    finally:
        notebook.root("mv", "/usr/bin/tmux.away", "/usr/bin/tmux")

    assert tried.returncode != 0
    assert (
        f"The package tmux is not installed on {notebook.machine.name}, and the account there may "
        "not become root. Have somebody install tmux, then run this again."
    ) in " ".join(tried.stderr.split()), tried.stderr
