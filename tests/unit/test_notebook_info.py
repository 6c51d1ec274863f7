"""What the module notebook_info says of a notebook; on a real one: tests/account."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils._script import Script
from ansible_collections.anywhere.notebook.plugins.modules.notebook_info import CLOSE, attacks

from tests.support.modules import run_module
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((0, "", False), ""),
        ((1, "2026-11-23T09:12:33Z", False), "1 login failed in the last day, the last one at "),
        ((7, "2026-11-23T09:12:33Z", False), "7 logins failed in the last day, the last one at "),
        ((7, "", False), "7 logins failed in the last day."),
        (
            (700, "", True),
            f"Strangers try passwords now: 700 logins failed in the last day. {CLOSE}",
        ),
        # The log of a server without an answer tells no more.
        ((0, "", True), f"Strangers try passwords now. {CLOSE}"),
    ],
)
def test_logins_that_failed_are_told(found: tuple[int, str, bool], said: str) -> None:
    count, last, attacked = found
    report: dict[str, Any] = {
        "failed_logins": count,
        "last_failed_login": last,
        "attacked": attacked,
    }

    assert attacks(report) == said + ("2026-11-23T09:12:33Z." if last else "")


def test_what_is_offered_against_an_attack_ends_no_kernel() -> None:
    assert "notebook_tunnel_only=true" in CLOSE
    assert "jupyter_restart" not in CLOSE


CONFIGURATIONS = {"jupyter": "--ServerApp.config_file={}/jupyter_server_config.py"}
CONFIGURATIONS["ngrok"] = "--config={}/ngrok.yml"


@pytest.fixture
def own(tmp_path: Path, closed_address: str) -> Path:
    """The directory of a notebook that was set up, of which nothing runs."""
    for role, told in CONFIGURATIONS.items():
        base = tmp_path / role
        base.mkdir()
        program = f"exec {sys.executable} -S -c 'import signal; signal.pause()'"
        (base / "start").write_text(f"#!/bin/sh\n{program} {told.format(base)}\n")
        (base / "start").chmod(0o700)
        (base / "port").write_text(closed_address.rpartition(":")[2])
    return tmp_path


def look(own: Path) -> dict[str, Any]:
    """What the module says."""
    found = run_module(
        "notebook_info",
        jupyter_base_dir=str(own / "jupyter"),
        ngrok_base_dir=str(own / "ngrok"),
        tmux_socket_dir=str(own / "tmux"),
    )
    assert "failed" not in found, found
    return found


@contextlib.contextmanager
def running(own: Path, *roles: str) -> Iterator[dict[str, int]]:
    """Run what the scripts start, without tmux."""
    with contextlib.ExitStack() as ending:
        pids = {}
        for role in roles:
            started = ending.enter_context(subprocess.Popen([own / role / "start"]))
            ending.callback(started.kill)
            pids[role] = started.pid
            wait_until(Script(str(own / role)).processes)
        yield pids


SERVER_GONE, AGENT_GONE = "The Jupyter server does not run.", "The ngrok agent does not run."
STARTS = "To start again: ansible-playbook anywhere.notebook.reconnect"


@pytest.mark.parametrize(
    ("marked", "problems", "notices"),
    [
        pytest.param([], [SERVER_GONE, AGENT_GONE], [], id="it-broke"),
        pytest.param(
            ["jupyter", "ngrok"],
            [],
            [f"Jupyter and the tunnel were stopped on purpose. {STARTS}"],
            id="all-stopped",
        ),
        # As after a start that came to nothing, or a server that died while its tunnel was closed.
        pytest.param(
            ["ngrok"], [SERVER_GONE], [f"The tunnel was stopped on purpose. {STARTS}"], id="tunnel"
        ),
        pytest.param(
            ["jupyter"], [AGENT_GONE], [f"Jupyter was stopped on purpose. {STARTS}"], id="server"
        ),
    ],
)
def test_what_was_stopped_on_purpose_is_no_problem_and_what_broke_is_one(
    marked: list[str], problems: list[str], notices: list[str], own: Path
) -> None:
    for role in marked:
        (own / role / "stopped").touch()

    found = look(own)

    assert (found["problems"], found["notices"]) == (problems, notices)
    assert bool(found["stopped"]) == bool(marked)


def test_what_runs_is_not_stopped_whatever_was_remembered(own: Path) -> None:
    for role in CONFIGURATIONS:
        (own / role / "stopped").touch()

    with running(own, "jupyter", "ngrok") as pids:
        found = look(own)

    assert found["stopped"] == ""
    assert (found["server"]["pid"], found["tunnel"]["pid"]) == (pids["jupyter"], pids["ngrok"])
    assert "tmux's socket is gone" in found["notices"][-1]


@pytest.mark.parametrize("gone", ["scripts", "directories"])
def test_what_runs_is_seen_when_its_files_are_gone(gone: str, own: Path) -> None:
    with running(own, "jupyter", "ngrok") as pids:
        for role in CONFIGURATIONS:
            for path in (own / role).iterdir():
                path.unlink()
            if gone == "directories":
                (own / role).rmdir()

        found = look(own)

    assert found["set_up"]
    assert (found["server"]["pid"], found["tunnel"]["pid"]) == (pids["jupyter"], pids["ngrok"])
    assert found["problems"] == [
        f"{own}/{role} is not complete any more, but what was started from there still runs "
        f"(process {pids[role]})."
        for role in ("jupyter", "ngrok")
    ]
    if gone == "directories":
        assert not look(own)["set_up"]
