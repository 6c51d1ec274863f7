"""What a person may rely on after the first setup of a bare machine."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

STATE = "/home/dev/.local/share/anywhere-notebook"


def test_both_sessions_run_under_the_accounts_systemd_manager(host: Host) -> None:
    for session in ("jupyter", "ngrok"):
        pane = host.check_output("tmux -L notebook list-panes -t =%s -F '#{pane_pid}'", session)
        assert "/user@1000.service/" in host.file(f"/proc/{pane}/cgroup").content_string


@pytest.mark.parametrize("port", [8888, 4040])
def test_nothing_is_open_to_the_network(host: Host, port: int) -> None:
    assert host.socket(f"tcp://127.0.0.1:{port}").is_listening
    assert not host.socket(f"tcp://0.0.0.0:{port}").is_listening
    assert not host.socket(f"tcp://:::{port}").is_listening


def test_what_was_written_is_for_its_owner_only(host: Host) -> None:
    open_ones = f"find {STATE} -maxdepth 2 -perm /077 ! -type l ! -path '*/venv*'"
    assert host.check_output(open_ones) == ""


def test_the_system_still_belongs_to_root(host: Host) -> None:
    assert {host.file(path).user for path in ("/", "/etc", "/usr", "/var", "/home")} == {"root"}


def test_the_agent_shows_its_endpoint_on_the_host(host: Host) -> None:
    tunnels = host.check_output(
        "python3 -c 'import urllib.request as r;"
        'print(r.urlopen("http://127.0.0.1:4040/api/tunnels").read().decode())\''
    )
    assert [tunnel["name"] for tunnel in json.loads(tunnels)["tunnels"]] == ["jupyter"]
