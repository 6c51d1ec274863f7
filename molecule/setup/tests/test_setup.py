"""What a person may rely on after the first setup of a bare machine."""

from __future__ import annotations

import json

from testinfra.host import Host

STATE = "/home/dev/.local/share/anywhere-notebook"
PANE = f"tmux -S {STATE}/tmux/notebook list-panes -t =%s -F '#{{pane_pid}}'"


def test_both_sessions_run_under_the_accounts_systemd_manager(host: Host) -> None:
    for session in ("jupyter", "ngrok"):
        pane = host.check_output(PANE, session)
        assert "/user@1000.service/" in host.file(f"/proc/{pane}/cgroup").content_string


def test_nothing_is_open_to_the_network(host: Host) -> None:
    assert host.socket("tcp://127.0.0.1:8888").is_listening
    assert not host.socket("tcp://0.0.0.0:8888").is_listening
    assert not host.socket("tcp://:::8888").is_listening


def test_the_agent_has_no_api_where_another_account_can_log_in(host: Host) -> None:
    """The account lab can; its API would give each of them the other one's files."""
    assert "lab" in host.check_output("cut -d: -f1 /etc/passwd").split()
    assert not host.socket("tcp://127.0.0.1:4040").is_listening
    log = host.check_output(f"cat {STATE}/ngrok/agent.log")
    (started,) = (json.loads(line) for line in log.splitlines() if '"agent starts"' in line)
    assert (started["api"], started["confined"]) == ("off", True)
    assert "lab" in started["why"]


def test_what_was_written_is_for_its_owner_only(host: Host) -> None:
    # tmux decides on the mode of its socket; the directory around it is closed.
    open_ones = f"find {STATE} -maxdepth 2 -perm /077 ! -type l ! -type s ! -path '*/venv*'"
    assert host.check_output(open_ones) == ""


def test_the_system_still_belongs_to_root(host: Host) -> None:
    assert {host.file(path).user for path in ("/", "/etc", "/usr", "/var", "/home")} == {"root"}
